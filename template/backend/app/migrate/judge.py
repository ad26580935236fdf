"""Completes what autogenerate writes, until pg_dump finds no difference.

What autogenerate misses is added as SQL, or marked as a place to fill in. Nothing is lost without a
word.
"""

import sqlalchemy
from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import render_op
from alembic.operations import Operations, ops
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from psycopg.errors import DatatypeMismatch
from sqlalchemy import MetaData
from sqlalchemy.exc import DBAPIError

from app.db.naming import REVISIONS_CONVENTION
from app.migrate import drift
from app.migrate.columns import read_columns
from app.migrate.compare import Comparison
from app.migrate.completion import (
    leaves,
    remove_alterations,
    remove_ours,
    remove_unneeded,
    substitute,
)
from app.migrate.connection import connect, driver_connection
from app.migrate.drift import Difference, as_operation
from app.migrate.dump import Schema, parts, read_schema
from app.migrate.errors import describe_error
from app.migrate.fill_in import FillInOp
from app.migrate.way_back import refusals
from app.migrate.wording import describe_change, describe_changes

# A statement may undo what an earlier one did: a dropped column takes its indexes along.
MAX_ROUNDS = 4


def complete(
    script: ops.MigrationScript, context: MigrationContext, comparison: Comparison
) -> None:
    """Adds to autogenerate's operations what leads to the models, and back.

    Raises:
        CommandError: an operation of autogenerate fails.
    """
    assert script.upgrade_ops is not None
    assert script.downgrade_ops is not None
    upgrade, downgrade, work = script.upgrade_ops, script.downgrade_ops, comparison.work
    found = drift.differences(comparison.start, comparison.models)
    tables = {
        parts(name.table)
        for name in [*comparison.start, *comparison.models]
        if name.kind == "table"
    }
    if not found and not comparison.upgrade_first:
        # Autogenerate may see a difference where PostgreSQL has none.
        remove_ours(upgrade, tables)
        remove_ours(downgrade, tables)
        comparison.changes.clear()
        if not any(leaves(upgrade)):
            return
    new = {d.name.table for d in found if d.name.kind == "table"}
    names = [d.name for d in found if d.name.kind in {"index", "constraint"}]
    changed = {parts(name.name)[-1] for name in names}
    changed |= {
        parts(name.name)[-1]
        for schema in (comparison.start, comparison.models)
        for name in schema
        if name.table in new
    }
    remove_unneeded(upgrade, changed, tables)
    remove_unneeded(downgrade, changed, tables)
    comparison.changes += describe_changes(upgrade)
    with connect(work) as connection:
        # With the names that the revision will give.
        options = {"target_metadata": MetaData(naming_convention=REVISIONS_CONVENTION)}
        operations = Operations(MigrationContext.configure(connection, opts=options))
        before = read_columns(driver_connection(connection))
        for op in _try(AutogenContext(context), operations, upgrade, comparison):
            remove_alterations(downgrade, op)
        generated = read_schema(work)
        forwards, reached = _lead(operations, generated, comparison, comparison.models)
        guards = refusals(before, read_columns(driver_connection(connection)))
        # Down as the revision will go: what was added, what autogenerate wrote, and its faults.
        back, _ = _lead(operations, reached, comparison, generated, undoing=True)
        _try(AutogenContext(context), operations, downgrade, comparison, undoing=True)
        fixes, returned = _lead(
            operations, read_schema(work), comparison, comparison.start, undoing=True
        )
    left = drift.differences(reached, comparison.models)
    left_behind = drift.differences(returned, comparison.start)
    upgrade.ops[:0] = comparison.upgrade_first
    upgrade.ops += [*map(as_operation, forwards), *map(FillInOp, left)]
    undone = [Difference(d.name, d.after, d.before) for d in left]
    downgrade.ops[:0] = [*guards, *map(FillInOp, undone), *map(as_operation, back)]
    downgrade.ops += [
        *map(as_operation, fixes),
        *map(FillInOp, left_behind),
        *comparison.downgrade_last,
    ]
    comparison.missed = drift.differences(generated, comparison.models)
    comparison.left = [*left, *left_behind]


def run_as_written(
    context: AutogenContext, operations: Operations, op: ops.MigrateOperation
) -> None:
    """Runs the very text of the revision, not the operation: some exist as text only."""
    code = render_op(context, op)
    exec("\n".join([*context.imports, *code]), {"op": operations, "sa": sqlalchemy})  # noqa: S102


def _try(
    context: AutogenContext,
    operations: Operations,
    container: ops.OpContainer,
    comparison: Comparison,
    undoing: bool = False,
) -> list[ops.AlterColumnOp]:
    """Runs what autogenerate writes, and takes out what fails and the judge can do.

    That is a type which PostgreSQL does not cast by itself and, on the way back, everything.
    """
    connection = operations.get_bind()
    failed = []
    for op in list(leaves(container)):
        try:
            with connection.begin_nested():
                run_as_written(context, operations, op)
        except Exception as error:
            reason = str(error.orig) if isinstance(error, DBAPIError) else describe_error(error)
            if isinstance(op, ops.AlterColumnOp):
                remove_alterations(container, op)
                failed.append(op)
            elif undoing and type(op).__module__.startswith("alembic"):
                substitute(container, op)
                comparison.reasons[reason.strip()] = None
            else:
                raise CommandError(
                    f"Nothing was written, because this fails: {describe_change(op)}. PostgreSQL "
                    f"says: {reason.strip()}\nChange it in smaller steps, or write the revision by "
                    "hand: cd backend && uv run alembic revision -m MESSAGE"
                ) from None
    connection.commit()
    return failed


def _lead(
    operations: Operations,
    start: Schema,
    comparison: Comparison,
    target: Schema,
    undoing: bool = False,
) -> tuple[list[str], Schema]:
    """Leads the database to a schema; returns the SQL that did and where it got."""
    connection = operations.get_bind()
    done: list[str] = []
    reached = start
    for _ in range(MAX_ROUNDS):
        before = len(done)
        written, _left = drift.statements(drift.differences(reached, target), undoing)
        for statement in written:
            try:
                done.append(_invoke(operations, statement))
            except DBAPIError as error:
                comparison.reasons[str(error.orig).strip()] = None
        connection.commit()
        if len(done) == before:
            break
        reached = read_schema(comparison.work)
    return done, reached


def _invoke(operations: Operations, statement: str) -> str:
    """Runs a statement and returns it, with an explicit cast if PostgreSQL wants one."""
    connection = operations.get_bind()
    try:
        with connection.begin_nested():
            operations.invoke(as_operation(statement))
    except DBAPIError as error:
        cast = drift.with_cast(statement)
        if cast is None or not isinstance(error.orig, DatatypeMismatch):
            raise
        with connection.begin_nested():
            operations.invoke(as_operation(cast))
        return cast
    return statement
