"""What git and the answers file know of this project."""

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import yaml  # Copier brings it

from update.errors import UpdateError

BACKEND = Path(__file__).resolve().parents[1]
PROJECT = BACKEND.parent
ANSWERS = ".copier-answers.yml"
# What comes of an answers file that is missing, damaged or without an answer.
BROKEN = (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError)
HERE = shlex.quote(str(PROJECT))
# Only this folder: the repository may hold more, with changes of its own. Nothing is deleted: what
# goes is in the stash, files of somebody here, too.
UNDO = f"cd {HERE} && git reset --quiet -- . && git stash push --quiet --include-untracked -- ."


def git(*arguments: str, cwd: Path = PROJECT) -> str:
    """What a git command prints.

    Raises:
        UpdateError: it failed.
    """
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True)
    if done.returncode:
        raise UpdateError(os.fsdecode(done.stderr).strip() or f"git {arguments[0]} failed.")
    return os.fsdecode(done.stdout)


def answers() -> dict[str, Any]:
    """The answers that the project was made with, `_commit` and `_src_path` among them.

    Raises:
        UpdateError: they are not there.
    """
    try:
        found: dict[str, Any] = yaml.safe_load((PROJECT / ANSWERS).read_text(encoding="utf-8"))
        return {**found, "_src_path": found["_src_path"], "_commit": str(found["_commit"])}
    except BROKEN:
        raise UpdateError(
            f"{ANSWERS} is missing, or does not say which version of the template this is. Get it "
            "back as the last update left it: it is in git."
        ) from None


def version(found: dict[str, Any]) -> str:
    """The template's version in the answers, as people write it."""
    return str(found["_commit"]).removeprefix("v")
