"""Which changes of a column's type lose values, and the rows that it would be.

What is not known to keep every value is taken to lose some: PostgreSQL rounds, cuts and refuses
according to the cast, and does not tell before.
"""

import re
from collections.abc import Sequence

from app.migrate.columns import ColumnType, Retyped
from app.migrate.dump import split

TYPE = re.compile(
    r"(?P<start>[^(\[]+?)(?: ?\((?P<arguments>[-\d,]+)\))?(?P<end>(?: [a-z][a-z ]*)?)(?P<array>(?:\[\])*)"
)
DIGITS = {"smallint": 5, "integer": 10, "bigint": 19}
BYTES = {"smallint": 2, "integer": 4, "bigint": 8}
FLOATS = {"real": 6, "double precision": 15}
TEXTS = {"text", "character varying", "citext", "name"}
MAX_REAL = "3.4e38"
# Types whose values tell by = whether they are the same, in families that cast to and fro.
FAMILIES = (
    {*DIGITS, *FLOATS, "numeric"},
    {"date", "timestamp without time zone", "timestamp with time zone"},
    {"boolean", "integer"},
    {"inet", "cidr"},
    {"interval"},
    {"time without time zone"},
    {"time with time zone"},
)
# What the others hold of the ones before them, whatever their lengths.
WIDER = {
    ("smallint", "real"),
    ("smallint", "double precision"),
    ("integer", "double precision"),
    ("real", "double precision"),
    ("date", "timestamp without time zone"),
    ("jsonb", "json"),
    ("cidr", "inet"),
    ("macaddr", "macaddr8"),
}
# What people write for types that PostgreSQL prints by another name.
SHORT = {
    "int2": "smallint", "int4": "integer", "int": "integer", "int8": "bigint", "bool": "boolean",
    "varchar": "character varying", "varbit": "bit varying", "decimal": "numeric",
    "float4": "real", "float8": "double precision", "timestamptz": "timestamp with time zone",
}  # fmt: skip
DEFAULT_PRECISION = 6  # of times
HAS_INPUT_CHECK = 16  # the version of PostgreSQL that has pg_input_is_valid


def keeps_values(old: ColumnType, new: ColumnType) -> bool:
    """Whether every value of the old type is one of the new type, and the same."""
    if old.base == new.base and old.labels == new.labels:
        return True
    (name, length, array), (other, size, other_array) = _read(old.base), _read(new.base)
    if array != other_array:
        return not other_array and _is_endless(other, size)
    if old.labels and new.labels:
        return set(old.labels) <= set(new.labels)
    if _is_endless(other, size):
        return other != "name"
    if old.labels:
        return other in TEXTS and max(map(len, old.labels)) <= size[0]
    if (name, other) in WIDER:
        return True
    if name in DIGITS and other in DIGITS:
        return DIGITS[name] <= DIGITS[other]
    if other == "numeric" and (name in DIGITS or name == "numeric"):
        digits = [DIGITS[name], 0] if name in DIGITS else length
        return not size or bool(
            digits and size[1] >= digits[1] and size[0] - size[1] >= digits[0] - digits[1]
        )
    if other in {"character varying", "character"} and name in {other, "character"}:
        return bool(length) and length[0] <= size[0]
    if other == "character varying" and name in DIGITS:
        return DIGITS[name] < size[0]
    if other == "bit varying" and name in {"bit", "bit varying"}:
        return not size or (bool(length) and length[0] <= size[0])
    if name == other and name.startswith("time"):
        return (length or [DEFAULT_PRECISION])[0] <= (size or [DEFAULT_PRECISION])[0]
    return name == other == "interval" and not size


