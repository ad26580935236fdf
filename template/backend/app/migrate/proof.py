"""Runs a new revision before anybody applies it: up, down and up again, on the shadow database."""

from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO

from alembic import command
from alembic.util import CommandError

from app.core.config import Settings
from app.migrate.compare import Comparison, describe
from app.migrate.config import alembic_config
from app.migrate.drift import differences
from app.migrate.dump import Schema, read_schema
from app.migrate.shadow import borrowed_shadow


def prove(revision: str, comparison: Comparison) -> None:
    """Checks that the newest revision leads to the models, back to the history, and there again.

    Raises:
        CommandError: it fails, or something is different afterwards.
    """
    with borrowed_shadow() as database:
        _compare(f"After the upgrade to {revision}", database, comparison.models)
        _run(command.downgrade, "-1", database)
        _compare(f"After the downgrade of {revision}", database, comparison.history)
        _run(command.upgrade, "head", database)
        _compare(f"After the second upgrade to {revision}", database, comparison.models)


def _run(alembic_command: Callable[..., None], target: str, database: Settings) -> None:
    config = alembic_config(alembic_command)
    config.attributes["settings"] = database
    with redirect_stderr(StringIO()):
        alembic_command(config, target)


def _compare(when: str, database: Settings, expected: Schema) -> None:
    found = differences(read_schema(database), expected)
    if found:
        raise CommandError(
            f"{when} the schema is not what it should be (+). Correct the file, then run: "
            f"just db-check\n{describe(found)}"
        )
