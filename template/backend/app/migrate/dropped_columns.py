"""The way back from a dropped column that was NOT NULL: the rows that are there have no value."""

from collections.abc import Iterable

from alembic.operations import ops

from app.migrate.calls import CallOp, imports
from app.migrate.completion import leaves, substitute


def add_back_for_rows(directives: Iterable[ops.MigrationScript]) -> None:
    """Has downgrades add such columns so that it works on tables with rows, too."""
    for script in directives:
        assert script.upgrade_ops is not None
        assert script.downgrade_ops is not None
        operations = list(leaves(script.downgrade_ops))
        made = {(o.schema, o.table_name) for o in operations if isinstance(o, ops.CreateTableOp)}
        for op in operations:
            if (
                isinstance(op, ops.AddColumnOp)
                and (op.schema, op.table_name) not in made
                and not op.column.nullable
                and not (op.column.server_default or op.column.computed or op.column.identity)
            ):
                op.column.nullable = True
                call = CallOp(
                    "set_not_null_if_filled", op.table_name, str(op.column.name), schema=op.schema
                )
                substitute(script.downgrade_ops, op, op, call)
                script.imports = imports(
                    [*leaves(script.upgrade_ops), *leaves(script.downgrade_ops)]
                )