def hurt_rows(column: str, old: ColumnType, new: ColumnType, version: str) -> str:
    """The condition that a row meets if it has a value that is not the same afterwards.

    Args:
        column: As SQL has it.
        version: PostgreSQL's. None of its versions fails at the condition, if it has the type.
    """
    name, _, array = _read(old.base)
    other, size, other_array = _read(new.base)
    if array and array == other_array:
        condition = hurt_rows("element", _element(old), _element(new), version)
        return f"EXISTS (SELECT FROM unnest({column}) AS element WHERE {condition})"
    text = column if name in TEXTS - {"citext"} else f"{column}::text"
    if new.labels and not other_array:
        return f"{text} NOT IN ({', '.join(map(_literal, new.labels))})"
    if other == "character varying" and size:
        return f"char_length({text}) > {size[0]}"
    if other in BYTES and name in FAMILIES[0]:
        limit = 2 ** (8 * BYTES[other] - 1)
        outside = f"{column} NOT BETWEEN {-limit} AND {limit - 1}"
        return outside if name in DIGITS else f"{outside} OR {column} <> trunc({column})"
    if other == "numeric" and size and name in FAMILIES[0]:
        exact = column if name == "numeric" else f"{column}::numeric"
        return f"abs({exact}) >= 1e{size[0] - size[1]} OR {exact} <> round({exact}, {size[1]})"
    if other == "real" and name in FAMILIES[0]:
        there = f"CASE WHEN abs({column}) > {MAX_REAL} THEN NULL ELSE {column}::real END"
        return f"({there})::{old.base} IS DISTINCT FROM {column}"
    if {name, other} <= {"bit", "bit varying"}:
        return f"length({column}) {'<>' if other == 'bit' else '>'} {size[0]}"
    if any({name, other} <= family for family in FAMILIES):
        return f"{column}::{new.base}::{old.base} IS DISTINCT FROM {column}"
    if name in TEXTS | {"character"} and int(version.split(".")[0] or 0) >= HAS_INPUT_CHECK:
        is_valid = f"pg_input_is_valid({text}, {_literal(new.base)})"
        return (
            f"{column} IS NOT NULL AND CASE WHEN {is_valid} "
            f"THEN {column}::{new.base}::text <> {text} ELSE true END"
        )
    return f"{column}::{new.base}::text IS DISTINCT FROM {text}"


def query(retyped: Retyped, version: str) -> str:
    """The SELECT that counts the rows that it would hurt."""
    column = retyped.before.label
    if is_plain_cast(retyped):
        condition = hurt_rows(column, retyped.old, retyped.new, version)
    else:
        condition = f"({retyped.using})::text IS DISTINCT FROM {column}::text"
    return f"SELECT count(*) FROM {retyped.before.place} WHERE {condition}"  # noqa: S608


def is_plain_cast(retyped: Retyped) -> bool:
    """Whether the expression for the values, if any, does no more than what the types tell."""
    expression = _plain(retyped.using)
    if found := re.fullmatch(r"\(([^()]*)\)", expression):
        expression = found[1]
    while found := re.fullmatch(r"cast *\((.*) as (.*)\)", expression):
        expression = f"{found[1]}::{found[2]}"
    first, *casts = (part.strip() for part in expression.split("::"))
    for word, name in SHORT.items():
        casts = [re.sub(rf"^{word}\b", name, cast) for cast in casts]
    column, target = _plain(retyped.before.name), _plain(retyped.new.shown)
    return not expression or (
        first in {column, f"{_plain(retyped.before.table)}.{column}"}
        and casts[-1:] in ([], [target])
        and {*casts[:-1]} <= {"text", "character varying"}
    )


def using(sql: str, label: str) -> str:
    """The expression that a statement gives for a column's new values; empty if it gives none."""
    name = re.escape(label.strip('"'))
    pattern = rf'ALTER\s+(?:COLUMN\s+)?"?{name}"?\s+(?:SET\s+DATA\s+)?TYPE\s'
    for action in _actions(sql):
        if re.search(pattern, action, re.IGNORECASE):
            found = re.search(r"\sUSING\s+(.*)", action, re.IGNORECASE | re.DOTALL)
            return found[1].strip().rstrip(";") if found else ""
    return ""


def _actions(sql: str) -> Sequence[str]:
    return [action for statement in split(sql, ";") for action in split(statement, ",")]


def _plain(sql: str) -> str:
    """SQL in one form, without quotes and the default schema."""
    return " ".join(sql.lower().replace('"', "").replace("public.", "").split())


def _read(base: str) -> tuple[str, list[int], str]:
    """A type's name, what is in its parentheses, and the brackets of an array."""
    found = TYPE.fullmatch(base)
    if not found:
        return base, [], ""
    if found["start"].startswith("interval"):
        return "interval", [0] * (base != "interval" + found["array"]), found["array"]
    arguments = [int(number) for number in (found["arguments"] or "").split(",") if number]
    return found["start"] + found["end"], arguments, found["array"]


def _element(array: ColumnType) -> ColumnType:
    name = array.base.replace("[]", "")
    return ColumnType(name, name, array.labels)


def _is_endless(name: str, size: Sequence[int]) -> bool:
    """Whether it is a text of any length."""
    return name in TEXTS and not size


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
