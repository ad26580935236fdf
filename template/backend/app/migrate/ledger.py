"""The ledger: a table in the database that records what was applied to it, when and by whom.

Rows are only ever added. The newest row of a revision tells its state.
"""

import functools
import getpass
import os
import socket
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from alembic.runtime.environment import OnVersionApplyFn
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script
from alembic.util import CommandError, to_tuple
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Identity,
    MetaData,
    Table,
    Text,
    func,
    insert,
    select,
)
from sqlalchemy.schema import CreateTable

from app.core.files import BACKEND_DIR
from app.db.naming import NAMING_CONVENTION
from app.migrate.progress import Progress
from app.migrate.revision_file import checksum

TABLE_NAME = "migration_ledger"
VERSION_TABLE = "alembic_version"
# After these a revision is not applied.
UNDOING = {"downgrade", "unstamp"}

ledger = Table(
    TABLE_NAME,
    MetaData(naming_convention=NAMING_CONVENTION),
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("revision", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("parent", Text),  # several of a merge revision: "a, b"
    Column("checksum", Text),  # of the file; NULL when it is accepted that there is none
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("duration_ms", BigInteger),
    Column("app_version", Text),
    Column("role", Text, nullable=False, server_default=func.current_user()),
    Column("by", Text, nullable=False),
    Column("note", Text),
)
CREATE_LEDGER = CreateTable(ledger, if_not_exists=True)
# Inline: nobody asks for the new id.
INSERT = insert(ledger).inline()


@dataclass(frozen=True)
class Entry:
    """The newest row of a revision that is applied."""

    revision: str
    action: str
    parents: tuple[str, ...]
    checksum: str | None
    at: datetime


def read_entries(connection: Connection) -> dict[str, Entry]:
    """The applied revisions as the ledger has them."""
    columns = ledger.c
    newest_ids = select(func.max(columns.id)).group_by(columns.revision)
    newest = (
        select(columns.revision, columns.action, columns.parent, columns.checksum, columns.at)
        .where(columns.id.in_(newest_ids))
        .order_by(columns.revision)
    )
    return {
        row.revision: Entry(
            row.revision,
            row.action,
            tuple(row.parent.split(", ")) if row.parent else (),
            row.checksum,
            row.at,
        )
        for row in connection.execute(newest)
        if row.action not in UNDOING
    }


def ledger_row(
    revision: str, action: str, parents: Iterable[str], checksum: str | None, **more: Any
) -> dict[str, Any]:
    """A row to add; the database itself fills in the time and its role."""
    values = {
        "revision": revision,
        "action": action,
        "parent": ", ".join(parents) or None,
        "checksum": checksum,
        "duration_ms": None,
        "app_version": app_version(),
        "by": operator(),
        "note": None,
    }
    return values | more


def add_rows(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        connection.execute(INSERT, rows)


def recorder(progress: Progress) -> OnVersionApplyFn:
    """Records every step of Alembic in the transaction of that step.

    A hook of Alembic (`on_version_apply`). When SQL is printed, the rows are part of it.
    """

    def record(
        ctx: MigrationContext,
        step: MigrationInfo,
        heads: Collection[Any],
        run_args: Mapping[str, Any],
    ) -> None:
        if step.is_stamp:
            moved = _stamped(ctx, step, heads)
            action = "stamp" if step.is_upgrade else "unstamp"
        else:
            assert isinstance(step.up_revision, Script)
            moved = [step.up_revision]
            action = "upgrade" if step.is_upgrade else "downgrade"
        for script in moved:
            row = ledger_row(
                script.revision,
                action,
                to_tuple(script.down_revision, default=()),
                checksum(Path(script.path).read_bytes()),
                duration_ms=None if ctx.as_sql or step.is_stamp else progress.elapsed_ms(),
                note="from printed SQL" if ctx.as_sql else progress.notes.get(script.revision),
            )
            if ctx.as_sql:
                ctx.execute(insert(ledger).values(row).inline())
            else:
                assert ctx.connection is not None
                add_rows(ctx.connection, [row])

    return record


def refuse_other_version_table(context: MigrationContext) -> None:
    """Refuses another table for where the database is: the ledger and our commands read this one.

    Raises:
        CommandError: names both.
    """
    if (context.version_table, context.version_table_schema) != (VERSION_TABLE, None):
        raise CommandError(
            f"Nothing was run: where the database is has to be in the table {VERSION_TABLE} and in "
            "no other. Take version_table and version_table_schema out of backend/alembic/env.py. "
            f"If there is such a table: ALTER TABLE {context.version_table} RENAME TO "
            f"{VERSION_TABLE}"
        )


def _stamped(
    context: MigrationContext, step: MigrationInfo, heads: Collection[str]
) -> list[Script]:
    """The revisions that a stamp declares to be applied, or to be not applied any more."""
    scripts = context.script
    assert scripts is not None
    staying = set(step.down_revision_ids) if step.is_upgrade else set(heads)
    kept = {
        script.revision for name in staying for script in scripts.iterate_revisions(name, "base")
    }
    moved = {
        script.revision: script
        for name in step.up_revision_ids
        for script in scripts.iterate_revisions(name, "base")
        if script.revision not in kept
    }
    return list(reversed(moved.values()))


@functools.cache
def app_version() -> str | None:
    """APP_VERSION, as a deployment may set it, or else the version in pyproject.toml."""
    project = BACKEND_DIR / "pyproject.toml"
    named = os.environ.get("APP_VERSION")
    if named or not project.exists():
        return named
    return str(tomllib.loads(project.read_text("utf-8"))["project"]["version"])


@functools.cache
def operator() -> str:
    """Who runs this and where: user@host, with the number of a user that has no name."""
    user = str(os.getuid())
    with suppress(KeyError, OSError):
        user = getpass.getuser()
    return f"{user}@{socket.gethostname()}"
