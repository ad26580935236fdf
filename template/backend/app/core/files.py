"""Where the project's files are, and how a secret comes from a file and goes to a program.

Imports next to nothing.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

BACKEND_DIR = Path(__file__).resolve().parents[2]
PROJECT_DIR = BACKEND_DIR.parent
# Production mounts secrets at the first place, development keeps them at the second.
SECRETS_DIRS = (Path("/run/secrets"), PROJECT_DIR / "secrets")


class ConfigurationError(Exception):
    """A setting is missing or wrong. The message says what to do and holds no secret."""


def tls_parameters(settings: Mapping[str, str | None]) -> dict[str, str]:
    """libpq's parameters for encryption from settings by their names.

    The files are looked for from the project's folder, as recipes and images start elsewhere.
    """
    found = {}
    for name in ("sslmode", "sslrootcert", "sslcert", "sslkey"):
        value = settings.get(f"postgres_{name}")
        if value and name != "sslmode" and value != "system":
            value = str(PROJECT_DIR / value)
        if value:
            found[name] = value
    return found


def read_secret(path: Path) -> str:
    """The text of a secret's file without a byte order mark or the line's end.

    Raises:
        ConfigurationError: the file is unreadable, empty, not UTF-8, has several lines, or is a
            link to nothing.
        FileNotFoundError: there is no such file.
    """
    refuse_dangling(path)
    try:
        text = path.read_text(encoding="utf-8-sig").strip("\r\n")
    except FileNotFoundError:
        raise
    except UnicodeDecodeError:
        problem = "is not UTF-8 text. Save it as UTF-8 without changing the secret."
    except OSError as error:
        problem = (
            f"can't be read ({error.strerror}). It has to be a file that user {os.geteuid()} may "
            "read: change its owner or its mode."
        )
    else:
        if not text.strip():
            problem = (
                "is empty. Write the secret into it; or, if nothing uses it yet, delete the file "
                "and run: just secrets"
            )
        elif "\n" in text or "\r" in text or "\0" in text:
            problem = "has more than one line. Keep the secret's line only."
        else:
            return text
        del text
    # Out here, and without `text`: some tracebacks show local variables.
    raise ConfigurationError(f"{path} {problem}")


def refuse_dangling(path: Path) -> None:
    """Refuses a link to nothing, in the place of a file or of its folder.

    Raises:
        ConfigurationError: there is one.
    """
    for place in (path.parent, path):
        try:
            dangles = place.is_symlink() and not place.exists()
        except OSError:  # whoever reads it says why that fails
            return
        if dangles:
            raise ConfigurationError(
                f"{place} is a link to {os.readlink(place)}, which does not exist. "
                "Create that, or delete the link."
            )


@contextmanager
def unnamed_file(text: str) -> Iterator[int]:
    """A descriptor of a file that has no name: it is gone with its last user, killed or not.

    Another program, which has to inherit it, reads it as /dev/fd/N.
    """
    with tempfile.TemporaryFile() as file:  # mode 0600, nameless before anything is in it
        file.write(text.encode())
        file.seek(0)  # flushes; and macOS shares the position with whoever opens it
        yield file.fileno()
