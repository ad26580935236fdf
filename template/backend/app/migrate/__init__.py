"""Schema changes: what runs behind `just db-*` and the alembic command."""
