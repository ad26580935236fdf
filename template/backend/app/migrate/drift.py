"""What differs between two schemas, and the SQL that leads from one to the other.

Autogenerate looks at what SQLAlchemy reflects; pg_dump tells all. What only pg_dump tells is put in
order here, or named.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from alembic.operations import ops

from app.migrate.dump import IDENTIFIER, QUALIFIED, Name, Schema, parts

# What models say everything of: in the history alone, it has been removed from the models. Other
# things of the history, triggers for one, are made by hand and left alone.
MODELED = {"table", "column", "constraint", "index", "sequence", "enum", "comment"}

COLUMN = re.compile(
    r"(?P<type>.*?)"
    r"(?: DEFAULT (?P<default>.*?)| GENERATED ALWAYS AS (?P<generated>\(.*?\))(?P<stored> STORED)?)?"
    r"(?P<not_null> NOT NULL)?"
    r"(?: COLLATE (?P<collation>\S+))?"
    r"(?: DEFAULT (?P<sequence>nextval.*?))?"
    r"(?: GENERATED (?P<identity>ALWAYS|BY DEFAULT) AS IDENTITY \((?P<options>.*)\))?",
    re.DOTALL,
)
TYPE_CHANGE = re.compile(
    rf"ALTER TABLE {QUALIFIED} ALTER COLUMN (?P<column>{IDENTIFIER}) TYPE (?P<type>.*?)"
    rf"(?: COLLATE {QUALIFIED})?",
    re.DOTALL,
)
SEQUENCE_OPTION = re.compile(
    r"(?:START WITH|INCREMENT BY|NO MINVALUE|MINVALUE|NO MAXVALUE|MAXVALUE|CACHE|CYCLE)(?: -?\d+)?"
)


@dataclass(frozen=True, order=True)
class Difference:
    """One object in its state before and after; None where it does not exist."""

    name: Name
    before: str | None
    after: str | None

    def __str__(self) -> str:
        lines = [str(self.name)]
        if self.before is not None:
            lines += [f"- {line}" for line in (self.before or "(exists)").splitlines()]
        if self.after is not None:
            lines += [f"+ {line}" for line in (self.after or "(exists)").splitlines()]
        return "\n".join(lines)


def differences(before: Schema, after: Schema) -> list[Difference]:
    """What leads from one schema to the other; a table comes without what belongs to it."""
    relations = {name.table for name in before if name.kind == "table"}
    found = [
        Difference(name, before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
        and (name in after or _is_modeled(name, relations))
        and not (
            name.kind == "constraint" and _is_made_by_hand(before.get(name, ""), after.get(name))
        )
    ]
    tables = {d.name.table for d in found if d.name.kind == "table" and None in (d.before, d.after)}
    return [d for d in found if d.name.kind == "table" or d.name.table not in tables - {""}]


def _is_modeled(name: Name, tables: Collection[str]) -> bool:
    """Whether models would tell of it; not so of a view's comments and indexes."""
    if name.is_statement or name.kind not in MODELED:
        return False
    if name.kind == "comment" and name.name.startswith("COLUMN "):
        relation = name.name.removeprefix("COLUMN ")
        return relation.removesuffix(re.findall(IDENTIFIER, relation)[-1]).rstrip(".") in tables
    return not name.table or name.table in tables


def _is_made_by_hand(before: str, after: str | None) -> bool:
    """Whether it is a constraint of a kind that SQLAlchemy has no words for, or not all of them."""
    plain = before
    if before.startswith(("UNIQUE", "PRIMARY KEY")):
        plain = before.replace(" WITHOUT OVERLAPS)", ")", 1)
    elif before.startswith("FOREIGN KEY"):
        plain = re.sub(r'(?<=[ (])PERIOD (?=[\w"])', "", before)
    plain = re.sub(r"( NO INHERIT| NOT ENFORCED)+$", "", plain)
    return plain != before and after in {None, plain}


