"""Compares columns' defaults by what pg_dump shows of them, as a plugin of Alembic.

Alembic's own comparison fails at a quote in a text. Identity and generated columns are left to the
judge altogether: Alembic's operations for them fail.
"""

from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import AlterColumnOp
from alembic.runtime.plugins import Plugin
from alembic.util import PriorityDispatchResult
from sqlalchemy import Column, Computed, Identity

NAME = "app.migrate.defaults"


def compare_default(
    context: AutogenContext,
    op: AlterColumnOp,
    schema: str | None,
    table: str,
    name: str,
    before: Column[Any],
    after: Column[Any],
) -> PriorityDispatchResult:
    """Has a column's default changed where it has another one in the models."""
    assert context.migration_context.config is not None
    comparison = context.migration_context.config.attributes["comparison"]
    sides = (before.server_default, after.server_default)
    if sides != (None, None):
        op.existing_server_default = before.server_default
    if not any(isinstance(side, Identity | Computed) for side in sides) and (
        (schema, table, name) in comparison.other_defaults
    ):
        op.modify_server_default = after.server_default
    return PriorityDispatchResult.CONTINUE


Plugin(NAME).add_autogenerate_comparator(compare_default, "column", "server_default")
