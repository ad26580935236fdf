"""Makes the development secrets."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote

from app.core.files import SECRETS_DIRS, ConfigurationError, refuse_dangling

DIRECTORY = SECRETS_DIRS[-1]
# Others, such as keys of services, have values that nobody can make up.
GENERATED = ("postgres_password",)


def create_missing() -> int:
    """Writes a random value for each generated secret that has no file yet.

    Raises:
        ConfigurationError: the folder can't be used; says why and what to do.
    """
    try:
        refuse_dangling(DIRECTORY / GENERATED[0])
        DIRECTORY.mkdir(mode=0o700, exist_ok=True)
        mode = DIRECTORY.stat().st_mode
        if mode & 0o077 or mode & 0o700 != 0o700:
            DIRECTORY.chmod(0o700)
        with _one_at_a_time():
            for name in GENERATED:
                path = DIRECTORY / f"{name}.txt"
                refuse_dangling(path)
                if not path.exists() and _create(path):
                    print(f"Wrote a random secret to secrets/{path.name}")
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename or DIRECTORY}: {error.strerror}. {DIRECTORY} has to be a folder that "
            f"user {os.geteuid()} owns and may write to. If it is another user's: "
            f"sudo chown -R {os.geteuid()} {quote(str(DIRECTORY))}"
        ) from None
    return 0


def _create(path: Path) -> bool:
    """Writes one secret, whole or not at all; never over a file that came up meanwhile."""
    new = path.with_name(".new")
    new.unlink(missing_ok=True)  # of one who was killed
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
        os.link(new, path)
    except FileExistsError:
        return False
    finally:
        new.unlink()
    return True


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    folder = os.open(DIRECTORY, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems lock no folders
            fcntl.flock(folder, fcntl.LOCK_EX)  # the kernel frees it, however we end
        yield
    finally:
        os.close(folder)
