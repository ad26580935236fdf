"""Which operations of a revision have PostgreSQL write a whole table anew."""

from contextlib import suppress

from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, Operations, ops
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.exc import DBAPIError

from app.db.naming import REVISIONS_CONVENTION
from app.migrate.compare import Comparison
from app.migrate.completion import leaves
from app.migrate.connection import connect
from app.migrate.fill_in import FillInOp
from app.migrate.judge import run_as_written

# A table that is written anew has another file then.
FILES = text("SELECT oid, pg_relation_filenode(oid) FROM pg_class WHERE relkind = 'r'")


def rewriting_operations(
    script: ops.MigrationScript, context: MigrationContext, comparison: Comparison
) -> list[MigrateOperation]:
    """Asks PostgreSQL, in a transaction on the copy of the shadow database that is rolled back."""
    assert script.upgrade_ops is not None
    options = {"target_metadata": MetaData(naming_convention=REVISIONS_CONVENTION)}
    found = []
    with connect(comparison.work) as connection:
        operations = Operations(MigrationContext.configure(connection, opts=options))
        before = _files(connection)
        for op in list(leaves(script.upgrade_ops)):
            if op in comparison.upgrade_first or isinstance(op, FillInOp):
                continue
            with suppress(DBAPIError), connection.begin_nested():
                run_as_written(AutogenContext(context), operations, op)
            after = _files(connection)
            if any(after.get(table, file) != file for table, file in before.items()):
                found.append(op)
            before = after
        connection.rollback()
    return found


def _files(connection: Connection) -> dict[int, int]:
    return {row.oid: row.pg_relation_filenode for row in connection.execute(FILES)}
