"""Refuses revisions that lose tables, columns or all rows of a table, unless the database is named.

On a development database nothing is refused. What is lost is told by the catalog, inside the
transaction and before it is committed, so hand-written SQL counts like any other. What existed
before the command counts, and only where there were rows. A DELETE of some rows is the revision's
own business.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from shlex import quote
from typing import Any

import psycopg
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection, event

from app.core.config import Settings
from app.migrate.config import running_command
from app.migrate.connection import driver_connection
from app.migrate.databases import connect_to_server
from app.migrate.development import describe, is_development, is_named
from app.migrate.dump import OWN_TABLES

TABLES = """
    SELECT c.oid, nspname, relname, relfilenode,
        ARRAY(SELECT attnum FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0
            AND NOT attisdropped AND attgenerated = '' ORDER BY attnum),
        ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0
            AND NOT attisdropped AND attgenerated = '' ORDER BY attnum)
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relkind IN ('r', 'p') AND relpersistence <> 't'
        AND nspname NOT IN ('pg_catalog', 'information_schema') AND NOT relname = ANY(%s)
    ORDER BY nspname, relname
"""
DROPPED = """
    SELECT before.oid FROM unnest(%s::oid[]) AS before (oid)
    WHERE NOT EXISTS (SELECT FROM pg_class WHERE pg_class.oid = before.oid)
"""
DROPPED_COLUMNS = """
    SELECT attrelid, attnum FROM unnest(%s::oid[], %s::int2[]) AS before (oid, number)
    JOIN pg_attribute ON attrelid = before.oid AND attnum = number WHERE attisdropped
"""
# TRUNCATE gives a table another file, and so does what rewrites it.
PERHAPS_EMPTIED = """
    SELECT before.oid FROM unnest(%s::oid[], %s::oid[]) AS before (oid, file)
    JOIN pg_class ON pg_class.oid = before.oid
    WHERE relfilenode <> file OR pg_stat_get_xact_tuples_deleted(before.oid) > 0
"""
# Nothing waits for long to see whether a table has rows: one that can't be read has some.
LOOK = "-c lock_timeout=100ms -c statement_timeout=2s -c row_security=off"
LOSING = re.compile(r"\b(drop|truncate|delete|do|call)\b", re.IGNORECASE)
COMMIT = re.compile(r"\s*(commit|end)\b", re.IGNORECASE)
# Several statements in one; not a procedure's body.
COMMIT_AFTER = re.compile(r"\A(?!\s*create\b).*;\s*commit\b", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Table:
    """A table that has rows."""

    oid: int
    schema: str
    name: str
    file: int
    columns: dict[int, str]

    def __str__(self) -> str:
        return self.name if self.schema == "public" else f"{self.schema}.{self.name}"


class Guard:
    """Keeps a connection from committing the loss of what a database had."""

    def __init__(self, context: Any, settings: Settings, tables: list[Table]) -> None:
        self.context = context
        self.settings = settings
        self.tables = {table.oid: table for table in tables}

    def check(self, connection: Connection) -> None:
        """Refuses what the running transaction would lose: a hook of SQLAlchemy before commits.

        Raises:
            CommandError: says what, and how to go on.
        """
        driver = driver_connection(connection)
        if driver.autocommit:
            return
        if found := self.losses(driver):
            # SQLAlchemy takes what fails to commit for ended, and would commit it with the next.
            driver.rollback()
            self._refuse(found)

    def check_statement(
        self,
        connection: Connection,
        cursor: Any,
        statement: str,
        parameters: Any,
        context: Any,
        executemany: bool,
    ) -> None:
        """The same for a statement that commits itself: a hook of SQLAlchemy before statements.

        It is tried in a transaction first. One that can't run in any loses no rows.
        """
        driver = driver_connection(connection)
        if not driver.autocommit:
            if COMMIT.match(statement):
                self.check(connection)
            elif LOSING.search(statement) and COMMIT_AFTER.search(statement):
                driver.rollback()
                self._refuse(["perhaps, as one statement changes something and commits it"])
            return
        if not LOSING.search(statement):
            return
        found: list[str] = []
        try:
            with driver.transaction(), driver.cursor() as trial:
                if executemany:
                    trial.executemany(statement, parameters)
                else:
                    trial.execute(statement, parameters or None)
                found = self.losses(driver)
                raise psycopg.Rollback
        except psycopg.Error:
            return  # it will fail in the same way
        self._refuse(found)

    def losses(self, driver: psycopg.Connection[Any]) -> list[str]:
        """What is gone in the connection's transaction."""
        tables = self.tables
        columns = [(table.oid, number) for table in tables.values() for number in table.columns]
        files = [table.file for table in tables.values()]
        with driver.cursor() as cursor:
            cursor.execute(DROPPED, [list(tables)])
            found = [f"table {tables[oid]}: dropped" for (oid,) in cursor.fetchall()]
            cursor.execute(DROPPED_COLUMNS, [[oid for oid, _ in columns], [n for _, n in columns]])
            for oid, number in cursor.fetchall():
                found.append(f"column {tables[oid]}.{tables[oid].columns[number]}: dropped")
            cursor.execute(PERHAPS_EMPTIED, [list(tables), files])
            for (oid,) in cursor.fetchall():
                cursor.execute("SELECT oid::regclass::text FROM pg_class WHERE oid = %s", [oid])
                ((name,),) = cursor.fetchall()
                if not _has_rows(driver, SQL(name)):
                    found.append(f"table {tables[oid]}: emptied")
        return found

    def _refuse(self, found: list[str]) -> None:
        if not found:
            return
        command = running_command(self.context.config)
        raise _refusal(
            self.context,
            self.settings,
            f"the {command} would lose rows there:",
            *(f"    {loss}" for loss in found),
            "Its transaction was rolled back, the revisions before it stay.",
        )