def renamed_only(before: Schema, after: Schema) -> list[tuple[Name, Name]]:
    """The old and new name of what belongs to a table and changed nothing but its name."""
    gone = {name: text for name, text in before.items() if name not in after}
    new = {name: text for name, text in after.items() if name not in before}
    found = []
    for name, text in sorted(new.items()):
        meaning = _meaning(name, text)
        same = [old for old, other in sorted(gone.items()) if _meaning(old, other) == meaning]
        if meaning and same:
            del gone[same[0]]
            found.append((same[0], name))
    return found


def rename(old: Name, new: Name) -> str:
    """The SQL that renames a constraint, an index or a column's sequence."""
    name = re.findall(IDENTIFIER, new.name)[-1]
    if old.kind == "constraint":
        return f"ALTER TABLE {old.table} RENAME CONSTRAINT {old.name} TO {name}"
    return f"ALTER {old.kind.upper()} {_schema_of(old)}{old.name} RENAME TO {name}"


def has_other_default(difference: Difference) -> bool:
    """Whether a column has another default afterwards, a sequence's numbers aside."""
    if difference.name.kind != "column" or difference.before is None or difference.after is None:
        return False
    found = COLUMN.fullmatch(difference.before), COLUMN.fullmatch(difference.after)
    return bool(found[0] and found[1] and found[0]["default"] != found[1]["default"])


def statements(
    found: Iterable[Difference], undoing: bool = False
) -> tuple[list[str], list[Difference]]:
    """The SQL for differences, in an order that works, and the differences that it has none for.

    Args:
        undoing: Whether this takes back what an upgrade did. Only then may values be lost: there
            were none before.
    """
    ordered: list[tuple[int, str]] = []
    left = []
    for difference in found:
        written = _statements(difference, undoing)
        if written is None:
            left.append(difference)
        else:
            ordered += written
    return [sql for _, sql in sorted(ordered, key=lambda item: item[0])], left


# Keys go before what they refer to, and come after it.
(
    DROP_FOREIGN_KEY,
    DROP,
    CREATE,
    ALTER,
    DROP_SEQUENCE,
    NUMBER,
    ADD,
    ADD_FOREIGN_KEY,
    COMMENT,
) = range(9)


def _statements(difference: Difference, undoing: bool) -> list[tuple[int, str]] | None:
    name, before, after = difference.name, difference.before, difference.after
    if name.is_statement:
        return None
    match name.kind:
        case "constraint":
            written = []
            if before is not None:
                rank = DROP_FOREIGN_KEY if before.startswith("FOREIGN KEY") else DROP
                written.append((rank, f"ALTER TABLE {name.table} DROP CONSTRAINT {name.name}"))
            if after is not None:
                rank = ADD_FOREIGN_KEY if after.startswith("FOREIGN KEY") else ADD
                added = f"ALTER TABLE {name.table} ADD CONSTRAINT {name.name} {after}"
                written.append((rank, added))
            return written
        case "index":
            drop = f"DROP INDEX {_schema_of(name)}{name.name}"
            written = [] if before is None else [(DROP, drop)]
            return written if after is None else [*written, (ADD, after)]
        case "comment":
            return [(COMMENT, f"COMMENT ON {name.name} IS {after or 'NULL'}")]
        case "table" if before is not None and after is not None:
            states = {"": "LOGGED", "UNLOGGED": "UNLOGGED"}
            if before in states and after in states:
                return [(ALTER, f"ALTER TABLE {name.table} SET {states[after]}")]
        case "column" if before is not None and after is not None:
            return _alter_column(name, before, after, undoing)
        case "sequence" if after is not None:
            verb = "CREATE" if before is None else "ALTER"
            bigint = "" if before is None or after.startswith("AS ") else " AS bigint"
            written = [(CREATE, f"{verb} SEQUENCE {name.name}{bigint} {after}")]
            if before is None and (owner := re.search(r"OWNED BY (.*)\.(.*)$", after)):
                written.append((NUMBER, _go_on(f"'{name.name}'", owner[1], owner[2])))
            return written
        case "sequence" if undoing or "OWNED BY" in (before or ""):
            return [(DROP_SEQUENCE, f"DROP SEQUENCE {name.name}")]
    return None


