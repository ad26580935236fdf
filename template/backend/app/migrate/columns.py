"""The columns of a database's tables, their types and what these are made of."""

from dataclasses import dataclass
from typing import Any

from psycopg import Connection

# Not generated ones: their values are computed anew.
COLUMNS = """
    WITH RECURSIVE domains (oid, base, modifier) AS (
        SELECT oid, typbasetype, typtypmod FROM pg_type WHERE typtype = 'd'
        UNION ALL
        SELECT domains.oid, typbasetype, greatest(modifier, typtypmod)
        FROM domains JOIN pg_type ON pg_type.oid = base WHERE typtype = 'd'
    ), bases AS (
        SELECT domains.* FROM domains JOIN pg_type ON pg_type.oid = base WHERE typtype <> 'd'
    )
    SELECT attrelid, attnum, nspname, relname, attname, attrelid::regclass::text,
        quote_ident(attname), atttypid, atttypmod,
        format_type(atttypid, atttypmod), format_type(pg_type.oid, coalesce(modifier, atttypmod)),
        ARRAY(
            SELECT enumlabel FROM pg_enum WHERE enumtypid IN (pg_type.oid, typelem)
            ORDER BY enumsortorder
        )
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
    LEFT JOIN bases ON bases.oid = atttypid
    JOIN pg_type ON pg_type.oid = coalesce(base, atttypid)
    WHERE relkind IN ('r', 'p') AND NOT relispartition AND attnum > 0 AND NOT attisdropped
    AND attgenerated = '' AND nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
"""
Key = tuple[int, int]  # the table's oid and the column's number


@dataclass(frozen=True)
class ColumnType:
    """A type, by what it is made of: a domain is what it is a domain of."""

    shown: str
    base: str
    labels: tuple[str, ...] = ()  # of an enum, or of one in an array


@dataclass(frozen=True)
class Column:
    """A column as it is at some time."""

    schema: str
    table: str
    name: str
    place: str  # the table, as SQL has it
    label: str  # the column, as SQL has it
    stored_as: tuple[int, int]  # another one after each change of its type
    type: ColumnType


@dataclass(frozen=True)
class Retyped:
    """A column that got another type, or other values of the same one.

    The column is told as it was before the revision, when somebody can still look at its rows.
    """

    before: Column
    old: ColumnType
    new: ColumnType
    using: str = ""  # the expression for the new values, as far as the statement tells


def read_columns(connection: Connection[Any]) -> dict[Key, Column]:
    """The columns of all tables."""
    found = {}
    for row in connection.cursor().execute(COLUMNS):
        key, (schema, table, name, place, label) = row[:2], row[2:7]
        kind = ColumnType(row[9], row[10], tuple(row[11]))
        found[key] = Column(schema, table, name, place, label, row[7:9], kind)
    return found
