"""Adds columns to tables in use without a value for each row, and gives these theirs afterwards."""

from collections.abc import Mapping

from alembic.operations import MigrateOperation, ops
from sqlalchemy import Column

from app.migrate.calls import CallOp, not_null
from app.migrate.compare import Comparison
from app.migrate.completion import substitute
from app.migrate.drift import COLUMN, Difference
from app.migrate.dump import Name
from app.migrate.fill_in import BackfillOp
from app.migrate.moves import needs_not_null
from app.migrate.steps import ORDER, Step, making_step
from app.migrate.touched import Key


def add_without_values(
    upgrade: ops.UpgradeOps,
    op: ops.AddColumnOp,
    comparison: Comparison,
    known: Mapping[Key, Name],
    rewrites: bool,
) -> list[Step]:
    """Has a column added without values; returns the steps that give the rows some.

    A column that needs none, or has one default for all rows, is left as it is.
    """
    table, label = op.table_name, str(op.column.name)
    name = known.get(("column", op.schema or "public", table, label))
    if name is None or Name("table", name.table, name.table) not in comparison.start:
        return []
    text = comparison.models.get(name, "")
    column = COLUMN.fullmatch(text)
    if column is None or column["generated"] or needs_not_null(name, comparison.models):
        return []
    default = column["default"] or column["sequence"]
    if not (rewrites if default else column["not_null"]):
        return []
    without = Column(label, op.column.type, comment=op.column.comment)
    added: list[MigrateOperation] = [ops.AddColumnOp(table, without, schema=op.schema)]
    fill: MigrateOperation
    if default:
        given = op.column.server_default
        added.append(ops.AlterColumnOp(table, label, modify_server_default=given, schema=op.schema))
        values, where = f"{name.name} = {default}", f"{name.name} IS NULL"
        fill = CallOp("backfill", table, values, where=where, schema=op.schema)
    else:
        missing = Difference(name, None, text)
        fill = BackfillOp(missing)
        comparison.left.append(missing)
    substitute(upgrade, op, *added)
    steps = [Step(f"{table} backfill {label}", [fill], [], ORDER.index("backfill"))]
    if column["not_null"]:
        steps.append(making_step(name, not_null(name)))
    return steps
