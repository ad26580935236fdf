"""Which tables and columns the code of the base branch uses, told from its models in git."""

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from alembic.util import CommandError

from app.migrate.git import MODELS_IN_GIT, base_branch, base_tips, python_files_at


@dataclass
class InUse:
    """Tables with their columns, each with the file that has it; why it is not known, if so."""

    branch: str = ""
    files: dict[tuple[str, str], str] = field(default_factory=dict)
    unknown: str = ""


def used_by_base_branch() -> InUse:
    """What the newest commit of the base branch uses, at origin if it is known there."""
    try:
        branch = base_branch()
        tips = base_tips(branch)
        if not tips:
            return InUse(unknown=f"There is no branch {branch} to compare with.")
        return InUse(tips[0], used_columns(python_files_at(tips[0], MODELS_IN_GIT)))
    except CommandError as error:
        return InUse(unknown=str(error))


def used_columns(sources: Mapping[str, bytes]) -> dict[tuple[str, str], str]:
    """The file of each table and column; a table itself has "" for a column.

    Args:
        sources: Python files. They are parsed, never run.
    """
    classes = Classes()
    for path, source in sorted(sources.items()):
        with suppress(SyntaxError, ValueError):  # what is broken there uses nothing
            for node in ast.parse(source).body:
                if isinstance(node, ast.ClassDef):
                    classes.add(path, node)
    used: dict[tuple[str, str], str] = {}
    for path, node in classes.all:
        is_table = any(keyword.arg == "table" for keyword in node.keywords)
        if is_table or _constant(node, "__tablename__"):
            table = _table_name(classes.line(path, node), node)
            columns = ["", *_columns(path, node, classes)]
            used |= {(table, column): path for column in columns}
    return used


class Classes:
    """Classes by their files and names: two files may have one of the same name."""

    def __init__(self) -> None:
        self.all: list[tuple[str, ast.ClassDef]] = []

    def add(self, path: str, node: ast.ClassDef) -> None:
        self.all.append((path, node))

    def find(self, path: str, name: str) -> tuple[str, ast.ClassDef] | None:
        """The class that a file calls so: its own, or else another file's."""
        same = [(where, node) for where, node in self.all if node.name == name]
        return next((found for found in same if found[0] == path), same[0] if same else None)

    def line(self, path: str, node: ast.ClassDef) -> list[ast.ClassDef]:
        """A class and those that it inherits from."""
        found = [node]
        for base in node.bases:
            if isinstance(base, ast.Name) and base.id != node.name:
                parent = self.find(path, base.id)
                found += self.line(*parent) if parent else []
        return found


def _table_name(line: Sequence[ast.ClassDef], node: ast.ClassDef) -> str:
    """The name, with the schema if that is not the usual one."""
    name = next((found for one in line if (found := _constant(one, "__tablename__"))), "")
    schema = next((found for one in line if (found := _schema(one))), "public")
    name = str(name or node.name.lower())
    return name if schema == "public" else f"{schema}.{name}"


def _schema(node: ast.ClassDef) -> str:
    args = _constant(node, "__table_args__", _schema_in)
    return str(args or "")


def _schema_in(value: ast.expr) -> object:
    """`schema` in the dictionary that table arguments are, or end with."""
    if isinstance(value, ast.Tuple) and value.elts:
        value = value.elts[-1]
    if isinstance(value, ast.Dict):
        for key, schema in zip(value.keys, value.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "schema":
                return _value(schema)
    return None


def _value(value: ast.expr) -> object:
    return value.value if isinstance(value, ast.Constant) else None


def _constant(node: ast.ClassDef, name: str, read: Callable[[ast.expr], object] = _value) -> object:
    """What a class's body says of a name, if it can be read."""
    for item in node.body:
        match item:
            case (
                ast.Assign(targets=[ast.Name(id=found)], value=value)
                | ast.AnnAssign(target=ast.Name(id=found), value=ast.expr() as value)
            ) if found == name:
                return read(value)
    return None


def _columns(path: str, node: ast.ClassDef, classes: Classes) -> Iterator[str]:
    """The columns of a class and of those that it inherits from."""
    for one in classes.line(path, node):
        for item in one.body:
            match item:
                case ast.AnnAssign(
                    value=ast.Call(func=ast.Name(id="Relationship" | "relationship"))
                ):
                    pass
                case ast.AnnAssign(target=ast.Name(id=attribute), value=value):
                    yield _other_name(value) or attribute
                case ast.Assign(
                    targets=[ast.Name(id=attribute)],
                    value=ast.Call(func=ast.Name(id="Column" | "mapped_column")) as value,
                ):
                    yield _other_name(value) or attribute


def _other_name(field_call: ast.expr | None) -> str:
    """The column's name where it is not the attribute's; empty where it is."""
    for node in ast.walk(field_call) if field_call else ():
        match node:
            case ast.Call(
                func=ast.Name(id="Column" | "mapped_column"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                return name
            case ast.Dict(keys=[*keys], values=[*values]):
                for key, value in zip(keys, values, strict=True):
                    match key, value:
                        case ast.Constant(value="name"), ast.Constant(value=str(name)):
                            return name
    return ""
