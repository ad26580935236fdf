"""Differences that used to be seen by nobody, and what is made by hand or found by a plugin."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Project
from tests.test_autogenerate import migrate, register
from tests.test_drift import write_by_hand

WIDGET = """\
import enum

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import DATERANGE
from sqlmodel import Field, SQLModel


class Kind(enum.Enum):
    a = "a b"
    b = "one\\n  two"


def values(kinds: type[enum.Enum]) -> list[str]:
    return [kind.value for kind in kinds]


class Widget(SQLModel, table=True):
    __table_args__ = (
        sa.Index("ix_note", "note"),
        {"comment": "one\\n-- two"},
    )

    id: int | None = Field(default=None, primary_key=True)
    size: int
    during: str = Field(sa_type=DATERANGE)
    other_id: int | None = Field(default=None, foreign_key="widget.id")
    third_id: int | None = None
    note: str = Field(sa_column_kwargs={"server_default": sa.text("'x\\n-- y; --\\nz'")})
    kind: Kind | None = Field(sa_type=sa.Enum(Kind, name="kind", values_callable=values))
"""


def seen(project: Project) -> tuple[str, str, list[str]]:
    with project.connect() as connection:
        row = connection.execute(
            "INSERT INTO widget (size, during) VALUES (1, '[2026-01-01,2026-01-02)')"
            " RETURNING obj_description('widget'::regclass), note, enum_range(NULL::kind)::text[]"
        ).fetchone()
        connection.execute("DELETE FROM widget")
    assert row is not None
    return row


def test_lines_like_comments_and_blanks_in_labels_are_seen(project: Project) -> None:
    register(project, WIDGET, "Widget", module="widget")
    migrate(project)
    assert seen(project) == ("one\n-- two", "x\n-- y; --\nz", ["a b", "one\n  two"])
    after = WIDGET.replace("-- two", "-- three").replace("-- y;", "-- why;")
    after = after.replace('"a b"', '"a  b"').replace("one\\n  two", "one\\n two")
    project.write("backend/app/models/widget.py", after)
    migrate(project)
    assert seen(project) == ("one\n-- three", "x\n-- why; --\nz", ["a  b", "one\n two"])


def test_a_tablespace_is_named(project: Project, tmp_path: Path) -> None:
    register(project, WIDGET, "Widget", module="widget")
    project.migrate()
    space = tmp_path / "space"
    space.mkdir()
    with project.connect() as connection:
        name = f"s_{project.env['POSTGRES_DB']}"
        connection.execute(f"CREATE TABLESPACE {name} LOCATION '{space}'")
        try:
            after = WIDGET.replace(
                '"ix_note", "note"', f'"ix_note", "note", postgresql_tablespace="{name}"'
            )
            project.write("backend/app/models/widget.py", after)
            before = project.revisions()
            project.just("db-migrate").ok()
            written = "".join(path.read_text() for path in project.revisions() - before)
            assert f'"ix_note", "widget", "(note) TABLESPACE {name}"' in written
            after = after.replace('{"comment"', f'{{"postgresql_tablespace": "{name}", "comment"')
            project.write("backend/app/models/widget.py", after)
            project.just("db-migrate").refused("Fill in", "table widget", f"+ TABLESPACE {name}")
        finally:
            with project.connect(dbname="postgres") as server:
                own = f"{project.env['POSTGRES_DB']}_shadow_"
                shadows = server.execute(
                    "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [own]
                ).fetchall()
                for (shadow,) in shadows:
                    server.execute(f'DROP DATABASE "{shadow}" WITH (FORCE)')
                server.execute(f"DROP TABLESPACE {name}")


BY_HAND = (
    "CREATE EXTENSION btree_gist",
    "ALTER TABLE widget ADD CONSTRAINT once UNIQUE (size, during WITHOUT OVERLAPS)",
    "CREATE TABLE booked (id int NOT NULL CONSTRAINT pk_booked PRIMARY KEY,"
    " size int NOT NULL, during daterange NOT NULL,"
    " CONSTRAINT period FOREIGN KEY (size, PERIOD during) REFERENCES widget (size, PERIOD during))",
    "ALTER TABLE widget ADD CONSTRAINT big CHECK (size > 0) NOT ENFORCED",
    "ALTER TABLE widget ADD CONSTRAINT own CHECK (size > 1) NO INHERIT",
    "ALTER TABLE widget ADD CONSTRAINT third FOREIGN KEY (third_id) REFERENCES widget (id)"
    " NOT ENFORCED",
    # The models' one, made weaker.
    "ALTER TABLE widget ALTER CONSTRAINT fk_widget_other_id_widget NOT ENFORCED",
)
BOOKED = """

