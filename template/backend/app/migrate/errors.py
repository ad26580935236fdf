"""The errors that end a command, and the description of any other one in a line."""

import traceback
from pathlib import Path

from alembic.util import CommandError

from app.core.files import BACKEND_DIR


class StoppedError(CommandError):
    """Somebody ended it: Ctrl-C, the end of a container, the server's administrator."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class FailedRevisionError(CommandError):
    """A revision failed while it ran. `reason` says which and why, without what to do next."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(f"{reason}\n{advice}")
        self.reason = reason


def describe_error(error: BaseException) -> str:
    """The error in one line, with the place in the project's own files that it came from."""
    name = type(error).__name__
    if isinstance(error, SyntaxError):
        return f"{relative_path(error.filename)}, line {error.lineno}: {name}: {error.msg}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        is_own = path.is_relative_to(BACKEND_DIR) and ".venv" not in path.parts
        if is_own and path.parent.name != "migrate" and path.name != "env.py":
            return f"{relative_path(frame.filename)}, line {frame.lineno}: {name}: {error}"
    return f"{name}: {error}" if str(error) else name


def relative_path(path: str | None) -> str:
    """A file's path as it is shown: from the folder `backend`, if it is in there."""
    if path is None:
        return "?"
    return str(Path(path).relative_to(BACKEND_DIR)) if path.startswith(str(BACKEND_DIR)) else path
