"""Runs the revisions: one migrator at a time, each revision again until its locks come in time."""

from collections.abc import Callable, Sequence
from typing import Any

from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError, to_tuple
from sqlalchemy import Connection
from sqlalchemy.exc import ProgrammingError

from app.core.config import Settings
from app.migrate.able import refuse_unable
from app.migrate.ancestry import describe_ahead
from app.migrate.config import running_command
from app.migrate.history import load_scripts
from app.migrate.integrity import (
    ahead_of_files,
    is_content,
    record_purge,
    verify_applied,
)
from app.migrate.locks import one_migrator
from app.migrate.loss import nothing_lost
from app.migrate.one_transaction import OneTransaction
from app.migrate.progress import Progress
from app.migrate.retry import retrying
from app.migrate.status import describe_place
from app.migrate.targets import (
    FORMS,
    on_the_way_down,
    on_the_way_up,
    refuse_irreversible,
    refuse_vague_target,
)
from app.migrate.withheld import withhold_refused


def run_revisions(
    context: Any,
    connection: Connection,
    settings: Settings,
    progress: Progress,
    run: Callable[[], None],
) -> None:
    """Lets Alembic move the database, under the lock for migrations and after the ledger's check.

    Args:
        context: Alembic's `context` while env.py runs.
        run: Configures the context and runs the revisions that are pending.

    Raises:
        CommandError: the ledger's check fails, or a lock is not to be had, or the database is not
            where it should be in the end.
    """
    command = running_command(context.config)
    target = getattr(context.config.cmd_opts, "revision", None)
    if command in FORMS and target:
        refuse_vague_target(target, command, context.script)

    def is_done() -> bool:
        return command == "upgrade" and has_nothing_to_do(context, connection)

    def may_repeat() -> bool:
        # A step down by number would count from where the last try got.
        is_relative = str(context.get_revision_argument()).startswith(("+", "-"))
        return not progress.is_partly_committed and not (is_relative and progress.finished)

    with one_migrator(connection, settings, progress, is_done) as is_needed:
        if is_needed:
            refuse_unable(connection, settings)
            refuse_ahead(connection)
            verify_applied(connection)
            load_scripts(context.script)
            progress.notes = withhold_refused(context, connection)
            progress.again = plan(context, read_heads(connection), command)
            connection.rollback()  # Alembic leaves the end of a transaction to whoever began it
            with (
                nothing_lost(context, connection, settings),
                OneTransaction(connection, progress),
            ):
                retrying(run, connection, settings, progress, may_repeat)
            if context.get_context().purge:
                record_purge(connection)
            confirm_place(connection, progress)
    heads = read_heads(connection)
    ahead, newest = ahead_of_files(connection, heads)
    place = describe_ahead(ahead, newest) if ahead else describe_place(heads, context.script)
    progress.place = place


def plan(context: Any, heads: Sequence[str], command: str) -> str:
    """What to type to go on, should it be interrupted.

    Raises:
        CommandError: there is no way back.
    """
    recipe, target = f"just db-{command}", str(context.get_revision_argument())
    if command == "downgrade":
        way = on_the_way_down(context.script, heads, context.get_revision_argument())
        refuse_irreversible(way)
        parents = to_tuple(way[-1].down_revision, default=()) if way else ()
        return f"{recipe} {' '.join(parents) or 'base'}"
    if target.startswith("+"):
        way = on_the_way_up(context.script, heads, target)
        return f"{recipe} {way[0].revision}" if way else recipe
    return recipe if target in context.script.get_heads() else f"{recipe} {target}"


def refuse_ahead(connection: Connection) -> None:
    """Refuses to take a database back, or to stamp it, that a newer release has upgraded.

    Raises:
        CommandError: names the revisions that have no files here.
    """
    ahead, newest = ahead_of_files(connection, read_heads(connection))
    if ahead:
        raise CommandError(
            f"Nothing was run. {describe_ahead(ahead, newest)} Only the release that has their "
            "files can roll them back."
        )
    connection.rollback()


def confirm_place(connection: Connection, progress: Progress) -> None:
    """Compares where the database is with where the last revision led.

    Raises:
        CommandError: it is somewhere else.
    """
    connection.rollback()
    heads = read_heads(connection)
    if progress.heads is not None and set(heads) != progress.heads:
        raise CommandError(
            f"The database is at {', '.join(heads) or 'base'} and not at "
            f"{', '.join(progress.heads) or 'base'}, where {progress.revision} was to lead: "
            "something undid what was recorded. Look at it with: just db-current"
        )


def has_nothing_to_do(context: Any, connection: Connection) -> bool:
    """Whether an upgrade has nothing to do: all of the files are applied, unchanged."""
    try:
        heads = read_heads(connection)
        if is_at_target(context, heads):
            return is_content(connection, heads)
        return bool(ahead_of_files(connection, heads)[0])
    except ProgrammingError as _:
        return False  # the role may not read these tables: explained where it is to write them
    finally:
        connection.rollback()


def is_at_target(context: Any, heads: tuple[str, ...]) -> bool:
    """Whether the database is at the target of the command."""
    try:
        return bool(heads) and to_tuple(context.get_revision_argument()) == heads
    except (KeyError, CommandError) as _:
        return False  # the history is not whole: explained where it is loaded


def read_heads(connection: Connection) -> tuple[str, ...]:
    """What the database says it is at."""
    return MigrationContext.configure(connection).get_current_heads()
