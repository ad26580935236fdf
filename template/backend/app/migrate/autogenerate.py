"""What autogenerate writes: types that need no import, a name that tells what changed."""

from collections.abc import Iterable
from typing import Any, Literal

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from sqlalchemy import TextClause
from sqlalchemy.types import TypeDecorator, TypeEngine

from app.migrate.compare import Comparison
from app.migrate.completion import (
    correct_enums,
    create_schemas,
    drop_foreign_keys_first,
    postpone_foreign_keys,
)
from app.migrate.config import running_command
from app.migrate.dropped_columns import add_back_for_rows
from app.migrate.judge import complete
from app.migrate.rewrite import split_revision
from app.migrate.table_rewrites import rewriting_operations


def render_item(type_: str, item: Any, context: AutogenContext) -> str | Literal[False]:
    """Renders SQLModel's types as the plain SQLAlchemy type below, and imports other types' modules.

    A hook of Alembic: False leaves the rendering to Alembic.
    """
    if type_ == "server_default" and isinstance(getattr(item, "arg", None), TextClause):
        # Alembic leaves out the backslashes, and the revision would take `:x` for a parameter.
        return f"sa.text({item.arg.text!r})" if r"\:" in item.arg.text else False
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
    """Writes no file when nothing changed, and several for what is not to block the traffic.

    A hook of Alembic (`process_revision_directives`), called by autogenerate.
    """
    script = directives[0]
    assert context.config is not None
    assert context.connection is not None
    assert script.upgrade_ops is not None
    assert script.downgrade_ops is not None
    comparison: Comparison = context.config.attributes["comparison"]
    for operations in (script.upgrade_ops, script.downgrade_ops):
        correct_enums(operations)
    create_schemas(script, context.connection)
    postpone_foreign_keys(script.upgrade_ops, script.downgrade_ops)
    postpone_foreign_keys(script.downgrade_ops, script.upgrade_ops)
    drop_foreign_keys_first(script.upgrade_ops)
    complete(script, context, comparison)
    changes = [*comparison.changes, *(f"change {missed.name}" for missed in comparison.missed)]
    if running_command(context.config) == "check":
        return  # it wants one directive
    directives.clear()
    if changes:
        rewriting = rewriting_operations(script, context, comparison)
        directives += split_revision(script, comparison, rewriting)
        add_back_for_rows(directives)
