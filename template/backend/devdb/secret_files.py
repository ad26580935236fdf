"""Makes the development secrets."""

import os
import secrets
import tempfile
from pathlib import Path

from app.core.files import SECRETS_DIRS

DIRECTORY = SECRETS_DIRS[-1]
# Others, such as keys of services, have values that nobody can make up.
GENERATED = ("postgres_password",)


def create_missing() -> int:
    """Writes a random value for each generated secret that has no file yet."""
    DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    if DIRECTORY.stat().st_mode & 0o077:
        DIRECTORY.chmod(0o700)
    for name in GENERATED:
        path = DIRECTORY / f"{name}.txt"
        if not path.exists() and _create(path):
            print(f"Wrote a random secret to secrets/{path.name}")
    return 0


def _create(path: Path) -> bool:
    """Writes one secret, whole or not at all; never over a file that came up meanwhile."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")  # mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)
    return True
