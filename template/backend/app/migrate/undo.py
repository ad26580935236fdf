"""`just db-migrate --undo`: deletes what it wrote last, as long as only this machine knows of it."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from alembic.util import CommandError

from app.core.files import PROJECT_DIR
from app.migrate.git import git_or_none, revision_files_at
from app.migrate.history import heads, read_revisions, refuse_several_heads, set_latest
from app.migrate.revision_file import LATEST, Revision, checksum
from app.migrate.shared import not_known_to_be_shared
from app.migrate.status import applied_here
from app.migrate.written import forget_written, read_written

KEPT = ".undone"


@dataclass(frozen=True)
class Undoing:
    """The files to delete, the newest first, and what their history is without them."""

    revisions: list[Revision]
    newest: str
    # Those that somebody changed, and git does not have: they get another name.
    kept: list[Revision]


def undo_last() -> str:
    """Deletes the newest revisions that were written together; tells what was done.

    Raises:
        CommandError: there are none, others have them, or a database may have applied them.
    """
    revisions = read_revisions()
    refuse_several_heads(revisions)
    plan = plan_undo(revisions)
    lines = []
    for revision in plan.revisions:
        shown = revision.path.relative_to(PROJECT_DIR)
        if revision in plan.kept:
            kept = revision.path.with_name(revision.path.name + KEPT)
            revision.path.rename(kept)
            lines.append(f"Took back {shown}. It was changed, so it is kept as {kept.name}.")
        else:
            revision.path.unlink()
            lines.append(f"Took back {shown}")
    if plan.newest:
        set_latest(plan.newest)
    else:
        LATEST.unlink(missing_ok=True)
    forget_written([revision.path.name for revision in plan.revisions])
    return "\n".join([*lines, f"The newest revision is {plan.newest or 'none'}."])


def plan_undo(revisions: Mapping[str, Revision]) -> Undoing:
    """What to delete.

    Raises:
        CommandError: see undo_last().
    """
    newest = next(iter(heads(revisions)), "")
    if not newest:
        raise CommandError("There is nothing to undo: there are no revisions.")
    in_git: set[bytes] = set()
    with suppress(CommandError):  # no git, or no commit
        in_git = {source.replace(b"\r\n", b"\n") for source in revision_files_at("HEAD").values()}
    run = next((run for run in read_written() if revisions[newest].path.name in run), {})
    undone: list[Revision] = []
    kept = []
    name = newest
    while name and (not undone or revisions[name].path.name in run):
        revision = revisions[name]
        undone.append(revision)
        if revision.path.read_bytes().replace(b"\r\n", b"\n") not in in_git:
            if revision.path.name not in run:
                raise CommandError(
                    f"Nothing was undone: {revision.path.name}, the newest, is not what just "
                    "db-migrate wrote on this machine, and git does not have it. Commit it first, "
                    "or delete it by hand and put what it follows into latest_revision.txt."
                )
            if checksum(revision.path.read_bytes()) != run[revision.path.name]:
                kept.append(revision)
        name = next(iter(revision.parents), "")
    _refuse_shared(undone, revisions)
    _refuse_applied(undone, revisions, name)
    return Undoing(undone, name, kept)


def _refuse_shared(undone: list[Revision], revisions: Mapping[str, Revision]) -> None:
    unshared = not_known_to_be_shared(revisions)
    for revision in undone:
        if revision.revision not in unshared:
            raise CommandError(
                f"Nothing was undone: the base branch has {revision.path.name}, the newest "
                "revision. What others have is undone by a new one: change the models back, then: "
                "just db-migrate"
            )
        if pushed := _pushed(revision):
            raise CommandError(
                f"Nothing was undone: {revision.path.name} was pushed (commit {pushed}), and "
                "others may have applied it. Change the models back, then: just db-migrate"
            )


def _pushed(revision: Revision) -> str:
    """The newest commit of a remote that has to do with the file."""
    with suppress(CommandError):  # no git
        files = f"alembic/versions/*{revision.revision}*"
        return git_or_none("log", "--remotes", "-1", "--format=%h", "--", files) or ""
    return ""


def _refuse_applied(undone: list[Revision], revisions: Mapping[str, Revision], base: str) -> None:
    try:
        applied = applied_here(revisions)
    except CommandError as error:
        raise CommandError(
            f"Nothing was undone, for it can't be told whether {undone[0].revision} is applied: "
            f"{error}"
        ) from None
    names = [revision.revision for revision in undone if revision.revision in applied]
    if names:
        raise CommandError(
            f"Nothing was undone: the development database has applied {', '.join(names)}. Roll "
            f"back first: just db-downgrade {base or 'base'}"
        )
