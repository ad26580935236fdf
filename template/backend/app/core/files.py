"""Where the project's files are, and how the file of a secret is read. Imports next to nothing."""

import os
from collections.abc import Mapping
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
        ConfigurationError: the file is unreadable, empty, not UTF-8, or has several lines.
        FileNotFoundError: there is no such file.
    """
    try:
        text = path.read_text(encoding="utf-8-sig").strip("\r\n")
    except FileNotFoundError:
        raise
    except UnicodeDecodeError:
        # The exception would quote the secret's bytes.
        raise ConfigurationError(
            f"{path} is not UTF-8 text. Save it as UTF-8 without changing the secret."
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"{path} can't be read ({error.strerror}). It has to be a file that user "
            f"{os.geteuid()} may read: change its owner or its mode."
        ) from None
    if not text.strip():
        raise ConfigurationError(
            f"{path} is empty. Write the secret into it; or, if nothing uses it yet, "
            f"delete the file and run: just secrets"
        )
    if "\n" in text or "\r" in text or "\0" in text:
        raise ConfigurationError(f"{path} has more than one line. Keep the secret's line only.")
    return text
