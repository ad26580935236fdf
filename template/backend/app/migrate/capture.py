"""The SQL that revisions really execute, taken down while Alembic runs them."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from alembic.runtime.migration import RevisionStep
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine, event

from app.migrate.columns import Column, Key, Retyped, read_columns
from app.migrate.connection import driver_connection
from app.migrate.lossy import using

ALEMBIC = logging.getLogger("alembic.runtime.migration")
# Alembic's own bookkeeping: what a revision does is done before.
BOOKKEEPING = re.compile(r"\s*(INSERT INTO|UPDATE|DELETE FROM) alembic_version\b")
# Reads of the catalogs, and timeouts while an index is built.
NO_CHANGE = re.compile(
    r"\s*((SELECT|WITH)\b.*\bFROM\s+(pg_catalog\.|information_schema\.|pg_)|SELECT\s+pg_\w+\(|SHOW\b"
    r"|(SET|RESET) (lock|statement)_timeout\b)",
    re.IGNORECASE | re.DOTALL,
)
MAX_LENGTH = 2_000  # of a shown statement
RELATIONS = """
    SELECT oid, oid::regclass::text AS name, relfilenode AS file, indrelid::regclass::text AS index_of
    FROM pg_class LEFT JOIN pg_index ON indexrelid = oid
    WHERE relkind IN ('r', 'p', 'i')
    AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace)
"""
CHECKED = """
    SELECT conrelid::regclass::text, attname FROM pg_constraint
    JOIN pg_attribute ON attrelid = conrelid AND conkey = ARRAY[attnum]
    WHERE contype = 'c' AND convalidated
    AND pg_get_constraintdef(pg_constraint.oid) ~ '^CHECK \\(\\(.* IS NOT NULL\\)\\)$'
"""


@dataclass(frozen=True)
class Statement:
    """One statement with its values, and what the database says it did."""

    sql: str
    # Which transaction of the run it was in; None outside of one.
    transaction: int | None
    # The tables from before the revision that it rewrote.
    rewritten: frozenset[str]
    # Tables and their columns that a valid CHECK proved to have no NULL before it ran.
    never_null: frozenset[tuple[str, str]]
    # The columns from before the revision whose values it may have changed with their type.
    retyped: tuple[Retyped, ...] = ()


@dataclass
class Captured:
    """What one revision executed."""

    revision: str
    server_version: str = ""
    statements: list[Statement] = field(default_factory=list)
    # The tables that it created: nothing uses them, and they are empty.
    created: set[str] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)
    # The tables of the indexes that it dropped.
    index_of: dict[str, str] = field(default_factory=dict)

    def as_sql(self) -> str:
        """What it executed, to be read by people."""
        lines = [line for line, _ in self.lines()]
        return "\n".join(
            line if len(line) < MAX_LENGTH else f"{line[:MAX_LENGTH]} … ({len(line)} characters)"
            for line in lines
        )

    def lines(self) -> Iterator[tuple[str, Statement | None]]:
        """Each statement as text; None where it is not the revision's, but a border."""
        inside = None
        for statement in self.statements:
            if statement.transaction != inside:
                if inside is not None:
                    yield "COMMIT;", None
                if statement.transaction is not None:
                    yield "BEGIN;", None
                inside = statement.transaction
            yield f"{statement.sql.strip().rstrip(';')};", statement
        if inside is not None:
            yield "COMMIT;", None


@dataclass(frozen=True)
class _Relation:
    name: str
    # A table that has another one after a statement was rewritten, whatever the statement says.
    file: int
    index_of: str | None


def plain_name(name: str) -> str:
    """A name in SQL without quotes and the default schema."""
    return name.replace('"', "").removeprefix("public.")


