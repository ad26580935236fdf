"""Later versions of the template reach a living project: one by one or at once, the schema is one.

The versions are made here on top of the working tree, each with its own full initial revision.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from psycopg.sql import SQL, Identifier

from tests.conftest import Project, Result, accept, homes, mark_database
from tests.updates import (
    WORKING_TREE,
    Template,
    commit,
    contents,
    git,
    schema,
    start_history,
)

USER = "template/backend/app/models/user.py"
AUDIT = "template/backend/app/models/{% if audit_log %}audit_entry.py{% endif %}"
AUDIT_MODEL = '''\
from datetime import datetime

from sqlmodel import Field, SQLModel

from app.db.types import bigint_key, creation_time


class AuditEntry(SQLModel, table=True):
    """What was done."""

    __tablename__ = "audit_entries"

    id: int | None = bigint_key()
    action: str = Field(max_length=100, index=True)
    created_at: datetime = creation_time()
'''
AUDIT_TABLE = """\
{%- if audit_log %}
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("action", sa.String(length=100), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entries")),
    )
    op.create_index(op.f("ix_audit_entries_action"), "audit_entries", ["action"], unique=False)
{%- endif %}
"""
QUESTION = """\
audit_log:
  type: bool
  help: Include a table of what was done?
  default: false

"""
# What its upgrading notes would say of the version with the column that needs values.
FULL_NAME = "full_name = given_name || ' ' || last_name"


def initial(template: Template) -> str:
    (path,) = (template.path / "template/backend/alembic/versions").glob("*.jinja")
    return str(path.relative_to(template.path))


def a_column(template: Template) -> None:
    template.replace(USER, "    is_active", "    phone: str | None = None\n    is_active")
    column = 'sa.Column("phone", sa.String(), nullable=True),'
    template.replace(
        initial(template),
        '        sa.Column("is_active"',
        f'        {column}\n        sa.Column("is_active"',
    )


def a_table_behind_a_switch(template: Template) -> None:
    template.replace("copier.yml", "# Computed values", f"{QUESTION}# Computed values")
    template.write(AUDIT, AUDIT_MODEL)
    switched = "{{%- if audit_log %}}\n{}\n{{%- endif %}}\n"
    registration = "from app.models.audit_entry import AuditEntry  # noqa: F401"
    template.replace(
        "template/backend/app/db/base.py.jinja",
        "# The template's models\n",
        f"# The template's models\n{switched.format(registration)}",
    )
    package = "template/backend/app/models/__init__.py.jinja"
    template.replace(
        package,
        "# The template's models\n{%- if llm_settings %}\nfrom",
        "# The template's models\n"
        + switched.format("from .audit_entry import AuditEntry")
        + "{%- if llm_settings %}\nfrom",
    )
    template.replace(
        package,
        "    # The template's models\n",
        "    # The template's models\n" + switched.format('    "AuditEntry",'),
    )
    path = initial(template)
    template.replace(
        path,
        '    op.create_table(\n        "roles"',
        f'{AUDIT_TABLE}    op.create_table(\n        "roles"',
    )
    template.replace(
        path,
        '    op.drop_table("roles")\n',
        '    op.drop_table("roles")\n' + switched.format('    op.drop_table("audit_entries")'),
    )


def a_rename_with_a_hint(template: Template) -> None:
    hint = 'sa_column_kwargs={"info": {"renamed_from": "first_name"}}'
    template.replace(
        USER,
        "    first_name: str = Field(max_length=100)",
        f"    given_name: str = Field(\n        max_length=100, {hint}\n    )",
    )
    template.replace(initial(template), 'sa.Column("first_name"', 'sa.Column("given_name"')


def a_column_that_needs_values(template: Template) -> None:
    template.replace(
        USER, "    phone: str", "    full_name: str = Field(max_length=201)\n    phone: str"
    )
    column = 'sa.Column("full_name", sa.String(length=201), nullable=False),'
    template.replace(
        initial(template),
        '        sa.Column("phone"',
        f'        {column}\n        sa.Column("phone"',
    )


FUTURES: dict[str, Callable[[Template], None]] = {
    "v1000.0.0": a_column,
    "v1001.0.0": a_table_behind_a_switch,
    "v1002.0.0": a_rename_with_a_hint,
    "v1003.0.0": a_column_that_needs_values,
}
SWITCHED_IN = "v1001.0.0"
NEWEST = list(FUTURES)[-1]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    template = Template.of_the_working_tree(tmp_path_factory.mktemp("futures") / "template")
    for version, change in FUTURES.items():
        change(template)
        template.release(version)
    return template


@pytest.fixture(scope="module")
def places(
    base_environment: dict[str, str],
    shared: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[], Project]]:
    with homes(base_environment, shared) as make:
        yield lambda: make(tmp_path_factory.mktemp("futures") / "project")


@pytest.fixture(scope="module")
def final(places: Callable[[], Project], template: Template) -> tuple[list[tuple[str, ...]], str]:
    """The schema and the models of a project that began with the newest version."""
    project = places()
    live(project, template, NEWEST, audit_log=True)
    own_model(project, "Gadget")
    own_column(project)
    own_model(project, "Gizmo")
    migrate(project)
    project.just("db-upgrade").ok()
    return schema(project), models(project)


def own_model(project: Project, name: str) -> None:
    """A table of the user's with a foreign key to one of the template's."""
    project.just("db-model", name).ok()
    project.replace(
        f"backend/app/models/{name.lower()}.py",
        "    name: str",
        '    owner_id: int | None = Field(default=None, foreign_key="users.id")\n    name: str',
    )


def own_column(project: Project) -> None:
    """A column of the user's in a model of the template."""
    project.replace(
        "backend/app/models/user.py",
        "    updated_at: datetime = update_time()\n",
        "    updated_at: datetime = update_time()\n    nickname: str | None = None\n",
    )


