"""Runs new revisions before anybody applies them: up, down and up again, on the shadow database."""

from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, suppress
from io import StringIO
from pathlib import Path

from alembic import command
from alembic.util import CommandError

from app.core.config import Settings, get_settings
from app.migrate.capture import Captured, captured_sql
from app.migrate.compare import Comparison, describe
from app.migrate.config import alembic_config
from app.migrate.drift import differences
from app.migrate.dump import Schema, read_schema
from app.migrate.shadow import borrowed_shadow, shadow_database, temporary_database


def prove(revisions: Sequence[str], comparison: Comparison) -> list[Captured]:
    """Checks that the newest revisions lead to the models, back to the history, and there again.

    Returns what they executed.

    Raises:
        CommandError: one fails, or something is different afterwards.
    """
    first, last = revisions[0], revisions[-1]
    with borrowed_shadow() as database:
        _compare(f"After the upgrade to {last}", database, comparison.models)
        _run(command.downgrade, f"-{len(revisions)}", database)
        _compare(f"After the downgrade of {first}", database, comparison.history)
        with captured_sql() as captured:
            _run(command.upgrade, "head", database)
        _compare(f"After the second upgrade to {last}", database, comparison.models)
    return list(captured.values())


def executed_before_filled_in(new: Sequence[Path]) -> list[Captured]:
    """What new revisions execute up to the first place that somebody has to fill in."""
    with (
        suppress(CommandError),
        shadow_database(get_settings(), without=new) as shadow,
        temporary_database(shadow, "copy", template=shadow.postgres_db) as copy,
        captured_sql() as captured,
    ):
        with suppress(CommandError):
            _run(command.upgrade, "head", copy)
        return list(captured.values())
    return []


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
