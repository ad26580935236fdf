"""Which tables and columns the code of the base branch uses, told from its models in git."""

import ast
from collections.abc import Iterator, Mapping
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
    classes: dict[str, tuple[str, ast.ClassDef]] = {}
    for path, source in sources.items():
        with suppress(SyntaxError, ValueError):  # what is broken there uses nothing
            for node in ast.parse(source).body:
                if isinstance(node, ast.ClassDef):
                    classes[node.name] = (path, node)
    used: dict[tuple[str, str], str] = {}
    for path, node in classes.values():
        if any(keyword.arg == "table" for keyword in node.keywords):
            table = _table_name(node)
            used |= {(table, column): path for column in ["", *_columns(node, classes)]}
    return used


def _table_name(node: ast.ClassDef) -> str:
    for item in node.body:
        match item:
            case (
                ast.Assign(targets=[ast.Name(id="__tablename__")], value=ast.Constant(value=name))
                | ast.AnnAssign(target=ast.Name(id="__tablename__"), value=ast.Constant(value=name))
            ):
                return str(name)
    return node.name.lower()


def _columns(node: ast.ClassDef, classes: Mapping[str, tuple[str, ast.ClassDef]]) -> Iterator[str]:
    """The columns of a class and of those that it inherits from."""
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in classes and base.id != node.name:
            yield from _columns(classes[base.id][1], classes)
    for item in node.body:
        match item:
            case ast.AnnAssign(value=ast.Call(func=ast.Name(id="Relationship"))):
                pass
            case ast.AnnAssign(target=ast.Name(id=attribute), value=value):
                yield _other_name(value) or attribute


def _other_name(field_call: ast.expr | None) -> str:
    """The column's name where it is not the attribute's; empty where it is."""
    for node in ast.walk(field_call) if field_call else ():
        match node:
            case ast.Call(func=ast.Name(id="Column"), args=[ast.Constant(value=str(name)), *_]):
                return name
            case ast.Dict(keys=[*keys], values=[*values]):
                for key, value in zip(keys, values, strict=True):
                    match key, value:
                        case ast.Constant(value="name"), ast.Constant(value=str(name)):
                            return name
    return ""
