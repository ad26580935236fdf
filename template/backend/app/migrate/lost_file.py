"""Finds the file of a deleted revision in git."""

import shlex
from pathlib import PurePosixPath

from app.migrate.git import VERSIONS_IN_GIT, git_or_none, revision_files_at
from app.migrate.revision_file import revision_of


def how_to_get_back(revision: str) -> str:
    """What to type to have the file of a revision again, which others follow."""
    for commit in _commits(revision):
        path = _path_at(commit, revision)
        if path:
            # `:/` is the repository's top folder: the command works in any.
            prefix = git_or_none("rev-parse", "--show-prefix") or ""
            place = shlex.quote(f":/{prefix}{path}")
            return f"Get it back with: git checkout {commit[:12]} -- {place}"
    return (
        f"Get it back from whoever wrote revision {revision}: no commit that is known here has it. "
        "It may be on a branch that is not fetched: git fetch --all"
    )


def _commits(revision: str) -> list[str]:
    """The commits that may have the file, the likeliest first."""
    pattern = f"{VERSIONS_IN_GIT}/*{revision}*.py"
    named = _log("--diff-filter=AMR", "--", pattern)
    # In a file of another name: those in which that text comes or goes, and what was before them.
    changed = _log(f"-S{revision}", "--", VERSIONS_IN_GIT)
    return ["HEAD", *named, *(f"{commit}{before}" for commit in changed for before in ("", "^"))]


def _log(*arguments: str) -> list[str]:
    return (git_or_none("log", "--all", "--format=%H", *arguments) or "").split()


def _path_at(commit: str, revision: str) -> str:
    if git_or_none("rev-parse", "--verify", "--quiet", commit) is None:
        return ""
    files = revision_files_at(commit)
    likely = sorted(files, key=lambda path: revision not in PurePosixPath(path).name)
    for path in likely:
        try:
            if revision.encode() in files[path] and revision_of(files[path]) == revision:
                return path
        except (SyntaxError, ValueError) as _:
            continue
    return ""
