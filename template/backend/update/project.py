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
# Copier's own markers: those of a merge are none of our business.
MARKERS = r"^(<<<<<<< before|>>>>>>> after) updating"
# Only this folder: the repository may hold more, with changes of its own.
UNDO = (
    f"cd {shlex.quote(str(PROJECT))} && git restore --source=HEAD --staged --worktree . "
    "&& git clean --force -d ."
)


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


def refuse_unclean() -> None:
    """Refuses a project with changes that are not committed: they would mix with the update's.

    Raises:
        UpdateError: there are some, or there is no git.
    """
    try:
        changes = git("status", "--porcelain", "--", ".").splitlines()
    except UpdateError as error:
        raise UpdateError(
            f"{error}\nAn update is a merge, and needs the project in git: "
            'git init && git add --all && git commit --message "Start"'
        ) from None
    if conflicting := conflicts():
        raise UpdateError(explain_conflicts(conflicting))
    if changes:
        raise UpdateError(
            f"There are changes that are not committed ({_count(changes)}):\n"
            + "\n".join(f"    {line}" for line in changes[:10])
            + "\nAn update would mix with them. Commit them, or: git stash --include-untracked\n"
            "If they are an update that is under way, go on with: just update --continue"
        )


def conflicts() -> list[str]:
    """The files in which both the template and somebody here changed the same lines."""
    unmerged = [line.partition("\t")[2] for line in _lines("ls-files", "--unmerged", "-z")]
    try:
        marked = _lines("grep", "--untracked", "--no-color", "-lzIE", MARKERS)
    except UpdateError:  # none
        marked = []
    rejected = _lines("ls-files", "--others", "--exclude-standard", "-z", "--", "*.rej")
    return sorted({*unmerged, *marked, *rejected})


def explain_conflicts(files: list[str]) -> str:
    """What to do about conflicts."""
    return (
        f"The template and this project changed the same lines ({_count(files)}):\n"
        + "\n".join(f"    {file}" for file in files)
        + "\nIn each, keep what belongs there, delete the lines of the markers, and git add it. "
        "(Out of a .rej file, take over what it has, and delete it.)\n"
        "Then go on with: just update --continue\n"
        f"Or give the update up: {UNDO}"
    )


def _lines(*arguments: str) -> list[str]:
    return [line for line in git(*arguments).split("\0") if line]


def _count(files: list[str]) -> str:
    return f"{len(files)} file{'' if len(files) == 1 else 's'}"
