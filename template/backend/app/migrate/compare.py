"""Puts the models beside the history, in two databases made for it, and the renames in order."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from alembic.config import Config
from alembic.operations import MigrateOperation, Operations
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, MetaData, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateSchema

from app.core.config import Settings
from app.migrate import drift, renames
from app.migrate.config import running_command
from app.migrate.connection import migration_engine
from app.migrate.drift import Difference, as_operation, escaped
from app.migrate.dump import OWN_TABLES, Name, Schema, parts, read_schema
from app.migrate.kept_names import explain_kept_names, kept_names, with_kept_names
from app.migrate.lost_rows import refuse_lost_rows
from app.migrate.missing_extension import explain_missing_extension
from app.migrate.said import what_was_said
from app.migrate.shadow import temporary_database

# What revisions make for models to use, and models don't tell of.
MADE_BY_HAND = {"schema", "extension", "domain", "type", "function", "procedure", "aggregate"}


PARTITIONS = """
    SELECT nullif(nspname, current_schema()) AS schema, relname AS name
    FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE relispartition
"""


@dataclass
class Comparison:
    """The models beside the history, and what is to be done about renames."""

    work: Settings  # a copy of the shadow database
    history: Schema
    models: Schema
    start: Schema  # the history after the renames
    upgrade_first: list[MigrateOperation] = field(default_factory=list)
    downgrade_last: list[MigrateOperation] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    missed: list[Difference] = field(default_factory=list)  # by autogenerate
    left: list[Difference] = field(default_factory=list)  # to be filled in by hand
    reasons: dict[str, None] = field(default_factory=dict)  # why, as PostgreSQL says
    partitions: set[tuple[str | None, str]] = field(default_factory=set)

    @cached_property
    def other_defaults(self) -> set[tuple[str | None, str, str]]:
        """The columns, by schema, table and name, that have another default in the models."""
        found = set()
        for difference in drift.differences(self.start, self.models):
            if drift.has_other_default(difference):
                schema, table = parts(difference.name.table)
                column = parts(difference.name.name)[-1]
                found.add((None if schema == "public" else schema, table, column))
        return found


def begin_comparison(
    config: Config, work: Settings, connection: Connection, metadata: MetaData
) -> Comparison:
    """Reads both schemas and applies the renames, so that autogenerate sees the rest.

    Raises:
        CommandError: the models can't be created, or it is not clear what was renamed.
    """
    history = read_schema(work)
    comparison = Comparison(work, history, _models_schema(work, metadata, history), history)
    rows = connection.execute(text(PARTITIONS))
    comparison.partitions = {(row.schema, row.name) for row in rows}
    connection.rollback()
    if running_command(config) == "check":
        _keep_names(comparison, metadata, {})
    else:
        _apply_renames(comparison, config, connection, metadata)
    return comparison


def is_compared(
    config: Config, name: str | None, type_: str, parent_names: Mapping[str, Any]
) -> bool:
    """Keeps our own tables and partitions, which no model tells of, out of autogenerate.

    A hook of Alembic (`include_name`).
    """
    if type_ != "table" or name is None:
        return True
    comparison: Comparison | None = config.attributes.get("comparison")
    partitions = comparison.partitions if comparison else set()
    return name not in OWN_TABLES and (parent_names["schema_name"], name) not in partitions


def describe(found: Sequence[Difference]) -> str:
    """The differences one below the other, each with its object's name."""
    return "\n".join(map(str, found))


def _models_schema(work: Settings, metadata: MetaData, history: Schema) -> Schema:
    with temporary_database(work, "models") as models:
        engine = migration_engine(models)
        try:
            try:
                _create_all(engine, metadata, {})
            except DBAPIError:
                _create_all(engine, metadata, history)
        except DBAPIError as error:
            lines = [
                "The models' tables can't be created in an empty database.",
                f"PostgreSQL says: {str(error.orig).strip()}",
                f"SQL: {(error.statement or '').strip()}",
                explain_missing_extension(error),
            ]
            raise CommandError("\n".join(filter(None, lines))) from None
        finally:
            engine.dispose()
        return read_schema(models)


def _create_all(engine: Engine, metadata: MetaData, history: Schema) -> None:
    """Creates the models, after the functions and the like that only the history has."""
    with engine.begin() as connection:
        connection.exec_driver_sql("SET check_function_bodies = off")
        for name, definition in history.items():
            if name.kind in MADE_BY_HAND:
                with suppress(DBAPIError), connection.begin_nested():
                    connection.execute(text(escaped(definition)))
        for schema in sorted({table.schema for table in metadata.tables.values() if table.schema}):
            connection.execute(CreateSchema(schema, if_not_exists=True))
        metadata.create_all(connection)


def _apply_renames(
    comparison: Comparison, config: Config, connection: Connection, metadata: MetaData
) -> None:
    options = config.cmd_opts
    said = what_was_said(
        getattr(options, "rename", None) or (), getattr(options, "drop", None) or (), metadata
    )
    ask = renames.ask_at_terminal if sys.stdin.isatty() else None
    found = renames.find_renames(comparison.history, comparison.models, said, ask)
    gone = renames.dropped_tables(comparison.history, comparison.models, said, found)
    if unsaid := gone - {(schema or "public", name) for schema, name in comparison.partitions}:
        refuse_lost_rows(unsaid)
    operations = Operations(MigrationContext.configure(connection))
    for rename in found:
        operations.invoke(rename.operation())
    connection.commit()
    if found:
        comparison.start = read_schema(comparison.work)
    if not getattr(options, "rename_constraints", False):
        before = {(r.table[0], r.new): r.old for r in found if not r.is_column}
        if kept := _keep_names(comparison, metadata, before):
            print(explain_kept_names(kept), file=sys.stderr)
    names = drift.renamed_only(comparison.start, comparison.models)
    there = [as_operation(drift.rename(old, new)) for old, new in names]
    back = [as_operation(drift.rename(new, old)) for old, new in names]
    for op in there:
        operations.invoke(op)
    connection.commit()
    if names:
        comparison.start = read_schema(comparison.work)
    comparison.upgrade_first = [*(r.operation() for r in found), *there]
    comparison.downgrade_last = [*back, *(r.operation(backwards=True) for r in reversed(found))]
    comparison.changes = [str(r) for r in found] or [f"rename {old}" for old, _ in names]


def _keep_names(
    comparison: Comparison, metadata: MetaData, renamed: Mapping[tuple[str, str], str]
) -> dict[Name, Name]:
    start, models = comparison.start, comparison.models
    kept = kept_names(start, models, metadata.naming_convention or {}, renamed)
    comparison.models = with_kept_names(models, start, kept)
    return kept