@contextmanager
def nothing_lost(context: Any, connection: Connection, settings: Settings) -> Iterator[None]:
    """Refuses what loses rows in the block, unless it may: see the module.

    Args:
        context: Alembic's `context` while env.py runs.

    Raises:
        CommandError: something would be lost, or going to base would lose everything.
    """
    attributes = context.config.attributes
    driver = driver_connection(connection)
    allowed = (
        "settings" in attributes  # a database of the caller's own making
        or running_command(context.config) not in {"downgrade", "upgrade"}
        or is_named(settings, _given_name(context))
        or is_development(settings, driver)
    )
    driver.rollback()
    if allowed:
        yield
        return
    if _goes_to_base(context, connection):
        raise _refusal(context, settings, "at base none of its tables is left.", "Nothing was run.")
    tables = _tables_with_rows(settings)
    if not tables:
        yield
        return
    guard = Guard(context, settings, tables)
    attributes["guard"] = guard
    event.listen(connection, "commit", guard.check)
    event.listen(connection, "before_cursor_execute", guard.check_statement)
    try:
        yield
    finally:
        event.remove(connection, "commit", guard.check)
        event.remove(connection, "before_cursor_execute", guard.check_statement)
        del attributes["guard"]


def refuse_losses(ctx: MigrationContext, **_: object) -> None:
    """Looks at a revision before it is said to be done: a hook of Alembic (`on_version_apply`)."""
    guard = ctx.config.attributes.get("guard") if ctx.config else None
    if guard and ctx.connection is not None and not ctx.as_sql:
        guard.check(ctx.connection)


def _goes_to_base(context: Any, connection: Connection) -> bool:
    if running_command(context.config) != "downgrade" or context.get_revision_argument():
        return False
    is_there = bool(MigrationContext.configure(connection).get_current_heads())
    connection.rollback()
    return is_there


def _given_name(context: Any) -> str:
    """The database's name as a flag: ours, or Alembic's `-x database=NAME`."""
    given = getattr(context.config.cmd_opts, "x", None) or []
    pairs = dict(str(value).partition("=")[::2] for value in given)
    return str(context.config.attributes.get("database") or pairs.get("database", ""))


def _refusal(context: Any, settings: Settings, *lines: str) -> CommandError:
    context.config.attributes["would_lose"] = True
    command, name = running_command(context.config), settings.postgres_db
    target = str(context.get_revision_argument() or "base")
    options = f"--database {quote(name)}"
    if target not in {"-1", *context.script.get_heads()}:
        options = f"{target} {options}"
    first, *others = lines
    return CommandError(
        "\n".join(
            [
                f"{describe(settings)}, and {first}",
                *others,
                "To go on, name the database (with plain alembic: -x database=NAME):",
                f"    just db-{command} {options}",
            ]
        )
    )


def _tables_with_rows(settings: Settings) -> list[Table]:
    # On a connection of its own: locks of tables that a migration has nothing to do with are gone
    # at once.
    with connect_to_server(settings, settings.postgres_db, options=LOOK) as connection:
        rows = connection.execute(TABLES, [list(OWN_TABLES)]).fetchall()
        return [
            Table(oid, schema, name, file, dict(zip(numbers, columns, strict=True)))
            for oid, schema, name, file, numbers, columns in rows
            if _has_rows(connection, Identifier(schema, name))
        ]


def _has_rows(connection: psycopg.Connection[Any], table: SQL | Identifier) -> bool:
    try:
        with connection.transaction():
            query = SQL("SELECT FROM {} LIMIT 1").format(table)
            return connection.execute(query).fetchone() is not None
    except psycopg.Error:
        return True
