"""The template's own suite: what renders, what runs, what updates."""
