"""Calls of `app.migrate.operations`, as autogenerate writes them into revisions."""

import re
from collections.abc import Iterable
from textwrap import wrap
from typing import Any

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, ops
from sqlalchemy.schema import conv

from app.migrate.dump import IDENTIFIER, QUALIFIED, Name, parts

# Of a comment in a function, in lines of 100 characters.
WIDTH = 94

COLUMNS = r'\((?:"(?:[^"]|"")+"|[^()"])*\)'
INDEX = re.compile(
    rf"CREATE (?P<unique>UNIQUE )?INDEX {IDENTIFIER} ON {QUALIFIED} (?P<definition>USING .*)",
    re.DOTALL,
)
UNIQUE = re.compile(
    r"UNIQUE (?!.* WITHOUT OVERLAPS)(?P<nulls>NULLS NOT DISTINCT )?"
    rf"(?P<columns>{COLUMNS}(?: INCLUDE {COLUMNS})?)"
    r"(?P<options> WITH \(.*\))?(?: (?P<deferrable>DEFERRABLE.*))?"
)
FOREIGN_KEY = re.compile(r"FOREIGN KEY (?P<definition>.*)(?<! NOT VALID)(?<! NOT ENFORCED)")
CHECK = re.compile(r"CHECK \((?P<condition>.*)\)", re.DOTALL)


class CallOp(MigrateOperation):
    """A call of a function of this package."""

    def __init__(self, function: str, *arguments: str, **options: Any) -> None:
        self.function = function
        self.arguments = arguments
        self.options = {name: value for name, value in options.items() if value}

    @property
    def builds_index(self) -> bool:
        return self.function in {"create_index_concurrently", "create_unique_constraint"}

    @property
    def is_unique(self) -> bool:
        """Whether a foreign key may refer to what this makes."""
        return self.function == "create_unique_constraint" or "unique" in self.options


class CommentOp(MigrateOperation):
    """A comment for the reader of the revision."""

    def __init__(self, text: str) -> None:
        self.text = text


def imports(operations: Iterable[MigrateOperation]) -> set[str]:
    """The lines that a revision with these operations needs at its top."""
    names = {op.function for op in operations if isinstance(op, CallOp)}
    lines = {"from app.migrate.backfill import backfill"} if "backfill" in names else set()
    if used := sorted(names - {"backfill"}):
        lines.add(f"from app.migrate.operations import {', '.join(used)}")
    return lines


@renderers.dispatch_for(CallOp)
def _render_call(context: AutogenContext, op: CallOp) -> str:
    options = [f"{name}={value!r}" for name, value in op.options.items()]
    return f"{op.function}({', '.join([*map(repr, op.arguments), *options])})"


@renderers.dispatch_for(CommentOp)
def _render_comment(context: AutogenContext, op: CommentOp) -> list[str]:
    lines = wrap(op.text, WIDTH, break_long_words=False, break_on_hyphens=False)
    return [f"# {line}" for line in lines]


def making(name: Name, definition: str) -> CallOp | None:
    """The call that makes an index, a constraint or NOT NULL; None if there is none for it.

    Args:
        definition: As pg_dump prints it.
    """
    schema, table = place(name)
    label = parts(name.name)[-1]
    if name.kind == "column":
        return not_null(name)
    if found := INDEX.fullmatch(definition):
        columns = found["definition"].removeprefix("USING btree ")
        unique = bool(found["unique"])
        return CallOp(
            "create_index_concurrently", label, table, columns, unique=unique, schema=schema
        )
    if found := UNIQUE.fullmatch(definition):
        nulls = " NULLS NOT DISTINCT" if found["nulls"] else ""
        index = f"{found['columns']}{nulls}{found['options'] or ''}"
        deferrable = found["deferrable"]
        return CallOp(
            "create_unique_constraint", label, table, index, deferrable=deferrable, schema=schema
        )
    if found := FOREIGN_KEY.fullmatch(definition):
        reference = found["definition"].replace(" REFERENCES public.", " REFERENCES ", 1)
        return CallOp("create_foreign_key", label, table, reference, schema=schema)
    if found := CHECK.fullmatch(definition):
        condition = found["condition"]
        inner = re.fullmatch(r"\(([^()']*)\)", condition)
        condition = inner[1] if inner else condition
        return CallOp("create_check_constraint", label, table, condition, schema=schema)
    return None


def not_null(name: Name) -> CallOp:
    schema, table = place(name)
    return CallOp("set_not_null", table, parts(name.name)[-1], schema=schema)


def unmaking(name: Name) -> MigrateOperation:
    """The operation that takes away what `making()` makes."""
    schema, table = place(name)
    label = parts(name.name)[-1]
    match name.kind:
        case "index":
            return CallOp("drop_index_concurrently", label, schema=schema)
        case "constraint":
            # As it is: the naming convention must not add to it.
            return ops.DropConstraintOp(conv(label), table, schema=schema)
        case _:
            return ops.AlterColumnOp(table, label, modify_nullable=True, schema=schema)


def place(name: Name) -> tuple[str | None, str]:
    """The schema and the table that something is in, as revisions name them."""
    schema, table = parts(name.table)
    return None if schema == "public" else schema, table
