"""`just db-repair`: accepts, after review, that an applied revision is not what was applied."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError

from app.migrate.ancestry import reachable
from app.migrate.connection import connect
from app.migrate.development import in_development
from app.migrate.git import git_or_none
from app.migrate.history import read_revisions
from app.migrate.integrity import parents_of
from app.migrate.ledger import (
    Entry,
    add_rows,
    ledger,
    ledger_row,
    operator,
    read_entries,
)
from app.migrate.revision_file import Revision, checksum


@dataclass(frozen=True)
class Repair:
    """What the ledger will say of a revision from now on."""

    revision: str
    parents: tuple[str, ...]
    checksum: str | None
    summary: str


def repair_revision(revision: str, note: str) -> str:
    """Records that a revision's file, or its absence, is accepted; tells what was done.

    Raises:
        CommandError: there is no such revision, or it is not applied, or can't be accepted.
    """
    revisions = read_revisions()
    with connect() as connection, connection.begin():
        ledger.create(connection, checkfirst=True)
        heads = MigrationContext.configure(connection).get_current_heads()
        repair = plan_repair(revision, heads, read_entries(connection), revisions)
        if repair is None:
            return f"Nothing to repair: revision {revision} is what the ledger says."
        by = f"{_git_name()}{operator()}"
        row = ledger_row(
            revision, "repair", repair.parents, repair.checksum, by=by, note=note or None
        )
        add_rows(connection, [row])
    return f"Recorded in the ledger that {by} accepts revision {revision} {repair.summary}."


def plan_repair(
    revision: str,
    heads: Collection[str],
    entries: Mapping[str, Entry],
    revisions: Mapping[str, Revision],
) -> Repair | None:
    """What is to be recorded; nothing when the ledger and the file agree.

    Raises:
        CommandError: see repair_revision().
    """
    entry, file = entries.get(revision), revisions.get(revision)
    if entry is None and file is None:
        raise CommandError(
            f"There is no revision {revision}, neither a file nor in the ledger. "
            "`just db-history` lists all."
        )
    parents = parents_of(revisions.values()) | parents_of(entries.values())
    applied = {*reachable(heads, parents), *entries}
    if revision not in applied:
        raise CommandError(
            f"Revision {revision} is not applied in this database: there is nothing to accept."
        )
    if entry is None:
        return None  # the next upgrade adopts it as it is
    squash = next((r for r in revisions.values() if revision in r.replaces), None)
    if file is None and squash:
        accepted = squash.replaces[revision].split()
        if entry.checksum in accepted:
            return None
        summary = f"as the one that was squashed into {squash.path.name}"
        return Repair(revision, entry.parents, accepted[-1], summary)
    if file is None:
        _refuse_needed(revision, heads, revisions)
        if entry.checksum is None:
            return None
        return Repair(revision, entry.parents, None, "without a file")
    value = checksum(file.path.read_bytes())
    if value == entry.checksum or (
        squash == file and entry.checksum in file.replaces[revision].split()
    ):
        return None
    never_ran = [parent for parent in file.parents if parent not in applied]
    if never_ran:
        raise CommandError(
            f"{file.path.name} follows {', '.join(never_ran)} now, which this database has not "
            "applied and would then never run. Give it its old down_revision, "
            f"{', '.join(entry.parents) or None}, and put the new revision after the newest one."
        )
    return Repair(revision, file.parents, value, f"as it is now, {file.path.name}")


def _refuse_needed(
    revision: str, heads: Collection[str], revisions: Mapping[str, Revision]
) -> None:
    """Refuses to do without a file that Alembic can't do without."""
    if revision in heads:
        raise CommandError(
            f"The database is at revision {revision} itself: without its file no command knows "
            "where that is. Get it from git"
            + in_development(", or start over without the rows: just db-reset")
        )
    for file in revisions.values():
        if revision in file.parents:
            raise CommandError(
                f"{file.path.name} follows revision {revision}, so its file is needed. "
                "Get it from git."
            )


def _git_name() -> str:
    try:
        name = git_or_none("config", "--get", "user.name")
    except CommandError:  # no git, as in the production image
        return ""
    return f"{name}, " if name else ""
