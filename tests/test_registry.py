"""A model that the registry misses is named, and nothing is written."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Project

GADGET = """\
from sqlmodel import Field, SQLModel


class Gadget(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("gadget.py", "from app.models.gadget import Gadget  # noqa: F401"),
        ("shop/gadget.py", "from app.models.shop.gadget import Gadget  # noqa: F401"),
        ("__init__.py", "from app.models import Gadget  # noqa: F401"),
    ],
)
def test_an_unregistered_model_is_refused(project: Project, path: str, line: str) -> None:
    file = project.backend / "app/models" / path
    file.parent.mkdir(exist_ok=True)
    before = file.read_text() if file.exists() else ""
    file.write_text(before + GADGET)
    known = project.revisions()
    project.just("db-migrate").refused("Gadget", f"app/models/{path}", "app/db/base.py", line)
    for command in (["revision", "--autogenerate", "-m", "x"], ["check"]):
        refused = project.alembic(*command)
        assert refused.code != 0
        assert line in refused.text
        assert "Traceback" not in refused.text
    assert project.revisions() == known

    base = project.backend / "app/db/base.py"
    base.write_text(base.read_text().replace("# Your models\n", f"# Your models\n{line}\n"))
    project.just("db-migrate").ok()
    assert len(project.revisions() - known) == 1


def test_a_half_registered_model_is_refused(project: Project) -> None:
    """In app/models/__init__.py alone it is seen only as long as something imports that."""
    project.write("backend/app/models/gadget.py", GADGET)
    project.replace(
        "backend/app/models/__init__.py",
        "# Your models\n",
        "# Your models\nfrom .gadget import Gadget as Gadget\n",
    )
    project.just("db-migrate").refused("Gadget", "app/db/base.py")


def test_all_unregistered_models_are_named_at_once(project: Project) -> None:
    project.write("backend/app/models/gadget.py", GADGET)
    project.write("backend/app/models/gizmo.py", GADGET.replace("Gadget", "Gizmo"))
    project.just("db-migrate").refused("import Gadget", "import Gizmo")


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        ("class Gadget(\n", ["app/models/shop/gadget.py, line 1", "SyntaxError"]),
        ("import nonsense\n", ["app/models/shop/gadget.py, line 1", "nonsense"]),
    ],
)
def test_a_module_that_fails_is_reported_with_its_own_error(
    project: Project, body: str, parts: list[Any]
) -> None:
    (project.backend / "app/models/shop").mkdir()
    project.write("backend/app/models/shop/gadget.py", body)
    refused = project.just("db-migrate").refused("can't be imported", *parts)
    assert "registered" not in refused.text


def test_classes_without_a_table_need_no_registration(project: Project) -> None:
    project.write("backend/app/models/gadget.py", GADGET.replace(", table=True", ""))
    project.write("backend/app/models/.#user.py", "not python")
    assert "Nothing to do" in project.just("db-migrate").ok().out
