"""What Alembic does with a revision file that it has just written: see alembic.ini."""

from pathlib import Path

from alembic.script import write_hooks


@write_hooks.register("latest")
def record_latest(path: str, options: dict[str, str]) -> None:
    """Records the newest revision."""
    # Imported here: commands that write no file should not wait for the settings.
    from app.migrate.history import read_revision, set_latest

    set_latest(read_revision(Path(path)).revision)
