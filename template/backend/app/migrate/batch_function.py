"""A Python function that computes the new values of a batch's rows."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from alembic.util import CommandError
from sqlalchemy import Connection, Row, text

from app.migrate.keyset import Change, Changed, KeyedTable, Range, another_key, execute_update

# Gets the rows of a batch, and returns new values of columns by primary key.
BatchFunction = Callable[[Sequence[Row[Any]]], Mapping[Any, Mapping[str, Any]]]


def change_by_function(
    table: KeyedTable, function: BatchFunction, columns: Sequence[str], where: str
) -> Change:
    """Locks the matching rows of a range, calls the function and writes back what it returns.

    Args:
        columns: What to read beside the primary key; all columns if empty.
    """
    _refuse_unknown(table, columns)

    def change(connection: Connection, rows: Range) -> Changed:
        others = [table.quoted[column] for column in columns or table.quoted]
        read = [*table.key, *(column for column in others if column not in table.key)]
        select = f"""
            SELECT {", ".join(read)} FROM {table.name}
            WHERE {rows.condition(table)} AND ({where}) IS TRUE
            ORDER BY {", ".join(table.key)} FOR NO KEY UPDATE
        """
        batch = connection.execute(text(select), rows.parameters()).all()
        found = function(batch) if batch else {}
        if not found:
            return Changed(0, 0)
        width = len(table.key)
        keys = {row[0] if width == 1 else tuple(row[:width]) for row in batch}
        names = list(next(iter(found.values())))
        if found.keys() - keys:
            raise CommandError(f"{_name(function)} returned a key that its rows do not have.")
        for other in found.values():
            if list(other) != names:
                raise CommandError(
                    f"{_name(function)} returned {', '.join(names)} for one row and "
                    f"{', '.join(other)} for another: each needs the same columns."
                )
        _refuse_unknown(table, names)
        if {table.quoted[name] for name in names} & set(table.key):
            raise another_key(table)
        return _write(connection, table, names, found, where, rows)

    return change


def _write(
    connection: Connection,
    table: KeyedTable,
    names: Sequence[str],
    found: Mapping[Any, Mapping[str, Any]],
    where: str,
    rows: Range,
) -> Changed:
    # JSON has a form for the values of all types, arrays and JSON among them.
    targets = [table.quoted[name] for name in names]
    given = [*table.key, *targets]
    definitions = ", ".join(f"_{n} {table.types[column]}" for n, column in enumerate(given))
    assignments = ", ".join(
        f"{target} = _new._{n}" for n, target in enumerate(targets, len(table.key))
    )
    same = " AND ".join(f"{table.name}.{column} = _new._{n}" for n, column in enumerate(table.key))
    values = [
        {f"_{n}": value for n, value in enumerate([*_parts(table, key), *row.values()])}
        for key, row in found.items()
    ]
    update = f"""
        UPDATE {table.name} SET {assignments}
        FROM json_to_recordset(CAST(:rows AS json)) AS _new({definitions}) WHERE {same}
    """
    encoded = json.dumps(values, default=_as_text, allow_nan=False)
    return execute_update(connection, table, update, where, rows, rows=encoded)


def _refuse_unknown(table: KeyedTable, columns: Sequence[str]) -> None:
    unknown = [column for column in columns if column not in table.quoted]
    if unknown:
        raise CommandError(f"The table {table.name} has no column {', '.join(unknown)}.")


def _parts(table: KeyedTable, key: Any) -> Sequence[Any]:
    return [key] if len(table.key) == 1 else key


def _as_text(value: Any) -> str:
    return rf"\x{value.hex()}" if isinstance(value, bytes) else str(value)


def _name(function: BatchFunction) -> str:
    return f"{getattr(function, '__name__', 'the function')}()"