class _Recorder(logging.Handler):
    """Learns from Alembic's log which revision runs, and from SQLAlchemy's events what."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.found: dict[str, Captured] = {}
        self._current: Captured | None = None
        self._transactions = 0
        self._before: dict[int, _Relation] | None = None
        self._existing: set[int] = set()
        self._never_null: frozenset[tuple[str, str]] = frozenset()
        self._first_columns: dict[Key, Column] = {}
        self._columns: dict[Key, Column] = {}

    def emit(self, record: logging.LogRecord) -> None:
        step = record.args[0] if isinstance(record.args, tuple) and record.args else None
        if isinstance(step, RevisionStep) and step.is_upgrade:
            name = step.revision.revision
            # A retry begins anew.
            self._current = self.found[name] = Captured(name)
            self._before = None

    def before(self, connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        if self._current is not None and BOOKKEEPING.match(statement):
            self._current = None
        if self._current is None:
            return
        driver = driver_connection(connection)
        if driver.info.transaction_status == TransactionStatus.INERROR:
            return  # only the way back to a savepoint is left, and no question is answered
        if self._before is None:
            version = driver.info.server_version
            self._current.server_version = f"{version // 10000}.{version % 10000}"
            self._before = _relations(driver)
            self._existing = set(self._before)
            self._first_columns = self._columns = read_columns(driver)
        self._never_null = frozenset(
            (plain_name(table), plain_name(column))
            for table, column in driver.cursor().execute(CHECKED)
        )

    def after(
        self, connection: Connection, cursor: Any, statement: str, parameters: Any, *_: Any
    ) -> None:
        if self._current is None or self._before is None or NO_CHANGE.match(statement):
            return
        driver = driver_connection(connection)
        before, after = self._before, _relations(driver)
        current = self._current
        new = [after[oid] for oid in after.keys() - self._existing]
        gone = [before[oid] for oid in before.keys() - after.keys()]
        current.created |= {relation.name for relation in new if relation.index_of is None}
        current.dropped |= {relation.name for relation in gone if relation.index_of is None}
        current.dropped -= {relation.name for relation in after.values()}  # not after a savepoint
        current.index_of |= {r.name: r.index_of for r in gone if r.index_of is not None}
        rewritten = {
            relation.name
            for oid, relation in after.items()
            if oid in self._existing and relation.index_of is None
            if oid in before and before[oid].file != relation.file
            if not statement.startswith("ROLLBACK")
        }
        self._before = after
        columns = read_columns(driver)
        retyped = tuple(_retyped(statement, self._first_columns, self._columns, columns))
        self._columns = columns
        current.statements.append(
            Statement(
                _with_values(driver, statement, parameters),
                None if driver.autocommit else self._transactions,
                frozenset(rewritten),
                self._never_null,
                retyped if not statement.startswith("ROLLBACK") else (),
            )
        )

    def end_transaction(self, connection: Connection) -> None:
        self._transactions += 1


@contextmanager
def captured_sql() -> Iterator[dict[str, Captured]]:
    """What the revisions that are applied in the block execute, by revision.

    On connections of SQLAlchemy; not what a revision does behind its back, such as COPY.
    """
    recorder = _Recorder()
    listeners: dict[str, Callable[..., None]] = {
        "before_cursor_execute": recorder.before,
        "after_cursor_execute": recorder.after,
        "commit": recorder.end_transaction,
        "rollback": recorder.end_transaction,
    }
    for name, listener in listeners.items():
        event.listen(Engine, name, listener)
    ALEMBIC.addHandler(recorder)
    ALEMBIC.setLevel(logging.INFO)
    try:
        yield recorder.found
    finally:
        ALEMBIC.removeHandler(recorder)
        for name, listener in listeners.items():
            event.remove(Engine, name, listener)


def _retyped(
    statement: str, first: dict[Key, Column], before: dict[Key, Column], after: dict[Key, Column]
) -> Iterator[Retyped]:
    for key in first.keys() & before.keys() & after.keys():
        old, new = before[key], after[key]
        # One statement may rename a column, too.
        expression = using(statement, old.name) if old.table in statement else ""
        if old.stored_as != new.stored_as or expression:
            yield Retyped(first[key], old.type, new.type, expression)


def _relations(driver: psycopg.Connection[Any]) -> dict[int, _Relation]:
    rows = driver.cursor().execute(RELATIONS)
    return {
        oid: _Relation(plain_name(name), file, table and plain_name(table))
        for oid, name, file, table in rows
    }


def _with_values(driver: psycopg.Connection[Any], statement: str, parameters: Any) -> str:
    """The statement as it could be typed; of one that runs for many sets of values, the first."""
    first, *others = parameters if isinstance(parameters, list) else [parameters]
    try:
        sql = psycopg.ClientCursor(driver).mogrify(statement, first)
    except psycopg.Error:  # a value without a way to write it
        sql = statement
    return f"-- and the same with {len(others)} other sets of values\n{sql}" if others else sql