class Booked(SQLModel, table=True):
    id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    size: int
    during: str = Field(sa_type=DATERANGE)
"""


def test_constraints_that_models_can_t_state_stay(project: Project) -> None:
    register(project, WIDGET, "Widget", module="widget")
    project.migrate()
    write_by_hand(project, *BY_HAND)
    project.just("db-upgrade").ok()
    register(project, WIDGET + BOOKED, "Booked", module="widget")
    assert "Nothing to do" in project.just("db-migrate").ok().out
    before = project.revisions()
    project.write(
        "backend/app/models/widget.py",
        (WIDGET + BOOKED).replace("    third_id", "    age: int | None = None\n    third_id"),
    )
    project.just("db-migrate").ok()
    (path,) = project.revisions() - before
    assert path.read_text().count("op.") == 2
    project.just("db-upgrade").ok()
    with project.connect() as connection:
        rows = connection.execute(
            "SELECT conname FROM pg_constraint WHERE contype <> 'n'"
            " AND conrelid IN ('widget'::regclass, 'booked'::regclass) ORDER BY 1"
        ).fetchall()
    expected = "big booked fk_widget_other_id_widget once own period pk_booked pk_widget third"
    assert [name for (name,) in rows] == sorted({*expected.split()} - {"booked"})


PLUGIN = '''\
"""A comparison of the project's own, as alembic_utils registers one."""

from alembic.autogenerate import comparators, renderers
from alembic.operations import MigrateOperation
from sqlalchemy import text


class CreateSeven(MigrateOperation):
    def reverse(self):
        return DropSeven()

    def to_diff_tuple(self):
        return ("create", "seven")


class DropSeven(MigrateOperation):
    def reverse(self):
        return CreateSeven()

    def to_diff_tuple(self):
        return ("drop", "seven")


@renderers.dispatch_for(CreateSeven)
def render_create(context, op):
    return "op.execute('CREATE FUNCTION seven() RETURNS int RETURN 7')"


@renderers.dispatch_for(DropSeven)
def render_drop(context, op):
    return "op.execute('DROP FUNCTION seven()')"


@comparators.dispatch_for("schema")
def compare(context, upgrade_ops, schemas):
    if context.connection.scalar(text("SELECT to_regproc('seven')")) is None:
        upgrade_ops.ops.append(CreateSeven())
'''


def test_what_a_plugin_finds_alone_is_written(project: Project) -> None:
    project.write("backend/app/db/plugin.py", PLUGIN)
    project.replace(
        "backend/app/db/base.py", "# Your models\n", "import app.db.plugin  # noqa: F401\n"
    )
    checked = project.just("db-check").refused("the models differ from the history")
    assert "create seven" in checked.out
    migrate(project)
    with project.connect() as connection:
        assert connection.execute("SELECT seven()").fetchone() == (7,)
    project.just("db-check").ok()
    # What can't be undone is told, not left out.
    path = project.backend / "app/db/plugin.py"
    path.write_text(
        path.read_text().replace("seven", "eight").replace("DROP FUNCTION", "DROP TABLE")
    )
    project.just("db-migrate").refused("Nothing was written, because this fails: drop seven")
