"""What autogenerate writes: types that need no import, a name that tells what changed."""

import re
from collections.abc import Iterable
from typing import Any, Literal

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from sqlalchemy.types import TypeDecorator, TypeEngine

from app.migrate.completion import create_schemas, postpone_foreign_keys
from app.migrate.config import running_command

# Alembic cuts what becomes part of a file name there.
MAX_MESSAGE_LENGTH = 40


def render_item(type_: str, item: Any, context: AutogenContext) -> str | Literal[False]:
    """Renders SQLModel's types as the plain SQLAlchemy type below, and imports other types' modules.

    A hook of Alembic: False leaves the rendering to Alembic.
    """
    if type_ != "type" or not isinstance(item, TypeEngine):
        return False
    module = type(item).__module__
    if module.startswith("sqlmodel."):
        assert isinstance(item, TypeDecorator)
        return f"sa.{item.impl_instance!r}"
    if not module.startswith(("sqlalchemy.", "alembic_postgresql_enum")):
        context.imports.add(f"import {module}")
    return False


def finish_revision(
    context: MigrationContext,
    revision: str | Iterable[str | None] | Iterable[str],
    directives: list[ops.MigrationScript],
) -> None:
    """Writes no file when nothing changed; names the file after the changes when nobody did.

    A hook of Alembic (`process_revision_directives`), called by autogenerate.
    """
    script = directives[0]
    assert script.upgrade_ops is not None
    assert context.connection is not None
    changes = describe_changes(script.upgrade_ops)
    create_schemas(script, context.connection)
    assert script.downgrade_ops is not None
    postpone_foreign_keys(script.upgrade_ops, script.downgrade_ops)
    postpone_foreign_keys(script.downgrade_ops, script.upgrade_ops)
    if not changes and running_command(context.config) != "check":  # check wants its directive
        directives.clear()
    elif not script.message:
        script.message = summarize(changes)


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
    leaves = list(_leaves(container))
    tables = [op for op in leaves if isinstance(op, ops.CreateTableOp | ops.DropTableOp)]
    names = {op.table_name for op in tables}
    others = [
        op
        for op in leaves
        if op not in tables
        and getattr(op, "table_name", None) not in names
        and not (tables and type(op).__name__ in {"CreateEnumOp", "DropEnumOp"})
    ]
    return [_describe(op) for op in [*tables, *others]]


def _leaves(container: ops.OpContainer) -> Iterable[ops.MigrateOperation]:
    for op in container.ops:
        if isinstance(op, ops.OpContainer):
            yield from _leaves(op)
        else:
            yield op


def _describe(op: ops.MigrateOperation) -> str:
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
            target = getattr(op, "table_name", None) or getattr(op, "name", "")
            return f"{words} {target}".strip()
