"""Compares what the ledger says was applied with the revision files, before anything runs."""

import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from shlex import quote
from typing import Any

from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Connection, inspect

from app.core.files import BACKEND_DIR
from app.migrate.ancestry import describe_ahead, newest, reachable, revisions_ahead
from app.migrate.connection import connect
from app.migrate.development import in_development
from app.migrate.git import git
from app.migrate.history import read_revision
from app.migrate.ledger import TABLE_NAME, Entry, add_rows, ledger, ledger_row, read_entries
from app.migrate.revision_file import LATEST, Revision, checksum, revision_files
from app.migrate.status import explain_unknown

# What became of a revision by the action of its newest row.
VERBS = {"adopt": "found applied", "repair": "accepted", "stamp": "stamped"}


@dataclass(frozen=True)
class Difference:
    """An applied revision that is not in its file, or in what it was squashed into, any more."""

    entry: Entry
    file: Revision | None
    squashed_into: Revision | None


@dataclass
class Comparison:
    """What there is to refuse, or else to record."""

    unknown: list[str] = field(default_factory=list)
    squashed: dict[str, str] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)


def verify_applied(connection: Connection) -> None:
    """Refuses applied revisions that were edited, deleted or re-parented.

    What was applied without the ledger is recorded with the files as they are now.

    Raises:
        CommandError: names each such revision, its file and the ways on.
    """
    with connection.begin():
        ledger.create(connection, checkfirst=True)
        heads = MigrationContext.configure(connection).get_current_heads()
        comparison = compare_with_files(connection, heads)
        if comparison.unknown:
            raise CommandError(explain_unknown(comparison.unknown, comparison.squashed))
        if comparison.differences:
            raise CommandError(f"Nothing was run: {explain(comparison.differences, heads)}")
        add_rows(connection, comparison.rows)


def record_purge(connection: Connection) -> None:
    """Records what `alembic stamp --purge` took away without a step that could be recorded."""
    entries = read_entries(connection)
    heads = MigrationContext.configure(connection).get_current_heads()
    kept = reachable(heads, parents_of(entries.values()))
    add_rows(
        connection,
        [
            ledger_row(name, "unstamp", entry.parents, entry.checksum, note="purged")
            for name, entry in entries.items()
            if name not in kept
        ],
    )
    connection.commit()


def is_content(connection: Connection, heads: Collection[str]) -> bool:
    """Whether the ledger agrees with the files and has nothing to be added. Only reads."""
    if not inspect(connection).has_table(TABLE_NAME):
        return False
    comparison = compare_with_files(connection, heads)
    return not (comparison.unknown or comparison.differences or comparison.rows)


def compare_with_files(connection: Connection, heads: Collection[str]) -> Comparison:
    """Holds the ledger against the revision files. Reads only what it has to.

    Args:
        heads: What the database is at.
    """
    entries = read_entries(connection)
    files = {checksum(path.read_bytes()): path for path in revision_files()}
    if all(
        name in entries and entries[name].checksum in files
        for name in reachable(heads, parents_of(entries.values()))
    ):
        return Comparison()
    return compare(heads, entries, files.keys(), changed_files(entries, files))


def ahead_of_files(connection: Connection, heads: Collection[str]) -> tuple[list[str], str]:
    """What a newer release applied beyond all that this one has, and the newest of these.

    Nothing where the ledger is not there, does not know the way, or has something against a file.
    """
    if not heads or not inspect(connection).has_table(TABLE_NAME):
        return [], ""
    entries = read_entries(connection)
    files = {checksum(path.read_bytes()): path for path in revision_files()}
    changed = changed_files(entries, files)
    parents = parents_of(r for _, r in changed.values()) | parents_of(entries.values())
    own = {name for name, entry in entries.items() if entry.checksum in files} | changed.keys()
    latest = LATEST.read_text("utf-8").strip() if LATEST.exists() else ""
    ahead = revisions_ahead(heads, parents, own, latest)
    mine = newest(own, parents)
    # As if the database were at what this release has.
    found = compare(mine, entries, files.keys(), changed)
    if found.unknown or found.differences or found.rows or not entries.keys() >= set(ahead):
        return [], ""
    return ahead, ", ".join(mine)


def place_ahead() -> str:
    """Where the configured database is, if a newer release has upgraded it; else nothing."""
    with connect() as connection:
        heads = MigrationContext.configure(connection).get_current_heads()
        ahead, own = ahead_of_files(connection, heads)
    return describe_ahead(ahead, own) if ahead else ""


def changed_files(
    entries: Mapping[str, Entry], files: Mapping[str, Path]
) -> dict[str, tuple[str, Revision]]:
    """The revision files that the ledger does not know, with their checksums.

    Only these are parsed: a checksum covers the revision and what it follows, too.
    """
    known = {entry.checksum for entry in entries.values()}
    read = {value: read_revision(path) for value, path in files.items() if value not in known}
    return {revision.revision: (value, revision) for value, revision in read.items()}


