"""Tables of the application that a comparison would never see."""

import ast
import inspect
import sys
from collections.abc import Iterator
from contextlib import suppress
from textwrap import dedent
from types import ModuleType
from typing import Any

from sqlalchemy import MetaData, Table
from sqlalchemy.orm import registry
from sqlmodel import SQLModel

from app.migrate.mapped import (
    file_of,
    is_own,
    mapped_classes,
    mapper_of,
    own_modules,
    shown,
    unmapped_children,
)
from app.migrate.report import Finding

# In the info of a MetaData or a table, with the reason: it is not in this database.
ELSEWHERE = "elsewhere"
REGISTRY = "    registry(metadata=SQLModel.metadata)"
NOT_COMPARED = "no revision would ever be written for it."
OTHER_DATABASE = 'If it is in another database, say why: MetaData(info={"elsewhere": "…"})'


def uncompared_tables(compared: MetaData) -> Iterator[Finding]:
    """The tables that are not in what is compared, each with the line that puts it there.

    What a library defines is its own business, whoever imports it; and what is in another database
    says so in its `info`.
    """
    seen: set[Table] = set()
    for cls in mapped_classes():
        mapper = mapper_of(cls)
        assert mapper is not None
        for table in mapper.tables:
            if isinstance(table, Table) and not _is_in(table, compared) and table not in seen:
                seen.add(table)
                if not _is_of_a_library(table):
                    yield Finding(
                        f"{shown(cls)}: its table {table.fullname} is in a MetaData of its own, "
                        f"which is not compared: {NOT_COMPARED}",
                        f"{_how_to_compare(cls, table)}\n{OTHER_DATABASE}",
                    )
    for module, table in _plain_tables():
        if table not in seen and not _is_in(table, compared):
            seen.add(table)
            yield Finding(
                f"Table {table.fullname} ({file_of(module)}) is in a MetaData of its own, which is "
                f"not compared: {NOT_COMPARED}",
                f'Define it in that of the models:\n    Table("{table.name}", SQLModel.metadata, …)'
                f"\n{OTHER_DATABASE}",
            )
    for cls, parent in unmapped_children():
        if _says_table(cls):
            own = [f for f in cls.__annotations__ if f not in parent.__annotations__]
            yield Finding(
                f"{shown(cls)} is below {parent.__name__}, which has a table already: SQLModel gives "
                f"it none, and its own columns ({', '.join(own) or 'none'}) are in no table.",
                "Take what both have into a class without table=True, and put both below that:\n"
                f"    class {parent.__name__}(Base{parent.__name__}, table=True): …\n"
                f"    class {cls.__name__}(Base{parent.__name__}, table=True): …",
            )


def _is_in(table: Table, compared: MetaData) -> bool:
    is_elsewhere = ELSEWHERE in table.info or ELSEWHERE in table.metadata.info
    return is_elsewhere or compared.tables.get(table.key) is table


def _plain_tables() -> Iterator[tuple[str, Table]]:
    """The tables that modules of the application have, or whose MetaData they have."""
    modules = own_modules()
    # What the registry has, it has from another one.
    modules["app.db.base"] = modules.pop("app.db.base")
    for name, module in modules.items():
        for value in list(vars(module).values()):
            match value:
                case Table():
                    tables = [value]
                case MetaData():
                    tables = list(value.tables.values())
                case registry():
                    tables = list(value.metadata.tables.values())
                case _:
                    continue
            if not _is_of_a_library(value):
                yield from ((name, table) for table in tables)


def _is_of_a_library(value: object) -> bool:
    """Whether a module that is not the application's has it."""
    return any(
        value is other
        for name, module in list(sys.modules.items())
        if not is_own(name) and isinstance(module, ModuleType)
        for other in list(vars(module).values())
    )


def _how_to_compare(cls: type[Any], table: Table) -> str:
    """The line that gives a class's table the models' MetaData, and where it belongs."""
    mapper = mapper_of(cls)
    if getattr(cls, "metadata", None) is not table.metadata:
        if mapper and mapper.registry.metadata is table.metadata and "__table__" in vars(cls):
            return "Make its registry with that of the models:\n" + REGISTRY
        return f'Define it in that of the models:\n    Table("{table.name}", SQLModel.metadata, …)'
    own = [base for base in cls.__mro__ if is_own(base.__module__)]
    holder = next((b for b in own if vars(b).get("metadata") is table.metadata), own[-1])
    if issubclass(holder, SQLModel) and "_sa_registry" in vars(holder):
        return f"Make the registry of {shown(holder)} with that of the models:\n{REGISTRY}"
    return f"Give it that of the models, in {shown(holder)}:\n    metadata = SQLModel.metadata"


def _says_table(cls: type[Any]) -> bool:
    """Whether a class has `table=True` itself: SQLModel hands it down to every child."""
    with suppress(OSError, SyntaxError):  # its source can't be had
        (node,) = ast.parse(dedent(inspect.getsource(cls))).body
        keywords = {keyword.arg for keyword in getattr(node, "keywords", ())}
        return "table" in keywords
    return False