def migrate(project: Project) -> None:
    """`just db-migrate`; fills in what it asks for, and accepts a rename."""
    known = project.revisions()
    said = project.just("db-migrate")
    if "Fill in what is marked" in said.err:
        for path in project.revisions() - known:
            text = path.read_text().replace("full_name = …", FULL_NAME)
            text = text.replace("# backfill(", "backfill(")
            path.write_text(re.sub(r" *raise NotImplementedError.*\n", "", text))
        checked = project.just("db-check")
        said = Result(checked.code, "", checked.text)
    accept(project, said).ok()
    commit(project.path, "Migrate")


def update(project: Project, template: Template, version: str, **answers: bool) -> None:
    before = contents(project.versions)
    assert template.update(project.path, version, **answers) == []
    assert contents(project.versions) == before
    migrate(project)
    now = contents(project.versions)
    assert {name: now[name] for name in before} == before


def live(project: Project, template: Template, version: str, **answers: bool) -> None:
    """A project with rows, and a table of its own."""
    template.copy(project.path, version, **answers)
    start_history(project)
    own_model(project, "Widget")
    migrate(project)
    project.just("db-upgrade").ok()


def insert_rows(project: Project) -> None:
    with project.connect() as connection:
        connection.execute(
            "INSERT INTO users (email, first_name, last_name)"
            " SELECT 'u' || n, 'First' || n, 'Last' || n FROM generate_series(1, 2000) n"
        )
        connection.execute("INSERT INTO widget (name, owner_id) SELECT email, id FROM users")


def assert_rows(project: Project) -> None:
    with project.connect() as connection:
        found = connection.execute(
            "SELECT count(*), count(phone), count(nickname),"
            " count(*) FILTER (WHERE full_name = given_name || ' ' || last_name),"
            " min(given_name), (SELECT count(*) FROM widget WHERE owner_id IS NOT NULL),"
            " (SELECT count(*) FROM audit_entries) FROM users"
        ).fetchone()
    assert found == (2000, 0, 0, 2000, "First1", 2000, 0)


def models(project: Project) -> str:
    """What git calls the content of the models' folder."""
    return git(project.path, "rev-parse", "HEAD:backend/app/models")


def copy_of_the_database(project: Project) -> Project:
    """Another database with the same rows, where nothing is applied meanwhile."""
    name = f"{project.env['POSTGRES_DB']}_production"
    with project.connect(dbname="postgres") as server:
        server.execute(
            SQL("CREATE DATABASE {} TEMPLATE {}").format(
                Identifier(name), Identifier(project.env["POSTGRES_DB"])
            )
        )
        mark_database(server, name)
    return Project(project.path, {**project.env, "POSTGRES_DB": name})


@dataclass(frozen=True)
class Way:
    """The versions that a project stops at, and whether the databases follow each time."""

    stops: list[str]
    applied: bool = False
    switched_in: str = SWITCHED_IN


WAYS = {
    "one by one": Way(list(FUTURES), applied=True),
    "at once": Way([NEWEST]),
    "in pairs": Way(["v1001.0.0", NEWEST]),
    "switched on late": Way(list(FUTURES), switched_in=NEWEST),
}


@pytest.mark.parametrize(
    "way",
    [way if way == "at once" else pytest.param(way, marks=pytest.mark.faults) for way in WAYS],
)
def test_every_way_leads_to_the_schema_of_a_new_project(
    places: Callable[[], Project],
    template: Template,
    final: tuple[list[tuple[str, ...]], str],
    way: str,
) -> None:
    """With revisions of the user's before, between and after those of the updates."""
    project, took = places(), WAYS[way]
    live(project, template, WORKING_TREE)
    insert_rows(project)
    production = copy_of_the_database(project)
    for number, version in enumerate(took.stops):
        if number == len(took.stops) // 2:
            own_model(project, "Gadget")
            own_column(project)
            migrate(project)
        answers = {"audit_log": True} if version >= took.switched_in else {}
        update(project, template, version, **answers)
        if took.applied:
            project.just("db-upgrade").ok()
    own_model(project, "Gizmo")
    migrate(project)

    databases = [project, production] if took.applied else [project]
    for database in databases:
        database.just("db-upgrade").ok()
        assert_rows(database)
        assert (schema(database), models(database)) == final
    assert "Nothing to do" in project.just("db-migrate").ok().out
    project.just("db-check").ok()
