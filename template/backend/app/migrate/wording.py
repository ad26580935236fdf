"""Names the changes of a revision, for people and for its file's name."""

import re

from alembic.operations import ops

from app.migrate.completion import leaves

# Alembic cuts what becomes part of a file name there.
MAX_MESSAGE_LENGTH = 40


def summarize(changes: list[str]) -> str:
    """A message that names the changes, or the first one and the number of the others."""
    message = " and ".join(changes)
    if len(message) <= MAX_MESSAGE_LENGTH or len(changes) == 1:
        return message
    return f"{changes[0]} and {len(changes) - 1} more"


def describe_changes(container: ops.OpContainer) -> list[str]:
    """One short phrase for each change, tables first.

    What comes with a new or dropped table, its indexes and enums, is part of that.
    """
    every = list(leaves(container))
    tables = [op for op in every if isinstance(op, ops.CreateTableOp | ops.DropTableOp)]
    names = {op.table_name for op in tables}
    others = [
        op
        for op in every
        if op not in tables
        and not isinstance(op, ops.ExecuteSQLOp)
        and getattr(op, "table_name", getattr(op, "source_table", None)) not in names
        and not (tables and type(op).__name__ in {"CreateEnumOp", "DropEnumOp"})
    ]
    return [describe_change(op) for op in [*tables, *others]]


def describe_change(op: ops.MigrateOperation) -> str:
    match op:
        case ops.CreateTableOp():
            return f"add table {op.table_name}"
        case ops.DropTableOp():
            return f"drop table {op.table_name}"
        case ops.AddColumnOp():
            return f"{op.table_name} add {op.column.name}"
        case ops.DropColumnOp():
            return f"{op.table_name} drop {op.column_name}"
        case ops.AlterColumnOp():
            return f"{op.table_name} alter {op.column_name}"
        case ops.CreateIndexOp():
            return f"{op.table_name} add index {op.index_name}"
        case ops.DropIndexOp():
            return f"{op.table_name} drop index {op.index_name}"
        case ops.CreateForeignKeyOp():
            return f"{op.source_table} add {op.constraint_name}"
        case ops.CreateUniqueConstraintOp() | ops.CreateCheckConstraintOp():
            return f"{op.table_name} add {op.constraint_name}"
        case ops.DropConstraintOp():
            return f"{op.table_name} drop {op.constraint_name}"
        case _:
            # Enums and comments, for example: AddEnumValuesOp becomes "add enum values state".
            words = re.sub(r"(?<!^)(?=[A-Z])", " ", type(op).__name__.removesuffix("Op")).lower()
            entity = getattr(op, "target", None)  # of alembic_utils
            target = (
                getattr(op, "table_name", None)
                or getattr(op, "name", None)
                or getattr(entity, "signature", "")
            )
            return f"{words} {target}".strip()
