"""What copier.yml and the template can ask of their surroundings: git, and the template's address."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment
from jinja2.ext import Extension

# What stands between scheme and host: user:password, or a token as the user.
CREDENTIALS = re.compile(r"(?<=://)(?:[^/@\s]*:[^/\s]+|(?<!ssh://)[^/@\s]{20,})@")
TOKEN_ARGUMENT = re.compile(r"[?&][a-z_]*token=[^&\s]+", re.IGNORECASE)


def with_absolute_source(answers: Mapping[str, Any]) -> dict[str, Any]:
    """The answers for the answers file: a template's path has to hold in every folder."""
    source = Path(answers["_src_path"]).expanduser()
    return {**answers, "_src_path": str(source.resolve())} if source.is_dir() else dict(answers)


def without_secret(address: str) -> str:
    """A template's address without the password or token in it; as it is when there is none."""
    return TOKEN_ARGUMENT.sub("", CREDENTIALS.sub("", address))


def git_config(key: str) -> str:
    """A value of the user's git configuration; empty without git or without the value."""
    return _git("config", "--get", key)


def is_in_repository(folder: object) -> bool:
    """Whether a folder belongs to a git repository already."""
    return _git("-C", str(folder), "rev-parse", "--is-inside-work-tree") == "true"


def place_in_repository(folder: object) -> str:
    """Where a folder is in its repository: `services/api/`, or empty for its top."""
    return _git("-C", str(folder), "rev-parse", "--show-prefix")


def _git(*arguments: str) -> str:
    try:
        answer = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip()


class SurroundingsExtension(Extension):
    """Makes the functions of this module available to copier.yml and the template."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.filters.update(
            with_absolute_source=with_absolute_source, without_secret=without_secret
        )
        environment.globals.update(
            git_config=git_config,
            is_in_repository=is_in_repository,
            place_in_repository=place_in_repository,
        )
