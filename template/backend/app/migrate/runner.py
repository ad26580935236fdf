"""Runs the revisions: one migrator at a time, each revision again until its locks come in time."""

from collections.abc import Callable
from typing import Any

from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError, to_tuple
from sqlalchemy import Connection, event

from app.core.config import Settings
from app.migrate.config import running_command
from app.migrate.history import load_scripts
from app.migrate.integrity import is_content, verify_applied
from app.migrate.locks import one_migrator
from app.migrate.loss import nothing_lost
from app.migrate.progress import Progress
from app.migrate.retry import retrying
from app.migrate.status import describe_place


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
        CommandError: the ledger's check fails, or a lock is not to be had.
    """

    def is_done() -> bool:
        return is_at_target(context, connection)

    def may_repeat() -> bool:
        # A step down by number would count from where the last try got.
        is_relative = str(context.get_revision_argument()).startswith(("+", "-"))
        return not progress.is_partly_committed and not (is_relative and progress.finished)

    with one_migrator(connection, settings, progress, is_done) as is_needed:
        if is_needed:
            verify_applied(connection)
            load_scripts(context.script)
            event.listen(connection, "commit", progress.commits)
            with nothing_lost(context, connection, settings):
                retrying(run, connection, settings, progress, may_repeat)
    heads = MigrationContext.configure(connection).get_current_heads()
    progress.place = describe_place(heads, context.script)


def is_at_target(context: Any, connection: Connection) -> bool:
    """Whether an upgrade has nothing to do: the database is at the newest revision, unchanged."""
    if running_command(context.config) != "upgrade":
        return False
    heads = MigrationContext.configure(connection).get_current_heads()
    try:
        is_at_head = bool(heads) and to_tuple(context.get_revision_argument()) == heads
    except (KeyError, CommandError) as _:
        is_at_head = False  # the history is not whole: explained where it is loaded
    is_done = is_at_head and is_content(connection, heads)
    connection.rollback()
    return is_done
