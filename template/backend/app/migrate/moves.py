"""Which indexes, constraints and NOT NULLs are made in revisions of their own, and by which calls."""

import re
from collections.abc import Iterable

from app.migrate.calls import CallOp, making
from app.migrate.compare import Comparison
from app.migrate.drift import COLUMN
from app.migrate.dump import IDENTIFIER, QUALIFIED, Name, Schema

MAX_NAME_BYTES = 63
Calls = dict[Name, CallOp]


def calls_for(names: Iterable[Name], comparison: Comparison) -> tuple[Calls, Calls]:
    """What makes them as they will be and, for the way back, as they were.

    Those that have no gentle form, or need none because their table is new or dropped, are left
    out.
    """
    start, models = comparison.start, comparison.models
    # A dropped table's foreign key needs what it refers to until then.
    needed = {
        target
        for name, text in start.items()
        if Name("table", name.table, name.table) not in models
        for target in _targets(text)
    }
    made: Calls = {}
    gone: Calls = {}
    for name in names:
        before, after = _definition(name, start), _definition(name, models)
        old, new = (making(name, text) if text else None for text in (before, after))
        if not _is_in_use(name, comparison) or (before and not old) or (after and not new):
            continue
        if name.kind == "column" and before and after:
            continue
        if old and old.is_unique and name.table in needed:
            continue
        if old:
            gone[name] = old
        if new:
            made[name] = new
    unique = {name.table for name, call in made.items() if call.is_unique}
    for name in names:
        # A new table's foreign key needs what it refers to.
        text = models.get(name, "")
        if (
            name not in made
            and unique.intersection(_targets(text))
            and (call := making(name, text))
        ):
            made[name] = call
    return made, gone


def kept_names(made: Calls, gone: Calls, comparison: Comparison) -> dict[Name, Name]:
    """The indexes that serve under another name until the new ones of their name are built."""
    start, models = comparison.start, comparison.models
    # A column that goes or changes takes the index along.
    altered = {n.table for n, text in start.items() if n.kind == "column" and models.get(n) != text}
    taken = {n.name for n in [*start, *models]}
    found = {}
    for name in made:
        old = re.sub(r'("?)$', r"_old\1", name.name, count=1)
        if (
            name in gone
            and made[name].builds_index
            and gone[name].builds_index
            and name.table not in altered
            and old not in taken
            and len(old.encode()) <= MAX_NAME_BYTES
        ):
            found[name] = Name(name.kind, name.table, old)
    return found


def needs_not_null(column: Name, schema: Schema) -> bool:
    """Whether a column's identity or its table's primary key can't be without NOT NULL."""
    primary = [
        text
        for name, text in schema.items()
        if name.table == column.table and text.startswith("PRIMARY KEY")
    ]
    return " AS IDENTITY" in schema[column] or any(
        column.name in re.findall(IDENTIFIER, key) for key in primary
    )


def _definition(name: Name, schema: Schema) -> str | None:
    """What there is to make; of a column that is its NOT NULL."""
    text = schema.get(name)
    column = COLUMN.fullmatch(text) if text and name.kind == "column" else None
    return text if name.kind != "column" or (column and column["not_null"]) else None


def _is_in_use(name: Name, comparison: Comparison) -> bool:
    """Whether something belongs to a table that was there before and stays."""
    table = Name("table", name.table, name.table)
    schemas = (comparison.start, comparison.models)
    if not all(table in schema and "PARTITION BY" not in schema[table] for schema in schemas):
        return False
    if name.kind != "column":
        return True
    # A primary key and an identity need NOT NULL in the same transaction.
    return all(name in schema and not needs_not_null(name, schema) for schema in schemas)


def _targets(definition: str) -> list[str]:
    """The table that a constraint refers to, if it does."""
    return re.findall(rf"^FOREIGN KEY .* REFERENCES ({QUALIFIED})\(", definition)
