"""The template: whether it has a newer version, and what it says about itself."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from update.errors import UpdateError
from update.notes import new_sections
from update.project import PROJECT, git

# Copier's abbreviations.
HOSTS = {"gh:": "https://github.com/", "gl:": "https://gitlab.com/"}


@dataclass(frozen=True)
class News:
    """The version that the project has, and the template's newest one."""

    is_newer: bool
    current: str
    latest: str


def news() -> News:
    """Asks the template's repository for its newest version.

    Raises:
        UpdateError: it does not answer.
    """
    done = copier("check-update", "--output-format", "json", capture_output=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [""])[-1].strip()
        reason = re.sub(r"(?<=://)[^/\s]+@", "", reason)  # a password in the address
        raise UpdateError(f"The template's newest version can't be told. Copier says: {reason}")
    found = json.loads(done.stdout)
    return News(found["update_available"], found["current_version"], found["latest_version"])


def copier(
    *arguments: str, cwd: Path = PROJECT, capture_output: bool = False
) -> subprocess.CompletedProcess[str]:
    """Runs Copier, which this environment has."""
    # -P: nothing in the folder is to be imported.
    command = [sys.executable, "-P", "-m", "copier", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=capture_output, text=True)


def new_notes(source: str, before: str, after: str) -> tuple[dict[str, str], dict[str, str]]:
    """What a version of the template adds to its CHANGELOG.md and UPGRADING.md, by title.

    Args:
        source: The template as the answers file names it.
        before: The version of the project, as git describes it.
        after: A version as PEP 440 writes it, or a tag, branch or commit.
    """
    with TemporaryDirectory(prefix="template.") as folder:
        repository = Path(folder)
        git("clone", "--quiet", "--bare", "--filter=blob:none", "--", git_address(source), folder)
        listed = git("tag", "--no-column", cwd=repository).split()
        tags = {tag.removeprefix("v"): tag for tag in listed}
        newer = tags.get(after.removeprefix("v"), after)
        changelog, upgrading = (
            new_sections(_shown(repository, before, name), _shown(repository, newer, name))
            for name in ("CHANGELOG.md", "UPGRADING.md")
        )
        return changelog, upgrading


def git_address(source: str) -> str:
    """The address of a template's repository for git, which does not know Copier's abbreviations."""
    for short, long in HOSTS.items():
        if source.startswith(short):
            return long + source.removeprefix(short).lstrip("/")
    if source.startswith("~"):
        return str(Path(source).expanduser())
    return source.removeprefix("git+")


def _shown(repository: Path, commit: str, path: str) -> str:
    try:
        return git("show", f"{commit}:{path}", cwd=repository)
    except UpdateError:  # there was no such file, or no such version in this repository
        return ""
