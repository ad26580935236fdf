"""What a revision says above an operation that running code or large tables don't bear."""

from alembic.operations import MigrateOperation, ops

from app.migrate.calls import CommentOp


def guide(op: MigrateOperation, rewrites: bool) -> CommentOp | None:
    """The steps that do the same without an outage, with the names of the operation.

    Args:
        rewrites: Whether PostgreSQL writes a whole table anew.
    """
    match op:
        case ops.RenameTableOp():
            return CommentOp(
                f"Code that uses {op.table_name} fails from here until it is replaced. Without an "
                "outage a view bears the old name meanwhile: "
                f"CREATE VIEW {op.table_name} AS TABLE {op.new_table_name}"
            )
        case ops.AlterColumnOp() if op.modify_name is not None:
            table, old, new = op.table_name, op.column_name, op.modify_name
            return CommentOp(
                f"Code that uses {table}.{old} fails from here until it is replaced. Without an "
                f'outage: add {new}, write both, backfill("{table}", "{new} = {old}"), '
                f"read {new} only, then drop {old}."
            )
        case ops.DropColumnOp():
            return CommentOp(_of_gone_code(f"{op.table_name}.{op.column_name}"))
        case ops.DropTableOp():
            return CommentOp(_of_gone_code(op.table_name))
        case ops.AlterColumnOp() if rewrites:
            table, old, new = op.table_name, op.column_name, f"new_{op.column_name}"
            return CommentOp(
                f"Nobody reads or writes {table} while PostgreSQL writes all of it anew. If it is "
                f"large: add {new} with the new type, write both, "
                f'backfill("{table}", "{new} = {old}"), read {new} only, then drop {old}.'
            )
        case _ if rewrites:
            return CommentOp(
                "Nobody reads or writes the table while PostgreSQL writes all of it anew."
            )
    return None


def _of_gone_code(name: str) -> str:
    return f"Code that uses {name} fails from here: first deploy the code that does without."
