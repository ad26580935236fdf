"""What a downgrade has to refuse, because rows that came since, or were there, would lose values."""

from collections.abc import Iterator, Mapping

from app.migrate.calls import CallOp
from app.migrate.columns import Column, Key
from app.migrate.lossy import hurt_rows, keeps_values

# It may run on another version than the one that it is written with.
OLDEST = "15"


def refusals(before: Mapping[Key, Column], after: Mapping[Key, Column]) -> Iterator[CallOp]:
    """The calls that a downgrade begins with, from the columns before and after the upgrade."""
    for key in sorted(before.keys() & after.keys()):
        old, new = before[key], after[key]
        # A value that an enum no longer has is refused by PostgreSQL.
        if keeps_values(new.type, old.type) or (old.type.labels and new.type.labels):
            continue
        condition = hurt_rows(new.label, new.type, old.type, OLDEST)
        reason = f"{new.name} becomes {old.type.shown} again"
        yield CallOp("refuse_rows", new.table, condition, reason, schema=_schema(new))


def _schema(column: Column) -> str | None:
    return None if column.schema == "public" else column.schema
