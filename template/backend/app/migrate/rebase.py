"""`just db-rebase`: puts the revisions of this branch after those of the base branch.

Reading comes first, then the plan, then the writing: a refusal leaves every file as it is.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from importlib.util import cache_from_source
from pathlib import Path

from alembic.util import CommandError

from app.migrate.git import base_branch, base_tips, git_or_none, is_replaying, revision_files_at
from app.migrate.history import heads, reparented, set_latest
from app.migrate.revision_file import Revision, revision_of


@dataclass(frozen=True)
class Move:
    """One revision and what it is to follow."""

    revision: Revision
    parent: str


def plan_moves(
    revisions: dict[str, Revision], base: Collection[str], applied: Collection[str]
) -> list[Move]:
    """The moves that put every revision that is not in `base` after the newest one that is.

    Args:
        revisions: All revision files of the work tree.
        base: The revisions that others have already: these stay as they are.
        applied: The revisions that the development database has applied.

    Raises:
        CommandError: the history can't be put in one line, or a move would lie to a database.
    """
    for name, revision in revisions.items():
        if len(revision.parents) > 1 and name not in base:
            raise CommandError(
                f"{revision.path.name} is a merge revision: the history is not one line. Remove it "
                "if nobody has it (git rm), then run just db-rebase again."
            )
    roots = [revision.path.name for revision in revisions.values() if not revision.parents]
    new_roots = [n for n, revision in revisions.items() if not revision.parents and n not in base]
    if len(roots) > 1 and new_roots:
        raise CommandError(
            f"The history has {len(roots)} first revisions: {', '.join(roots)}. Give all but the "
            "oldest a down_revision by hand."
        )
    base_heads = heads({name: revisions[name] for name in base})
    if len(base_heads) != 1:
        raise CommandError(
            f"The base branch itself has {len(base_heads)} heads: {', '.join(base_heads)}. "
            "Rebase there first; or say what to follow with: just db-rebase --onto REVISION"
        )
    parent = base_heads[0]
    moves = []
    for revision in in_order([r for name, r in revisions.items() if name not in base]):
        if revision.parents != (parent,):
            moves.append(Move(revision, parent))
        parent = revision.revision
    moved = [move.revision.revision for move in moves if move.revision.revision in applied]
    if moved:
        first = moves[0].revision.parents[0]
        raise CommandError(
            f"The development database has applied {', '.join(moved)}, which would get another "
            f"place in the history. Roll back first, then try again: just db-downgrade {first}"
        )
    return moves


def apply_moves(revisions: dict[str, Revision], moves: list[Move]) -> str:
    """Rewrites the files of a plan and the record of the newest revision, which is returned."""
    changed = {
        move.revision.path: reparented(
            move.revision.path.read_bytes(), move.revision.parents[0], move.parent
        )
        for move in moves
    }
    for path, source in changed.items():
        path.write_bytes(source)
        # Python takes a file of the same size and second for the one that it has compiled.
        Path(cache_from_source(path)).unlink(missing_ok=True)
    final = {
        **revisions,
        **{m.revision.revision: replace(m.revision, parents=(m.parent,)) for m in moves},
    }
    (newest,) = heads(final)
    set_latest(newest)
    return newest


def revisions_on_base() -> set[str]:
    """The revisions that others have already.

    During a merge into the base branch, a rebase or a cherry-pick these are HEAD's; otherwise those
    of the branch that `git config migrate.baseBranch` names, or else main, here and at origin.

    Raises:
        CommandError: there is no such branch, or this is no git repository.
    """
    base = base_branch()
    current = git_or_none("symbolic-ref", "--short", "HEAD")
    if is_replaying() or current == base:
        return revisions_at("HEAD")
    tips = base_tips(base)
    if not tips:
        raise CommandError(
            f"There is no branch {base} to compare with. Name the base branch with: git config "
            "migrate.baseBranch NAME; or the revision to follow with: just db-rebase --onto REVISION"
        )
    return {revision for tip in tips for revision in revisions_at(tip)}


def revisions_at(commit: str) -> set[str]:
    """The revisions whose files a commit of git has."""
    return {revision_of(source) for source in revision_files_at(commit).values()}


def in_order(revisions: list[Revision]) -> list[Revision]:
    """Parents before children; of two that are side by side the one with the older file name."""
    names = {revision.revision for revision in revisions}
    placed: set[str] = set()
    ordered: list[Revision] = []
    waiting = sorted(revisions, key=lambda revision: revision.path.name)
    while waiting:
        ready = next(r for r in waiting if not (set(r.parents) & names) - placed)
        waiting.remove(ready)
        ordered.append(ready)
        placed.add(ready.revision)
    return ordered
