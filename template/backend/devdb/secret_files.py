"""Makes the development secrets."""

import os
import secrets
import tempfile
from pathlib import Path

from pydantic import SecretStr

from app.core.config import SECRETS_DIRS, Settings

DIRECTORY = SECRETS_DIRS[-1]


def create_missing() -> int:
    """Writes a random value for each secret of the settings that has no file yet."""
    DIRECTORY.mkdir(exist_ok=True)
    DIRECTORY.chmod(0o700)
    for name, field in Settings.model_fields.items():
        path = DIRECTORY / f"{name}.txt"
        if field.annotation is SecretStr and not path.exists() and _create(path):
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
