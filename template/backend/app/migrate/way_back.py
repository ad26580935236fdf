"""What a downgrade has to refuse, because rows that came since, or were there, would lose values."""

from collections.abc import Iterator, Mapping

from alembic.operations import MigrateOperation

from app.migrate.calls import CallOp
from app.migrate.columns import Column, Key
from app.migrate.lossy import hurt_rows, keeps_values

# It may run on another version than the one that it is written with.
OLDEST = "15"


def refusals(before: Mapping[Key, Column], after: Mapping[Key, Column]) -> list[MigrateOperation]:
    """The calls that a downgrade begins with, from the columns before and after the upgrade."""
    return [*_of_types(before, after), *_of_dropped_columns(before, after)]


def _of_types(before: Mapping[Key, Column], after: Mapping[Key, Column]) -> Iterator[CallOp]:
    for key in sorted(before.keys() & after.keys()):
        old, new = before[key], after[key]
        # A value that an enum no longer has is refused by PostgreSQL.
        if keeps_values(new.type, old.type) or (old.type.labels and new.type.labels):
            continue
        condition = hurt_rows(new.label, new.type, old.type, OLDEST)
        reason = f"{new.name} becomes {old.type.shown} again"
        yield CallOp("refuse_rows", new.table, condition, reason, schema=_schema(new))


def _of_dropped_columns(
    before: Mapping[Key, Column], after: Mapping[Key, Column]
) -> Iterator[CallOp]:
    tables = {table for table, _ in after}
    for key in sorted(before.keys() - after.keys()):
        column = before[key]
        if key[0] in tables and column.needs_value:
            reason = f"{column.name} can't be NULL, and its values were dropped with it"
            yield CallOp("refuse_rows", column.table, "true", reason, schema=_schema(column))


def _schema(column: Column) -> str | None:
    return None if column.schema == "public" else column.schema
