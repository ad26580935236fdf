"""The application's classes that are mapped to tables, whoever made them."""

import inspect
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakSet

from sqlalchemy import inspect as inspect_mapping
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import DeclarativeBase, DeclarativeBaseNoMeta, Mapper, registry
from sqlmodel import SQLModel

from app.core.files import BACKEND_DIR

# Those that revisions made, until Python forgets them too.
forgotten: WeakSet[type[Any]] = WeakSet()


def own_modules() -> dict[str, ModuleType]:
    """The modules of the application that are imported, without those of migrations."""
    return {
        name: module
        for name, module in sorted(sys.modules.items())
        if is_own(name) and not name.startswith("app.migrate.")
    }


def is_own(module: str) -> bool:
    return module == "app" or module.startswith("app.")


def mapped_classes() -> list[type[Any]]:
    """Every mapped class that the application defines, in the order of their names.

    Also those that no module has under a name: made in a function, or inside another class.
    """
    found = {
        value: None
        for module in own_modules().values()
        for value in vars(module).values()
        if inspect.isclass(value)
    }
    for base in (SQLModel, DeclarativeBase, DeclarativeBaseNoMeta):
        found |= dict.fromkeys(_subclasses(base))
    for mapped in filter(None, map(mapper_of, list(found))):
        found |= {mapper.class_: None for mapper in mapped.registry.mappers}
    for module in own_modules().values():
        for value in vars(module).values():
            if isinstance(value, registry):
                found |= {mapper.class_: None for mapper in value.mappers}
    own = {cls for cls in found if is_own(cls.__module__) and mapper_of(cls)}
    return sorted(own.difference(forgotten), key=lambda cls: (cls.__module__, cls.__qualname__))


def mapper_of(cls: type[Any]) -> Mapper[Any] | None:
    """How a class is mapped; None of one that is not, such as a child of a mapped one."""
    with suppress(InvalidRequestError):  # its mapping waits for something
        mapper: Mapper[Any] | None = inspect_mapping(cls, raiseerr=False)
        if isinstance(mapper, Mapper) and mapper.class_ is cls:
            return mapper
    return None


def unmapped_children() -> Iterator[tuple[type[Any], type[Any]]]:
    """The application's classes below a mapped one of SQLModel that are not mapped themselves."""
    for cls in _subclasses(SQLModel):
        parent = next((base for base in cls.__mro__[1:] if mapper_of(base)), None)
        if parent and parent not in forgotten and is_own(cls.__module__) and not mapper_of(cls):
            yield cls, parent


def shown(cls: type[Any]) -> str:
    """A class with its file, as messages name it."""
    return f"{cls.__name__} ({file_of(cls.__module__)})"


def file_of(module: str) -> str:
    path = sys.modules[module].__file__
    return str(Path(path).relative_to(BACKEND_DIR)) if path else module


def _subclasses(base: type[Any]) -> Iterator[type[Any]]:
    for cls in base.__subclasses__():
        # Not one of an import that failed, or of another time.
        if cls.__module__ in sys.modules:
            yield cls
        yield from _subclasses(cls)