def compare(
    heads: Iterable[str],
    entries: Mapping[str, Entry],
    checksums: Collection[str],
    changed: Mapping[str, tuple[str, Revision]],
) -> Comparison:
    """Holds the ledger against the files.

    Args:
        heads: What the database is at.
        entries: The ledger.
        checksums: The checksums of all files.
        changed: The files that the ledger does not know.
    """
    found = Comparison()
    revisions = {name: revision for name, (_, revision) in changed.items()}
    squashes = {old: new for new in revisions.values() for old in new.replaces}
    found.squashed = {old: new.revision for old, new in squashes.items()}
    parents = parents_of(revisions.values()) | parents_of(entries.values())
    applied = reachable(heads, parents)
    for name in applied:
        entry, squash = entries.get(name), squashes.get(name)
        if entry and entry.checksum in checksums:
            continue
        if squash and squash.revision not in applied:
            found.unknown.append(name)
        elif entry is None and name in changed:
            value, revision = changed[name]
            found.rows.append(ledger_row(name, "adopt", revision.parents, value))
        elif entry is None:
            if not squash:
                found.unknown.append(name)
        elif squash and entry.checksum in squash.replaces[name].split():
            if name == squash.revision and entry.action != "squash":
                note = f"squashed into {squash.path.name}"
                row = ledger_row(name, "squash", entry.parents, entry.checksum, note=note)
                found.rows.append(row)
        elif entry.checksum or name in changed:
            found.differences.append(Difference(entry, revisions.get(name), squash))
    return found


def parents_of(revisions: Iterable[Entry | Revision]) -> dict[str, tuple[str, ...]]:
    """What each revision follows."""
    return {revision.revision: revision.parents for revision in revisions}


def explain(differences: list[Difference], heads: Collection[str]) -> str:
    """What is not as it was applied, and the ways on."""
    count = f"{len(differences)} revision{'s are' if len(differences) > 1 else ' is'}"
    lines = [f"{count} not what this database applied."]
    for difference in differences:
        lines += _explain_one(difference, heads)
    start_over = in_development("A development database can also start over: just db-reset")
    return "\n".join([*lines, *filter(None, [start_over])])


def _explain_one(difference: Difference, heads: Collection[str]) -> list[str]:
    entry, file, squash = difference.entry, difference.file, difference.squashed_into
    at = f"{entry.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    when = f"{VERBS.get(entry.action, 'applied')} on {at}"
    revision = f"Revision {entry.revision}, {when},"
    way_back = _way_back(entry, file)
    if squash:
        way_back = "Compare the schemas: git has the files from before the squash."
        problem = f"is not what was squashed into {_shown(squash.path)}: the schemas may differ."
    elif file is None:
        problem = "has no file any more: it can't be rolled back, and other databases miss it."
    elif file.parents != entry.parents:
        old, new = (", ".join(parents) or "nothing" for parents in (entry.parents, file.parents))
        problem = (
            f"followed {old} then and follows {new} now ({_shown(file.path)}): "
            "databases may skip a revision."
        )
    else:
        problem = f"was edited ({_shown(file.path)}): other databases get another schema."
    accept = in_development(f"    Or accept it after review: just db-repair {entry.revision}")
    is_at_missing = file is None and not squash and entry.revision in heads
    ways = [f"    {way_back}", *([] if is_at_missing or not accept else [accept])]
    return [f"{revision} {problem}", *ways]


def _way_back(entry: Entry, file: Revision | None) -> str:
    """How to get the file as it was applied, if git has it."""
    names = [f"alembic/versions/*{entry.revision}*"]
    if file:
        names.append(str(file.path.relative_to(BACKEND_DIR)))
    with suppress(CommandError):
        prefix = git("rev-parse", "--show-prefix").strip()
        log = git(
            "-c",
            "core.quotePath=false",
            "log",
            "--all",
            "--relative",
            "--name-only",
            "--format=%x00%h",
            "--",
            *names,
        )
        for commit, *paths in (part.splitlines() for part in log.split("\0")[1:]):
            for path in filter(None, paths):
                with suppress(CommandError):
                    if checksum(os.fsencode(git("show", f"{commit}:./{path}"))) == entry.checksum:
                        shown = quote(f":/{prefix}{path}")  # from every folder
                        return f"Restore it: git restore --source={commit} -- {shown}"
        return "Restore it as it was; git has no commit with it."
    return "Restore it as it was when this database got it."


def _shown(path: Path) -> str:
    return str(path.relative_to(BACKEND_DIR.parent))
