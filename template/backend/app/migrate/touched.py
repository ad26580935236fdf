"""Which index, constraint or NOT NULL an operation of a revision is about."""

import re
from collections.abc import Iterable, Mapping

from alembic.operations import MigrateOperation, ops

from app.migrate.dump import IDENTIFIER, QUALIFIED, Name, parts

TABLE = f"ALTER TABLE (?P<table>{QUALIFIED})"
# What the judge writes.
STATEMENTS = {
    "constraint": rf"{TABLE} (?:ADD|DROP) CONSTRAINT (?P<label>{IDENTIFIER})(?: .*)?",
    "column": rf"{TABLE} ALTER COLUMN (?P<label>{IDENTIFIER}) (?:SET|DROP) NOT NULL",
    "index": rf"CREATE (?:UNIQUE )?INDEX (?P<label>{IDENTIFIER}) ON (?P<table>{QUALIFIED}) .*",
}
DROP_INDEX = rf"DROP INDEX (?P<schema>{IDENTIFIER}\.)?(?P<label>{IDENTIFIER})"
Key = tuple[str, str, str, str]


def keys(names: Iterable[Name]) -> dict[Key, Name]:
    """What operations call the objects of a schema."""
    found: dict[Key, Name] = {}
    for name in names:
        if name.kind in {"index", "constraint", "column"} and not name.is_statement:
            schema, table = parts(name.table)
            label = parts(name.name)[-1]
            found[(name.kind, schema, table, label)] = name
            if name.kind == "index":
                found[(name.kind, schema, "", label)] = name
    return found


def touched(op: MigrateOperation, known: Mapping[Key, Name]) -> Name | None:
    """The object among `known` that an operation makes or takes away; for NOT NULL, the column."""
    match op:
        case ops.CreateIndexOp() | ops.DropIndexOp():
            return known.get(_key("index", op.schema, op.table_name, op.index_name))
        case ops.CreateForeignKeyOp():
            schema = op.kw.get("source_schema")
            return known.get(_key("constraint", schema, op.source_table, op.constraint_name))
        case (
            ops.CreateUniqueConstraintOp() | ops.CreateCheckConstraintOp() | ops.DropConstraintOp()
        ):
            return known.get(_key("constraint", op.schema, op.table_name, op.constraint_name))
        case ops.AlterColumnOp() if op.modify_nullable is not None:
            return known.get(_key("column", op.schema, op.table_name, op.column_name))
        case ops.ExecuteSQLOp():
            return known.get(_key_in_sql(str(op.sqltext).replace("\\:", ":")))
    return None


def _key_in_sql(statement: str) -> Key:
    for kind, pattern in STATEMENTS.items():
        if found := re.fullmatch(pattern, statement, re.DOTALL):
            schema, table = parts(found["table"])
            return _key(kind, schema, table, parts(found["label"])[-1])
    if found := re.fullmatch(DROP_INDEX, statement):
        schema = parts(found["schema"] or "public")[0]
        return _key("index", schema, None, parts(found["label"])[-1])
    return _key("", None, None, None)


def _key(kind: str, schema: str | None, table: str | None, label: object) -> Key:
    return kind, schema or "public", table or "", str(label)