def _alter_column(
    name: Name, before: str, after: str, undoing: bool
) -> list[tuple[int, str]] | None:
    found = COLUMN.fullmatch(before), COLUMN.fullmatch(after)
    if not found[0] or not found[1]:
        return None
    old, new = found[0].groupdict(), found[1].groupdict()
    changed = {part for part in old if old[part] != new[part]}
    alter = f"ALTER TABLE {name.table} ALTER COLUMN {name.name}"
    if changed & {"generated", "stored"}:
        if old["generated"] and not new["generated"] and old["stored"]:
            return [(ALTER, f"{alter} DROP EXPRESSION")]
        if not old["generated"] and not undoing:
            return None  # the values would be lost
        # Computed again by PostgreSQL. SET EXPRESSION would need version 17, and keep no index.
        return [
            (ALTER, f"ALTER TABLE {name.table} DROP COLUMN {name.name}"),
            (ALTER, f"ALTER TABLE {name.table} ADD COLUMN {name.name} {after}"),
        ]
    actions = []
    if changed & {"default", "sequence"}:
        default = new["default"] or new["sequence"]
        actions.append("DROP DEFAULT" if not default else f"SET DEFAULT {default}")
    if changed & {"type", "collation"}:
        collation = f" COLLATE {new['collation']}" if new["collation"] else ""
        actions.append(f"TYPE {new['type']}{collation}")
    if "not_null" in changed:
        actions.append("SET NOT NULL" if new["not_null"] else "DROP NOT NULL")
    written = [(ALTER, f"{alter} {action}") for action in actions]
    if changed & {"identity", "options"}:
        written += [(NUMBER, sql) for sql in _alter_identity(name, alter, old, new)]
    return written


def with_cast(statement: str) -> str | None:
    """The statement that changes a type by an explicit cast: one that cuts instead of failing."""
    found = TYPE_CHANGE.fullmatch(statement)
    return f"{statement} USING {found['column']}::{found['type']}" if found else None


def _alter_identity(
    name: Name, alter: str, old: dict[str, str | None], new: dict[str, str | None]
) -> list[str]:
    if new["identity"] is None:
        return [f"{alter} DROP IDENTITY"]
    if old["identity"] is None:
        sequence = f"pg_get_serial_sequence('{name.table}', '{parts(name.name)[-1]}')"
        return [
            f"{alter} ADD GENERATED {new['identity']} AS IDENTITY ({new['options']})",
            _go_on(sequence, name.table, name.name),
        ]
    before, after = (SEQUENCE_OPTION.findall(side["options"] or "") for side in (old, new))
    options = [option for option in after if option not in before]
    if "CYCLE" in before and "CYCLE" not in after:
        options.append("NO CYCLE")
    changes = [f"SET GENERATED {new['identity']}", *(f"SET {option}" for option in options)]
    return [f"{alter} {' '.join(changes)}"]


def _go_on(sequence: str, table: str, column: str) -> str:
    """SQL that has a new sequence go on after the numbers that are there."""
    newest = f"max({column})"
    return f"SELECT setval({sequence}, {newest}) FROM {table} HAVING {newest} > 0"  # noqa: S608


def _meaning(name: Name, text: str) -> tuple[str, str, str] | None:
    """What stays when something that belongs to a table is renamed."""
    match name.kind:
        case "constraint":
            return name.kind, name.table, text
        case "index":
            return name.kind, name.table, text.replace(f"INDEX {name.name} ON", "INDEX ON", 1)
        case "sequence" if "OWNED BY" in text:
            return name.kind, "", text
    return None


def _schema_of(name: Name) -> str:
    """What has to stand before an index's name: its table's schema and a dot."""
    return name.table.removesuffix(re.findall(IDENTIFIER, name.table)[-1]) if name.table else ""


def as_operation(statement: str) -> ops.ExecuteSQLOp:
    return ops.ExecuteSQLOp(escaped(statement))


def escaped(statement: str) -> str:
    # SQLAlchemy takes a colon before a word for a parameter.
    return re.sub(r"(?<![:\w\\]):(?=\w)", r"\:", statement)
