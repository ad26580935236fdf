"""Every table is in the registry, app/db/base.py: autogenerate takes what it misses for deleted."""

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from importlib.util import resolve_name
from itertools import count
from types import ModuleType
from typing import Any

from alembic.util import CommandError
from sqlalchemy import MetaData

from app.core.files import BACKEND_DIR
from app.migrate.errors import describe_error
from app.migrate.mapped import mapped_classes, shown
from app.migrate.relationships import relationship_mistakes
from app.migrate.report import Finding
from app.migrate.uncompared import uncompared_tables

APP = BACKEND_DIR / "app"
REGISTRY = "app.db.base"
# Outside of app/models a module is imported only if it looks like this.
DEFINES_TABLES = re.compile(
    rb"\btable\s*=\s*True\b|\b__table(name)?__\b|\bDeclarativeBase|\bTable\("
)


def load_models() -> MetaData:
    """What the models say the schema should be.

    Raises:
        CommandError: a module can't be imported, or one of the models is not as it has to be.
    """
    if findings := mistakes():
        raise CommandError("\n".join(f"{finding.message}\n{finding.fix}" for finding in findings))
    metadata: MetaData = vars(_import(REGISTRY))["metadata"]
    return metadata


def mistakes() -> list[Finding]:
    """What keeps the models from being compared, or from being used.

    Raises:
        CommandError: a module can't be imported.
    """
    registry = _import(REGISTRY)
    imported = set(sys.modules)
    for name in _module_names():
        _import(name)
    compared: MetaData = vars(registry)["metadata"]
    findings = [*uncompared_tables(compared), *_unregistered(registry, imported)]
    return findings or relationship_mistakes(mapped_classes())


def _module_names() -> Iterator[str]:
    """Every module below app/models, and those elsewhere in the application that define tables."""
    for path in sorted(APP.rglob("*.py")):
        parts = path.relative_to(APP).parts
        is_searched = parts[0] not in {"migrate", "models"}
        if parts[0] == "migrate" or (is_searched and not DEFINES_TABLES.search(path.read_bytes())):
            continue
        names = path.relative_to(BACKEND_DIR).with_suffix("").parts
        if all(name.isidentifier() for name in names):
            yield ".".join(names).removesuffix(".__init__")


def _unregistered(registry: ModuleType, imported: set[str]) -> Iterator[Finding]:
    """The classes of tables that the registry does not import, each with the line that does.

    Args:
        imported: The modules that were there when the registry had been imported, and nothing else.
    """
    names = set(vars(registry))
    registered = {id(value) for value in vars(registry).values()}
    packages = _imported_modules(registry)
    for table in mapped_classes():
        module = table.__module__
        is_in_package = module in imported and any(
            f"{module}.".startswith(f"{package}.") for package in packages
        )
        if id(table) in registered or is_in_package:
            continue
        line = f"from {module} import {table.__name__}"
        if vars(sys.modules[module]).get(table.__name__) is not table:
            # Made in a function, or in another class.
            parent, _, leaf = module.rpartition(".")
            line = f"from {parent} import {leaf}"
        elif table.__name__ in names:
            line += f" as {_other_name(table, names)}"
        names.add(line.split()[-1])
        yield Finding(
            f"{shown(table)} is not registered: autogenerate would not see its table, or drop it.",
            f'Add this line to app/db/base.py, under "Your models":\n    {line}  # noqa: F401',
        )


def _imported_modules(registry: ModuleType) -> set[str]:
    """The modules and packages that the registry imports as such, or everything of."""
    found = set()
    package = registry.__name__.rpartition(".")[0]
    for node in ast.walk(ast.parse(inspect.getsource(registry))):
        match node:
            case ast.Import(names=aliases):
                found |= {alias.name for alias in aliases}
            case ast.ImportFrom(module=name, names=aliases, level=level):
                module = resolve_name("." * level + (name or ""), package)
                found |= {module if a.name == "*" else f"{module}.{a.name}" for a in aliases}
    return {name for name in found if name in sys.modules}


def _other_name(table: type[Any], taken: set[str]) -> str:
    """A name that is not taken, made of the module's: `User` of app.models.shop.user → ShopUser."""
    parts = [part for part in table.__module__.split(".")[2:] if part != table.__name__.lower()]
    prefix = "".join(word.capitalize() for part in parts for word in part.split("_"))
    name = f"{prefix}{table.__name__}"
    if name not in taken:
        return name
    return next(other for n in count(2) if (other := f"{name}{n}") not in taken)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise CommandError(f"The models can't be imported: {describe_error(error)}") from None
