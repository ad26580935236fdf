"""Ranges of a table's primary key, and the UPDATE of the rows in one.

The SQL that is handed in is as `sqlalchemy.text` takes it: colons before words are escaped.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from alembic.util import CommandError
from sqlalchemy import Connection, text

from app.migrate.drift import escaped

COLUMNS = """
    SELECT attname AS name, quote_ident(attname) AS quoted,
        format_type(atttypid, atttypmod) AS type, CAST(attrelid AS regclass) AS table,
        CAST(reltuples AS bigint) AS rows,
        array_position((indkey::int2[])[0:indnkeyatts - 1], attnum) AS place
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
    LEFT JOIN pg_index ON indrelid = attrelid AND indisprimary
    WHERE attrelid = to_regclass(concat_ws('.', quote_ident(:schema), quote_ident(:table)))
        AND attnum > 0 AND NOT attisdropped
    ORDER BY attnum
"""

# From PostgreSQL 18 on, RETURNING has both; before, rows that leave the range are found.
HAS_OLD_AND_NEW = 180000


@dataclass(frozen=True)
class KeyedTable:
    """A table with its primary key, quoted where need be, and the names and types of columns."""

    name: str
    key: tuple[str, ...]
    quoted: Mapping[str, str]
    types: Mapping[str, str]  # by quoted name
    estimated_rows: int | None


@dataclass(frozen=True)
class Range:
    """The rows after one key up to another one; None where it has no end.

    The values are the text of the key's columns, which every type can be made from again.
    """

    lower: Sequence[str] | None = None
    upper: Sequence[str] | None = None

    def condition(self, table: KeyedTable) -> str:
        # As a whole: of a composite key the index knows (a, b) > (1, 2), and not a > 1 OR ….
        key = ", ".join(f"{table.name}.{column}" for column in table.key)
        ends = {"lower": (">", self.lower), "upper": ("<=", self.upper)}
        return (
            " AND ".join(
                f"({key}) {operator} ({', '.join(_casts(table, end))})"
                for end, (operator, values) in ends.items()
                if values is not None
            )
            or "true"
        )

    def parameters(self) -> dict[str, str]:
        return {
            f"{end}_{number}": value
            for end, values in {"lower": self.lower, "upper": self.upper}.items()
            for number, value in enumerate(values or ())
        }


@dataclass(frozen=True)
class Limits:
    """How many rows a batch reads at most, and how many of them it changes at most."""

    rows: int
    matching: int


@dataclass(frozen=True)
class Page:
    """The range of a batch, how many rows are in it, and how many of them match."""

    range: Range
    rows: int
    matching: int


@dataclass(frozen=True)
class Changed:
    """How many rows a statement changed, and how many of these still match its condition."""

    rows: int
    still_matching: int


Change = Callable[[Connection, Range], Changed]


def read_table(connection: Connection, name: str, schema: str | None) -> KeyedTable:
    """Reads from the database what a table's columns and its primary key are.

    Raises:
        CommandError: there is no such table, or it has no primary key.
    """
    columns = connection.execute(text(COLUMNS), {"schema": schema, "table": name}).all()
    if not columns:
        raise CommandError(f"There is no table {name} to fill in.")
    quoted = {column.name: escaped(column.quoted) for column in columns}
    in_order = sorted((c for c in columns if c.place is not None), key=lambda c: c.place)
    if not in_order:
        raise CommandError(
            f"The table {name} has no primary key, along which a backfill goes from batch to "
            "batch. Give it one in an earlier revision. If it stays small, one statement does: "
            f'op.execute("UPDATE {name} SET …")'
        )
    return KeyedTable(
        escaped(columns[0].table),
        tuple(quoted[column.name] for column in in_order),
        quoted,
        {quoted[column.name]: escaped(column.type) for column in columns},
        columns[0].rows if columns[0].rows > 0 else None,  # -1: nobody counted yet
    )


def is_small(connection: Connection, table: KeyedTable, rows: int) -> bool:
    """Whether the table has no more rows than that; reads no more than that."""
    sql = f"SELECT count(*) FROM (SELECT FROM {table.name} LIMIT :enough) AS first"
    return bool(connection.scalar(text(sql), {"enough": rows + 1}) <= rows)


def next_page(
    connection: Connection,
    table: KeyedTable,
    where: str,
    lower: Sequence[str] | None,
    limits: Limits,
) -> Page | None:
    """The next rows in the order of the primary key; None after the last one."""
    after, keys = Range(lower), ", ".join(table.key)
    # Without the condition in its WHERE, the inner query reads along the key, whatever matches.
    # Qualified: the casts have the columns' names, and text has another order.
    sql = f"""
        SELECT _rows, _matching, {", ".join(f"CAST(page.{column} AS text)" for column in table.key)}
        FROM (
            SELECT *, count(*) OVER so_far AS _rows,
                count(*) FILTER (WHERE _matches) OVER so_far AS _matching
            FROM (
                SELECT {keys}, ({where}) IS TRUE AS _matches FROM {table.name}
                WHERE {after.condition(table)} ORDER BY {keys} LIMIT :rows
            ) AS read
            WINDOW so_far AS (ORDER BY {keys} ROWS UNBOUNDED PRECEDING)
        ) AS page
        WHERE _matching <= :matching ORDER BY _rows DESC LIMIT 1
    """
    most = {"rows": limits.rows, "matching": limits.matching}
    row = connection.execute(text(sql), {**after.parameters(), **most}).one_or_none()
    return Page(Range(lower, list(row[2:])), row[0], row[1]) if row else None


def change_by_sql(table: KeyedTable, assignments: str, where: str) -> Change:
    """Changes the matching rows of a range with one UPDATE."""

    def change(connection: Connection, rows: Range) -> Changed:
        # IS TRUE keeps the planner from reading all that matches by an index on a column in `where`.
        update = f"""
            UPDATE {table.name} SET {assignments}
            WHERE {rows.condition(table)} AND ({where}) IS TRUE
        """
        return execute_update(connection, table, update, where, rows)

    return change


def execute_update(
    connection: Connection,
    table: KeyedTable,
    update: str,
    where: str,
    rows: Range,
    /,
    **parameters: str,
) -> Changed:
    """Runs an UPDATE of the rows in a range and tells what it did.

    Raises:
        CommandError: it changes the primary key, along which a backfill goes: it might never end.
    """
    driver = connection.connection.driver_connection
    if driver is not None and driver.info.server_version >= HAS_OLD_AND_NEW:
        old, new = (
            ", ".join(f"{row}.{name}" for name in table.key) for row in ("_old", "_new_row")
        )
        returning = "RETURNING WITH (OLD AS _old, NEW AS _new_row)"
        moves = f"ROW({old}) IS DISTINCT FROM ROW({new})"
    else:
        returning, moves = "RETURNING", f"({rows.condition(table)}) IS NOT TRUE"
    sql = f"""
        WITH done AS ({update} {returning} ({where}) IS TRUE AS matches, {moves} AS moves)
        SELECT count(*), count(*) FILTER (WHERE matches), count(*) FILTER (WHERE moves) FROM done
    """
    values = {**rows.parameters(), **parameters}
    changed, still_matching, moved = connection.execute(text(sql), values).one()
    if moved:
        raise another_key(table)
    return Changed(changed, still_matching)


def another_key(table: KeyedTable) -> CommandError:
    """The refusal of a backfill that changes the primary key."""
    return CommandError(
        f"The backfill changes the primary key of {table.name} ({', '.join(table.key)}), along "
        "which it goes from batch to batch: it might change a row again and never end. The rows of "
        "this batch were left as they are. Give the new values to another column, or change the "
        f'key with one statement: op.execute("UPDATE {table.name} SET …")'
    )


def _casts(table: KeyedTable, end: str) -> list[str]:
    return [
        f"CAST(:{end}_{number} AS {table.types[column]})" for number, column in enumerate(table.key)
    ]
