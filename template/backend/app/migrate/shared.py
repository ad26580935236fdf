"""Revisions that the base branch in git has are shared: they stay as they are there."""

import shlex
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from alembic.util import CommandError

from app.migrate.git import base_branch, base_tips, commit_exists, git_or_none, revision_files_at
from app.migrate.report import Finding
from app.migrate.revision_file import Revision, checksum, parse_revision


class NoBaseBranchError(CommandError):
    """There are commits, and no branch to compare with. The message says what to type."""


@dataclass(frozen=True)
class SharedFiles:
    """The revision files that the work tree has from a branch."""

    branch: str
    commit: str
    files: dict[str, bytes]


def shared_files() -> list[SharedFiles]:
    """What the work tree has from the base branch, here and at origin.

    That is their newest common commit: what the branch got since then is not here yet. The other
    side of a merge in progress is here.

    Raises:
        NoBaseBranchError: there is no branch to compare with.
        CommandError: there is nothing to compare with; says why.
    """
    branch = base_branch()
    if not commit_exists("HEAD"):
        raise CommandError("There is no commit yet.")
    tips = base_tips(branch)
    if not tips:
        branches = (git_or_none("branch", "--format=%(refname:short)") or "").split("\n")
        only = shlex.quote(branches[0]) if len(branches) == 1 and branches[0] else "NAME"
        raise NoBaseBranchError(
            f"There is no branch {branch} to compare with.\n"
            f"Fetch it, or name the base branch: git config migrate.baseBranch {only}"
        )
    if len(tips) > 1 and git_or_none("merge-base", "--is-ancestor", tips[1], tips[0]) is not None:
        tips = tips[:1]  # the branch here only lags behind origin's
    here = ["HEAD", *(["MERGE_HEAD"] if commit_exists("MERGE_HEAD") else [])]
    common = {tip: git_or_none("merge-base", tip, *here) for tip in tips}
    found = [SharedFiles(t, c[:12], revision_files_at(c)) for t, c in common.items() if c]
    if not found:
        raise CommandError(f"There is no common commit with {' or '.join(tips)}.")
    return found


def changed_revisions(
    shared: SharedFiles, work: Mapping[str, Revision], sources: Collection[bytes], prefix: str
) -> list[Finding]:
    """The shared revisions that are edited, re-parented or deleted in the work tree.

    A file may get another name, and line endings don't count. A squash may take the place of
    revisions that it names with their checksums.

    Args:
        work: The work tree's revisions.
        sources: The contents of their files, with LF line endings.
        prefix: The backend folder's place in the repository.
    """
    unchanged = set(sources)
    replaced = {
        (name, one)
        for revision in work.values()
        for name, checksums in revision.replaces.items()
        for one in checksums.split()
    }
    findings = []
    for path, content in shared.files.items():
        source = content.replace(b"\r\n", b"\n")
        if source in unchanged:
            continue
        there = _read(Path(path), source)
        if there is None or (there.revision, checksum(source)) in replaced:
            continue
        here = work.get(there.revision)
        place = shlex.quote(f":/{prefix}{path}")
        fix = f"Restore it with: git checkout {shared.commit} -- {place}"
        if here is not None and here.path.name != there.path.name:
            fix += f"\nThen delete {here.path.name}."
        findings.append(Finding(_describe(there, here, shared.branch), fix))
    return findings


def unshared_revisions(shared: Collection[SharedFiles], work: Mapping[str, Revision]) -> list[str]:
    """The revisions that only the work tree has. One that was edited here is shared all the same."""
    there = {
        content.replace(b"\r\n", b"\n"): Path(path)
        for branch in shared
        for path, content in branch.files.items()
    }
    here = {r.path.read_bytes().replace(b"\r\n", b"\n"): name for name, r in work.items()}
    edited = [_read(there[source], source) for source in there.keys() - here.keys()]
    known = {revision.revision for revision in edited if revision}
    return [name for source, name in here.items() if source not in there and name not in known]


def not_known_to_be_shared(work: Mapping[str, Revision]) -> set[str]:
    """The revisions that the base branch does not have; all where nothing can be compared."""
    with suppress(CommandError):
        return set(unshared_revisions(shared_files(), work))
    return set(work)


def uncommitted_revisions(work: Mapping[str, Revision]) -> list[str]:
    """The revisions that are in no commit, and so not shared whatever the base branch is."""
    with suppress(CommandError):
        return unshared_revisions([SharedFiles("HEAD", "HEAD", revision_files_at("HEAD"))], work)
    return []


def _read(path: Path, source: bytes) -> Revision | None:
    with suppress(SyntaxError, ValueError, KeyError):  # what is broken there may be mended here
        return parse_revision(path, source)
    return None


def _describe(there: Revision, here: Revision | None, branch: str) -> str:
    name = f"{(here or there).path.name}: revision {there.revision}, which {branch} has,"
    if here is None:
        return f"{name} was deleted. A database that applied it can't be upgraded without it."
    if here.parents != there.parents:
        return (
            f"{name} follows {_names(here.parents)} here and {_names(there.parents)} there. "
            "A database in between would skip a revision, or run one twice."
        )
    return (
        f"{name} was edited. A database that applied it will never get the change, which belongs "
        "in a new revision."
    )


def _names(parents: tuple[str, ...]) -> str:
    return " and ".join(parents) or "nothing"
