"""Which revision the code was written for, and which ones the database has applied."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.files import BACKEND_DIR

# NULL where the role sees no such table.
ACCESS = text(
    "SELECT current_user, has_table_privilege(to_regclass('alembic_version'), 'SELECT'),"
    " has_table_privilege(to_regclass('migration_ledger'), 'SELECT')"
)
NEWEST_ROWS = text(
    "SELECT DISTINCT ON (revision) revision, parent FROM migration_ledger"
    " ORDER BY revision, id DESC"
)


@dataclass(frozen=True)
class Applied:
    """What the database says about itself."""

    role: str
    heads: list[str] = field(default_factory=list)
    # What each revision follows, newer ones than this code has included.
    parents: dict[str, list[str]] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)

    def up_to(self, revisions: Iterable[str]) -> list[str]:
        """These revisions and all that come before them, newest first."""
        found: dict[str, None] = {}
        waiting = list(revisions)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found[name] = None
                waiting.extend(self.parents.get(name, ()))
        return list(found)


@dataclass(frozen=True)
class Fit:
    """Whether code can work on a database, and why."""

    fits: bool
    why: str
    ahead: list[str] = field(default_factory=list)


def expected_revisions() -> list[str]:
    """The newest revision among the files in alembic/versions; several before a merge."""
    return sorted(ScriptDirectory(BACKEND_DIR / "alembic").get_heads())


async def read_applied(connection: AsyncConnection) -> Applied:
    """What the database is at, and what it knows of the way there."""
    # One snapshot: a migration may be going on.
    await connection.execution_options(isolation_level="REPEATABLE READ")
    role, version_is_readable, ledger_is_readable = (await connection.execute(ACCESS)).one()
    applied = Applied(role)
    if version_is_readable:
        heads = await connection.scalars(text("SELECT version_num FROM alembic_version"))
        applied.heads.extend(sorted(heads))
    elif version_is_readable is False:
        applied.unreadable.append("alembic_version")
    if ledger_is_readable:
        for revision, parent in await connection.execute(NEWEST_ROWS):
            applied.parents[revision] = parent.split(", ") if parent else []
    elif ledger_is_readable is False:
        applied.unreadable.append("migration_ledger")
    return applied


def judge(expected: list[str], applied: Applied) -> Fit:
    """Whether code that expects these revisions can work on the database.

    It can when they are applied, newer ones or not: releases are rolled out in steps, and the
    schema changes first.
    """
    if "alembic_version" in applied.unreadable:
        return Fit(False, _unreadable(applied))
    if applied.heads == expected:
        return Fit(True, "The database is at the revision that this code expects.")
    present = applied.up_to(applied.heads)
    missing = [name for name in expected if name not in present]
    if expected and not missing:
        known = applied.up_to(expected)
        ahead = [name for name in reversed(present) if name not in known]
        count = f"{len(ahead)} revision{'s' if len(ahead) > 1 else ''}"
        return Fit(True, f"The database is ahead of this code by {count}.", ahead)
    if not applied.heads:
        return Fit(
            False,
            f"The role {applied.role} finds no applied revision: apply the revisions. (If they "
            "are, it needs USAGE on the schema that alembic_version is in.)",
        )
    if applied.unreadable:
        return Fit(False, _unreadable(applied))
    at = ", ".join(applied.heads)
    if any(name in applied.parents for name in missing):
        return Fit(
            False,
            f"{', '.join(missing)}, which this code expects, was rolled back; the database is at "
            f"{at}. Apply the revisions, or run the release that belongs to {at}.",
        )
    return Fit(
        False,
        f"The database is at {at}, where {', '.join(missing) or 'nothing'}, which this code "
        "expects, is not applied: apply the revisions.",
    )


def _unreadable(applied: Applied) -> str:
    tables = ", ".join(applied.unreadable)
    return (
        f"The role {applied.role} may not read {tables}, so what is applied can't be told. "
        f"The owner gives the right: GRANT SELECT ON {tables} TO {applied.role}"
    )
