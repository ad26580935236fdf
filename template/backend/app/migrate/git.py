"""What git knows of the revision files: the base branch, and which files a commit has."""

import os
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path

from alembic.util import CommandError

from app.core.files import BACKEND_DIR

VERSIONS_IN_GIT = "alembic/versions"
MODELS_IN_GIT = "app/models"
# Set while git runs a hook, and true for the repository's top folder only.
OF_HOOKS = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"}


def base_branch() -> str:
    """The branch that everybody's revisions end up on: as configured, or the first there is.

    Raises:
        CommandError: git is not installed, or this is no git repository.
    """
    git("rev-parse", "--git-dir")
    if configured := git_or_none("config", "--get", "migrate.baseBranch"):
        return configured
    return next((name for name in _usual_names() if name and base_tips(name)), "main")


def _usual_names() -> Iterator[str]:
    yield "main"
    origin = git_or_none("symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD") or ""
    yield origin.removeprefix("origin/")
    yield git_or_none("config", "--get", "init.defaultBranch") or ""
    yield "master"


def base_tips(branch: str) -> list[str]:
    """The names under which the base branch is known: origin's and the one here."""
    return [name for name in (f"origin/{branch}", branch) if commit_exists(name)]


def is_replaying() -> bool:
    """Whether a rebase or a cherry-pick is in progress: HEAD is then what commits are put on."""
    # REBASE_HEAD outlives a rebase with conflicts; its folder does not.
    folders = git("rev-parse", "--git-path", "rebase-merge", "--git-path", "rebase-apply")
    is_rebase = any((BACKEND_DIR / folder).is_dir() for folder in folders.splitlines())
    return is_rebase or commit_exists("CHERRY_PICK_HEAD")


def commit_exists(name: str) -> bool:
    return git_or_none("rev-parse", "--verify", "--quiet", name + "^{commit}") is not None


def revision_files_at(commit: str) -> dict[str, bytes]:
    """The revision files of a commit: the path in the backend folder, and the content."""
    return python_files_at(commit, VERSIONS_IN_GIT)


def python_files_at(commit: str, folder: str) -> dict[str, bytes]:
    """The Python files below a folder of a commit. Two processes for any number of files."""
    entries = {}
    for line in git("ls-tree", "-r", "-z", commit, "--", folder).split("\0"):
        description, _, path = line.partition("\t")
        if path.endswith(".py"):
            entries[path] = description.split()[2]
    objects = "".join(f"{name}\n" for name in entries.values()).encode()
    answer = _checked("cat-file", "--batch", input=objects)
    files, position = {}, 0
    for path in entries:
        end_of_header = answer.index(b"\n", position)
        start = end_of_header + 1
        end = start + int(answer[position:end_of_header].split()[2])
        files[path] = answer[start:end]
        position = end + 1
    return files


def not_in_head(paths: Collection[Path]) -> list[Path]:
    """The files that HEAD does not have as they are: every one, without a commit.

    What `git status` says of them depends on the user's settings.

    Raises:
        CommandError: git is not installed, or this is no git repository.
    """
    git("rev-parse", "--git-dir")
    if not paths or not commit_exists("HEAD"):
        return list(paths)
    listed = git("ls-tree", "-r", "-z", "--full-name", "HEAD", "--", VERSIONS_IN_GIT).split("\0")
    there = {line.partition("\t")[0].split()[2] for line in listed if line}
    names = "".join(f"{path}\n" for path in paths).encode()
    hashes = os.fsdecode(_checked("hash-object", "--stdin-paths", input=names)).split()
    return [path for path, value in zip(paths, hashes, strict=True) if value not in there]


def git(*arguments: str) -> str:
    """What a git command prints, run in the backend folder.

    Raises:
        CommandError: it failed, or git is not installed.
    """
    return os.fsdecode(_checked(*arguments))


def git_or_none(*arguments: str) -> str | None:
    """The line that a git command prints, unless it fails."""
    answer = _run(*arguments)
    return os.fsdecode(answer.stdout).strip() if answer.returncode == 0 else None


def _checked(*arguments: str, input: bytes = b"") -> bytes:
    answer = _run(*arguments, input=input)
    if answer.returncode != 0:
        raise CommandError(f"git {arguments[0]} failed: {os.fsdecode(answer.stderr).strip()}")
    return answer.stdout


def _run(*arguments: str, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["git", *arguments],  # noqa: S607 - git is where PATH says
            cwd=BACKEND_DIR,
            input=input,
            capture_output=True,
            env={name: value for name, value in os.environ.items() if name not in OF_HOOKS},
        )
    except FileNotFoundError:
        raise CommandError("git is not installed, or not on PATH.") from None
