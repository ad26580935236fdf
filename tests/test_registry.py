"""A model that the registry misses is named, and nothing is written."""

from __future__ import annotations

import re
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


OTHER_METADATA = """\
from sqlalchemy import Column, Integer, MetaData, Table
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, registry
from sqlmodel import Field, SQLModel


class Reporting(SQLModel):
    metadata = MetaData()


class Report(Reporting, table=True):
    id: int | None = Field(default=None, primary_key=True)


class Base(DeclarativeBase):
    pass


class Mixin:
    id: Mapped[int] = mapped_column(primary_key=True)


class Declared(Mixin, Base):
    __tablename__ = "declared"


class OwnRegistry(SQLModel, registry=registry()):
    pass


class Registered(OwnRegistry, table=True):
    id: int | None = Field(default=None, primary_key=True)


mapper_registry = registry()


@mapper_registry.mapped
class Decorated:
    __tablename__ = "decorated"
    id: Mapped[int] = mapped_column(primary_key=True)


imperative = Table("imperative", mapper_registry.metadata, Column("id", Integer, primary_key=True))


class Imperative:
    pass


mapper_registry.map_imperatively(Imperative, imperative)
plain = Table("plain", MetaData(), Column("id", Integer, primary_key=True))


class Legacy(DeclarativeBase):
    metadata = MetaData(info={"elsewhere": "It is the old shop's database."})


class OldOrder(Legacy):
    __tablename__ = "old_order"
    id: Mapped[int] = mapped_column(primary_key=True)
"""
NAMES = "Declared, Decorated, Imperative, OldOrder, Registered, Report"


def test_tables_that_would_not_be_compared_are_refused_by_name(project: Project) -> None:
    path = "backend/app/models/other.py"
    project.write(path, OTHER_METADATA)
    line = f"from app.models.other import {NAMES}  # noqa: F401"
    project.replace("backend/app/db/base.py", "# Your models\n", f"# Your models\n{line}\n")
    refused = project.just("db-migrate").refused(
        "Report (app/models/other.py): its table report",
        "in Reporting (app/models/other.py):\n    metadata = SQLModel.metadata",
        "in Base (app/models/other.py):\n    metadata = SQLModel.metadata",
        "registry(metadata=SQLModel.metadata)",
        "its table decorated",
        "its table imperative",
        'Table("plain", SQLModel.metadata, …)',
        'MetaData(info={"elsewhere": "…"})',
    )
    assert "old_order" not in refused.text
    assert "models     not as they have to be" in project.just("db-check").out
    for old, new in (
        (
            "    metadata = MetaData()\n\n\nclass Report(",
            "    metadata = SQLModel.metadata\n\n\nclass Report(",
        ),
        (
            "class Base(DeclarativeBase):\n    pass",
            "class Base(DeclarativeBase):\n    metadata = SQLModel.metadata",
        ),
        (
            "SQLModel, registry=registry()",
            "SQLModel, registry=registry(metadata=SQLModel.metadata)",
        ),
        ("mapper_registry = registry()", "mapper_registry = registry(metadata=SQLModel.metadata)"),
        ('"plain", MetaData()', '"plain", SQLModel.metadata'),
    ):
        project.replace(path, old, new)
    written = project.just("db-migrate").ok().out
    for table in ("report", "declared", "registered", "decorated", "imperative", "plain"):
        assert f"CREATE TABLE {table} (" in written
    assert "old_order" not in written


def test_what_a_library_defines_is_its_own_business(project: Project) -> None:
    (project.backend / "library.py").write_text(
        OTHER_METADATA.replace("SQLModel, table", "Reporting, table")
    )
    project.write("backend/app/models/uses.py", "from library import Declared, plain, Base\n")
    assert "Nothing to do" in project.just("db-migrate").ok().out


def test_a_table_class_below_another_is_refused_with_what_to_write(project: Project) -> None:
    project.write(
        "backend/app/models/gadget.py",
        f"{GADGET}\n\nclass Gizmo(Gadget, table=True):\n    level: int\n"
        "\n\nclass GadgetPublic(Gadget):\n    note: str\n",
    )
    refused = project.just("db-migrate").refused(
        "Gizmo (app/models/gadget.py) is below Gadget",
        "(level) are in no table",
        "class Gizmo(BaseGadget, table=True)",
    )
    assert "GadgetPublic" not in refused.text


def test_two_classes_of_one_name_are_registered_under_two_or_by_their_packages(
    project: Project,
) -> None:
    for name in ("crm", "shop"):
        folder = project.backend / "app/models" / name
        folder.mkdir()
        (folder / "__init__.py").write_text("from .gadget import Gadget as Gadget\n")
        table = f'    __tablename__ = "{name}_gadget"\n    id'
        (folder / "gadget.py").write_text(GADGET.replace("    id", table))
    base = project.backend / "app/db/base.py"
    before = base.read_text()
    lines = (
        "from app.models.crm.gadget import Gadget  # noqa: F401",
        "from app.models.shop.gadget import Gadget as ShopGadget  # noqa: F401",
    )
    project.just("db-migrate").refused(*lines)
    base.write_text(f"{before}\n{lines[0]}\n")
    project.just("db-migrate").refused(lines[1])
    for registered in ("\n".join(lines), "from app.models import crm, shop  # noqa: F401"):
        base.write_text(f"{before}\n{registered}\n")
        assert re.search(r"ok +models ", project.just("db-check").out)


RELATIONS = """\
from sqlmodel import Field, Relationship, SQLModel


class Team(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    heroes: list["Hero"] = Relationship(back_populates="team")


class Hero(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    team_id: int | None = Field(default=None, foreign_key="team.id")
    team: Team | None = Relationship(back_populates="heroes")
"""


def test_mistakes_in_relationships_are_found_before_the_first_query(project: Project) -> None:
    line = "from app.models.team import Hero, Team  # noqa: F401"
    project.replace("backend/app/db/base.py", "# Your models\n", f"# Your models\n{line}\n")
    other = (
        '\n    other_id: int | None = Field(default=None, foreign_key="team.id")\n    team: Team'
    )
    for old, new, parts in (
        ('back_populates="team"', 'back_populates="teem"', ["Team (app/models/team.py)", "teem"]),
        ("\n    team: Team", other, ["multiple foreign key paths", "foreign_keys"]),
        ('list["Hero"]', 'list["Heroo"]', ["Team (app/models/team.py)", "Heroo"]),
        ('"team.id"', '"team.idd"', ["Hero (app/models/team.py)", "team.idd"]),
        ('foreign_key="team.id"', "", ["no foreign keys linking"]),
    ):
        project.write("backend/app/models/team.py", RELATIONS.replace(old, new))
        project.just("db-migrate").refused("app/models/team.py", *parts)
        assert "Traceback" not in project.just("db-check").refused(*parts).text
    project.write("backend/app/models/team.py", RELATIONS)
    project.just("db-migrate").ok()
