"""What made a revision fail, and what to type next: that depends on whose fault it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from app.core.files import ConfigurationError
from app.migrate import interrupts
from app.migrate.development import in_development
from app.migrate.errors import FailedRevisionError, StoppedError, describe_error, relative_path
from app.migrate.history import explain_several_heads, heads, read_revisions
from app.migrate.missing_extension import explain_missing_extension
from app.migrate.one_transaction import EndedTransactionError
from app.migrate.progress import Progress

# PostgreSQL manual, appendix A.
CANCELED, TERMINATED = "57014", "57P01"
READ_ONLY, NO_PRIVILEGE, DUPLICATE = "25006", "42501", "42710"
NO_ROOM = {"53100", "53200", "53300"}
BLOCK = "with op.get_context().autocommit_block():"


@contextmanager
def explained_errors(context: Any, progress: Progress) -> Iterator[None]:
    """Makes every failure inside a CommandError, which Alembic prints without a traceback.

    Args:
        context: Alembic's `context` while env.py runs.
    """
    try:
        yield
    except StoppedError:
        raise
    except ConfigurationError as error:
        raise CommandError(str(error)) from None
    except CommandError as error:
        raise CommandError(_explain_command_error(str(error))) from None
    except (Exception, KeyboardInterrupt) as error:
        if progress.step is None:
            if is_interruption(error):
                message = "Interrupted before anything was run."
                raise StoppedError(message, interrupts.exit_code()) from None
            raise CommandError(describe_error(error)) from None
        if context.is_offline_mode():
            raise CommandError(
                f"The SQL of revision {progress.step.revision.revision} can't be shown without "
                f"running it: {describe_error(error)}"
            ) from None
        raise explain_failure(error, progress) from None


def is_interruption(error: BaseException) -> bool:
    """Whether a signal came, also if another error came up while that was dealt with."""
    return interrupts.is_interrupted() or any(
        isinstance(earlier, KeyboardInterrupt) for earlier in _chain(error)
    )


def cause(error: BaseException) -> BaseException:
    """What an error is about. Alembic can't leave a block when the connection is lost."""
    while isinstance(error, PendingRollbackError) and error.__context__:
        error = error.__context__
    return error


def explain_failure(error: BaseException, progress: Progress) -> CommandError:
    """The error to raise for one that came out of a running revision."""
    assert progress.step is not None
    revision, path = progress.revision, relative_path(progress.step.revision.path)
    kept = (
        "What it had committed stays, the rest was rolled back."
        if progress.has_changed
        else "Its transaction was rolled back, the revisions before it stay."
    )
    if is_interruption(error):
        message = f"Interrupted in revision {revision}. {kept} Go on with: {progress.again}"
        return StoppedError(message, interrupts.exit_code())
    is_terminated = any(_state(earlier) == TERMINATED for earlier in _chain(error))
    error = cause(error)
    lines = [f"The {progress.direction} of revision {revision} failed ({path})."]
    if isinstance(error, EndedTransactionError):
        if error.left:
            kept = f"{error.left}: see to that first, by hand."
        lines.append(f"{error} A revision ends with its transaction, which also records it.")
        advice = (
            f"{_correct(progress)} What can't be in a transaction goes below `{BLOCK}`, "
            "what has to be committed first into a revision of its own."
        )
        return FailedRevisionError("\n".join(lines), f"{kept} {advice}")
    origin = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(origin, psycopg.Error):
        lines.append(describe_error(error))
        return FailedRevisionError("\n".join(lines), f"{kept} {_correct(progress)}")
    lines.append(f"PostgreSQL says: {str(origin).strip()}")
    statement = (isinstance(error, DBAPIError) and error.statement) or ""
    if statement:
        lines.append(f"SQL: {statement.strip()}")
    state = origin.sqlstate
    if is_terminated or (state == CANCELED and "timeout" not in str(origin)):
        what, code = (
            ("The connection was lost: its session was ended, or the server stopped.", 143)
            if is_terminated
            else ("Somebody cancelled its statement.", 130)
        )
        end = f"{kept} Nothing to correct. Go on with: {progress.again}"
        return StoppedError("\n".join([*lines, f"{what} {end}"]), code)
    is_lost = isinstance(origin, psycopg.OperationalError) and state is None
    is_lost |= isinstance(error, DBAPIError) and error.connection_invalidated
    if is_lost:
        advice = f"The connection was lost. Nothing to correct, run again: {progress.again}"
    elif isinstance(error, DBAPIError) and (missing := explain_missing_extension(error)):
        advice = f"{missing}\nThen run: {progress.again}"
    else:
        advice = _advice(state, statement, progress)
    return FailedRevisionError("\n".join(lines), f"{kept} {advice}")


def _advice(state: str | None, statement: str, progress: Progress) -> str:
    again = f"run again: {progress.again}"
    if state == CANCELED:
        return (
            "Nobody waits for a statement longer than MIGRATION_STATEMENT_TIMEOUT_S. Change many "
            f"rows in batches (docs/database.md, Data migrations), or set it higher and {again}"
        )
    if state == READ_ONLY:
        return (
            "The transaction is read-only: the server is a standby, or "
            "default_transaction_read_only is set for the role or the database. Nothing to "
            f"correct in the file: end that, then {again}"
        )
    if state == NO_PRIVILEGE:
        return (
            "The role that migrates lacks a privilege. Nothing to correct in the file: let the "
            f"owner of the object, or an administrator, grant it, then {again}"
        )
    if state in NO_ROOM:
        return f"The server is full. Nothing to correct in the file: make room, then {again}"
    if state == DUPLICATE and "ROLE" in statement.upper():
        return (
            "Roles belong to the server and not to a database: it is there for another one. "
            "Create it only if it is missing: docs/database.md, Manual migrations. "
            f"{_correct(progress)}"
        )
    return _correct(progress)


def _correct(progress: Progress) -> str:
    """What to do with a file that is wrong."""
    if progress.direction == "upgrade":
        return f"Correct the file, then run: {progress.again}"
    # It is applied, so that a change of its file is noticed and refused.
    return (
        f"Correct its downgrade(), let the ledger know: just db-repair {progress.revision}, then "
        f"run: {progress.again}"
    )


def _explain_command_error(message: str) -> str:
    """Alembic's own message, and what to do about it in this project."""
    if message.startswith("Can't locate revision"):
        return (
            f"{message.removesuffix('.')}. `just db-history` lists the known ones. If it is the "
            "database that is at this revision, its file is on another branch or was deleted: "
            "get it from git" + in_development(", or start over without the rows: just db-reset")
        )
    if message.startswith("Multiple head revisions are present"):
        return explain_several_heads(heads(read_revisions()))
    if "Ambiguous walk" in message:
        return (
            "There is a merge revision in between, and so more than one way down. Name the revision "
            "to go down to; just db-history lists all."
        )
    if message.startswith("Relative revision -"):
        return "There are not that many revisions to roll back: see just db-history"
    if message.startswith("Relative revision +"):
        return "There are not that many pending revisions: see just db-history"
    return message


def _state(error: BaseException) -> str | None:
    origin = error.orig if isinstance(error, DBAPIError) else error
    return origin.sqlstate if isinstance(origin, psycopg.Error) else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__
