"""The revisions that autogenerate splits its work into, beside the one with all simple operations."""

from dataclasses import dataclass

from alembic.operations import MigrateOperation

from app.migrate.calls import CallOp, place, unmaking
from app.migrate.dump import Name, parts

# What another one may need is made before it, and goes after it.
ORDER = (
    "backfill",
    "set_not_null",
    "create_index_concurrently",
    "create_unique_constraint",
    "create_check_constraint",
    "create_foreign_key",
)


@dataclass(frozen=True)
class Step:
    """A revision to write."""

    message: str
    upgrade: list[MigrateOperation]
    downgrade: list[MigrateOperation]
    rank: int = 0


def making_step(name: Name, call: CallOp) -> Step:
    """The revision that makes something."""
    verb = "not null" if name.kind == "column" else "add"
    return Step(_message(name, verb), [call], [unmaking(name)], ORDER.index(call.function))


def dropping_step(name: Name, call: CallOp) -> Step:
    """The revision that takes something away.

    Args:
        call: What makes it again.
    """
    verb = "nullable" if name.kind == "column" else "drop"
    return Step(_message(name, verb), [unmaking(name)], [call], -ORDER.index(call.function))


def _message(name: Name, verb: str) -> str:
    _, table = place(name)
    label = parts(name.name)[-1]
    match name.kind:
        case "column":
            return f"{table} {label} {verb}"
        case "index":
            return f"{table} {verb} index {label}"
        case _:
            return f"{table} {verb} {label}"
