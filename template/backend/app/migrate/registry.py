"""Every table is in the registry, app/db/base.py: autogenerate takes what it misses for deleted."""

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from alembic.util import CommandError
from sqlmodel import SQLModel

from app.core.files import BACKEND_DIR
from app.migrate.errors import describe_error


def load_models() -> ModuleType:
    """Imports the registry and checks it against all modules below app/models.

    Raises:
        CommandError: a module can't be imported, or a table's class is not in the registry.
    """
    missing = unregistered_models()
    if missing:
        raise CommandError("\n".join(map(explain_unregistered, missing)))
    return _import("app.db.base")


def unregistered_models() -> list[type[SQLModel]]:
    """The classes of tables that the registry does not import.

    Raises:
        CommandError: a module can't be imported.
    """
    registered = {v for v in vars(_import("app.db.base")).values() if inspect.isclass(v)}
    return [table for table in defined_tables() if table not in registered]


def defined_tables() -> Iterator[type[SQLModel]]:
    """The classes with `table=True` of every module below app/models, subpackages too."""
    for path in sorted((BACKEND_DIR / "app" / "models").rglob("*.py")):
        parts = path.relative_to(BACKEND_DIR).with_suffix("").parts
        if all(part.isidentifier() for part in parts):
            name = ".".join(parts).removesuffix(".__init__")
            for value in vars(_import(name)).values():
                is_table = inspect.isclass(value) and hasattr(value, "__table__")
                if is_table and value.__module__ == name:
                    yield value


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise CommandError(f"The models can't be imported: {describe_error(error)}") from None


def explain_unregistered(table: type[SQLModel]) -> str:
    """What is wrong, and on the next lines the one to add."""
    path = Path(inspect.getfile(table)).relative_to(BACKEND_DIR)
    return (
        f"{table.__name__} ({path}) is not registered: autogenerate would not see its table, or "
        'drop it.\nAdd this line to app/db/base.py, under "Your models":\n'
        f"    from {table.__module__} import {table.__name__}  # noqa: F401"
    )
