"""Turns what can go wrong into one short message that says what to do next."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from app.core.files import BACKEND_DIR, ConfigurationError
from app.migrate.development import in_development
from app.migrate.history import explain_several_heads, heads, read_revisions
from app.migrate.progress import Progress


class StoppedError(CommandError):
    """Somebody pressed Ctrl-C, or the container is being stopped."""


class FailedRevisionError(CommandError):
    """A revision failed while it ran. `reason` says which and why, without what to do next."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(f"{reason}\n{advice}")
        self.reason = reason


@contextmanager
def explained_errors(context: Any, progress: Progress) -> Iterator[None]:
    """Makes every failure inside a CommandError, which Alembic prints without a traceback.

    Args:
        context: Alembic's `context` while env.py runs.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise StoppedError("Interrupted: what was running is rolled back.") from None
    except ConfigurationError as error:
        raise CommandError(str(error)) from None
    except CommandError as error:
        raise CommandError(_explain_command_error(str(error))) from None
    except Exception as error:
        if progress.step is None:
            raise CommandError(describe_error(error)) from None
        if context.is_offline_mode():
            raise CommandError(
                f"The SQL of revision {progress.step.revision.revision} can't be shown without "
                f"running it: {describe_error(error)}"
            ) from None
        raise _failed_revision(error, progress) from None


def describe_error(error: BaseException) -> str:
    """The error in one line, with the place in the project's own files that it came from."""
    name = type(error).__name__
    if isinstance(error, SyntaxError):
        return f"{_relative(error.filename)}, line {error.lineno}: {name}: {error.msg}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        is_own = path.is_relative_to(BACKEND_DIR) and ".venv" not in path.parts
        if is_own and path.parent.name != "migrate" and path.name != "env.py":
            return f"{_relative(frame.filename)}, line {frame.lineno}: {name}: {error}"
    return f"{name}: {error}" if str(error) else name


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
    if message.startswith("Relative revision -"):
        return "There are not that many revisions to roll back: see just db-history"
    if message.startswith("Relative revision +"):
        return "There are not that many pending revisions: see just db-history"
    return message


def _failed_revision(error: Exception, progress: Progress) -> FailedRevisionError:
    assert progress.step is not None
    revision = progress.step.revision
    direction = "upgrade" if progress.step.is_upgrade else "downgrade"
    lines = [
        f"The {direction} of revision {revision.revision} failed ({_relative(revision.path)})."
    ]
    advice = f"Correct the file, then run: just db-{direction}"
    if isinstance(error, DBAPIError):
        lines.append(f"PostgreSQL says: {str(error.orig).strip()}")
        if error.statement:
            lines.append(f"SQL: {error.statement.strip()}")
        if error.connection_invalidated:
            advice = f"The connection was lost. Nothing to correct: run just db-{direction} again"
    else:
        lines.append(describe_error(error))
    kept = (
        "What it had committed stays, the rest was rolled back."
        if progress.is_partly_committed
        else "Its transaction was rolled back, the revisions before it stay."
    )
    return FailedRevisionError("\n".join(lines), f"{kept} {advice}")


def _relative(path: str | None) -> str:
    if path is None:
        return "?"
    return str(Path(path).relative_to(BACKEND_DIR)) if path.startswith(str(BACKEND_DIR)) else path
