"""Writes a new model: its file and the two lines that register it."""

import keyword
import re
from pathlib import Path

from app.core.files import BACKEND_DIR

MODELS = BACKEND_DIR / "app" / "models" / "__init__.py"
REGISTRY = BACKEND_DIR / "app" / "db" / "base.py"
SECTION = "# Your models"

MODEL = """\
from datetime import datetime

from sqlmodel import Field, SQLModel

from app.db.types import bigint_key, creation_time, update_time


class {class_name}(SQLModel, table=True):
    __tablename__ = "{module}"

    id: int | None = bigint_key()
    name: str = Field(max_length=200)
    created_at: datetime = creation_time()
    updated_at: datetime = update_time()
"""


class ScaffoldError(Exception):
    """The model can't be written; nothing was."""


def add_model(name: str) -> list[Path]:
    """Writes app/models/<name>.py and registers the model in both places.

    Args:
        name: The class, as OrderItem or order_item.

    Raises:
        ScaffoldError: the name is unusable or taken, or a section "Your models" is missing.
    """
    class_name, module = model_names(name)
    path = MODELS.parent / f"{module}.py"
    if path.exists():
        raise ScaffoldError(
            f"app/models/{path.name} exists. Choose another name or edit that file."
        )
    tables = [p.name for p in MODELS.parent.rglob("*.py") if f'"{module}"' in p.read_text("utf-8")]
    if tables:
        raise ScaffoldError(f"app/models/{tables[0]} has a table {module}. Choose another name.")
    exports, registry = MODELS.read_text("utf-8"), REGISTRY.read_text("utf-8")
    if re.search(rf"\bimport {class_name}\b", exports + registry):
        raise ScaffoldError(f"A model named {class_name} is registered. Choose another name.")
    exports = add_to_section(exports, f"from .{module} import {class_name}", MODELS)
    exports = add_to_section(exports, f'    "{class_name}",', MODELS)
    registry = add_to_section(
        registry, f"from app.models.{module} import {class_name}  # noqa: F401", REGISTRY
    )
    path.write_text(MODEL.format(class_name=class_name, module=module), "utf-8")
    MODELS.write_text(exports, "utf-8")
    REGISTRY.write_text(registry, "utf-8")
    return [path, MODELS, REGISTRY]


def model_names(name: str) -> tuple[str, str]:
    """The class and the module for a name: ("OrderItem", "order_item")."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+|[0-9]+", name)
    module = "_".join(words).lower()
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ScaffoldError(f"{name} can't name a model. Use letters and digits: OrderItem")
    if keyword.iskeyword(module):
        raise ScaffoldError(f"{module} is a word of Python's own. Choose another: {name}Item")
    class_name = name if "_" not in name and name[0].isupper() else ""
    return class_name or "".join(word.capitalize() for word in words), module


def add_to_section(text: str, line: str, path: Path) -> str:
    """The text with a line at the end of the section "Your models" of the line's indentation."""
    indent = re.match(r" *", line)
    assert indent is not None
    lines = text.splitlines()
    try:
        position = lines.index(indent.group() + SECTION) + 1
    except ValueError:
        raise ScaffoldError(
            f"{path.relative_to(BACKEND_DIR)} has no section {SECTION!r}. "
            f"Register the model by hand with: {line.strip()}"
        ) from None
    while position < len(lines) and lines[position].strip() not in ("", "]"):
        position += 1
    return "\n".join([*lines[:position], line, *lines[position:]]) + "\n"
