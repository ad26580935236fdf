"""Keeps revisions away from the models.

A revision may import models, define a class of an old table or reflect into SQLModel.metadata. What
it makes of them is not what is compared, and it does the same whether that was imported or not.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

# What the commands are made of: none of it defines a model.
KEPT = ("app.core", "app.db.naming", "app.migrate")


@contextmanager
def without_models() -> Iterator[None]:
    """A block that begins as if no model had ever been imported; afterwards all is as before."""
    # Commands without models should not wait for SQLModel, so this does not import it.
    registry, known = _change_registry(None) if "sqlmodel" in sys.modules else (None, set())
    modules = _take_modules()
    try:
        yield
    finally:
        if "sqlmodel" in sys.modules:
            _, found = _change_registry(registry)
            _forget(found - known)
        _take_modules()
        for name, module in modules.items():
            sys.modules[name] = module
            parent, _, leaf = name.rpartition(".")
            setattr(sys.modules[parent], leaf, module)


def _take_modules() -> dict[str, ModuleType]:
    """Removes the application's own modules from those that are imported. Parents come first."""
    taken = {
        name: module
        for name, module in sorted(sys.modules.items())
        if name.startswith("app.") and name != "app.db"
        if not any(name == kept or name.startswith(f"{kept}.") for kept in KEPT)
    }
    for name in taken:
        parent, _, leaf = name.rpartition(".")
        vars(sys.modules.get(parent) or taken[parent]).pop(leaf, None)
        del sys.modules[name]
    return taken


def _change_registry(new: Any) -> tuple[Any, set[type[Any]]]:
    """Gives SQLModel another registry of mapped classes, an empty one unless told.

    Returns the old one, and the classes that were mapped by now.
    """
    from sqlalchemy.orm import registry
    from sqlmodel import SQLModel

    from app.migrate.mapped import mapped_classes

    classes = set(mapped_classes())
    replacement = new or registry()
    old = vars(SQLModel)["_sa_registry"]
    # As SQLModel itself does for a class with an argument `registry`.
    for name, value in (("_sa_registry", replacement), ("metadata", replacement.metadata)):
        setattr(SQLModel, name, value)
    return old, classes


def _forget(classes: set[type[Any]]) -> None:
    from app.migrate.mapped import forgotten

    forgotten.update(classes)
