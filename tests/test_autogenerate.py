"""Changes that Alembic alone writes wrongly or not at all."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time

import pytest

from tests.conftest import Project

TWO_TABLES = """\
from sqlmodel import Field, SQLModel


class Team(SQLModel, table=True):
    {options}id: int | None = Field(default=None, primary_key=True)
    lead_id: int | None = Field(default=None, foreign_key="{schema}member.id")


class Member(SQLModel, table=True):
    {options}id: int | None = Field(default=None, primary_key=True)
    team_id: int | None = Field(default=None, foreign_key="{schema}team.id")
"""


def register(project: Project, source: str, *names: str, module: str = "shop") -> None:
    project.write(f"backend/app/models/{module}.py", source)
    for name in names:
        project.replace(
            "backend/app/db/base.py",
            "# Your models\n",
            f"# Your models\nfrom app.models.{module} import {name}  # noqa: F401\n",
        )


def migrate(project: Project) -> str:
    """Writes revisions, takes them up, down and up, and finds nothing more. The first one's name."""
    latest = (project.backend / "alembic/latest_revision.txt").read_text().strip()
    said = project.migrate()
    assert "Warning" not in said.text
    for arguments in (["db-upgrade"], ["db-downgrade", latest], ["db-upgrade"]):
        project.just(*arguments).ok()
    assert "Nothing to do" in project.just("db-migrate").ok().out
    found = re.search(r"versions/[\d-]+_(.*)_[0-9a-f]{12}\.py", said.out)
    assert found
    return found[1]


@pytest.mark.parametrize(
    "schema", [pytest.param("", marks=pytest.mark.faults), "billing."], ids=repr
)
def test_foreign_keys_in_a_cycle_and_schemas(project: Project, schema: str) -> None:
    options = f'__table_args__ = {{"schema": "{schema[:-1]}"}}\n    ' if schema else ""
    source = TWO_TABLES.format(options=options, schema=schema)
    register(project, source, "Team", "Member")
    migrate(project)
    with project.connect() as connection:
        rows = connection.execute(
            "SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint"
            " WHERE contype = 'f' AND conname ~ '(team|member)' ORDER BY 1"
        ).fetchall()
    assert rows == [(f"{schema}member", f"{schema}team"), (f"{schema}team", f"{schema}member")]
    for name in ("Team", "Member"):
        line = f"from app.models.shop import {name}  # noqa: F401\n"
        project.replace("backend/app/db/base.py", line, "")
    (project.backend / "app/models/shop.py").unlink()
    migrate(project)


def test_a_key_that_is_to_be_altered_in_is_not_lost(project: Project) -> None:
    source = TWO_TABLES.format(options="", schema="").replace(
        'lead_id: int | None = Field(default=None, foreign_key="member.id")',
        "lead_id: int | None = Field(\n        default=None,\n"
        '        sa_column_args=[ForeignKey("member.id", use_alter=True, name="fk_lead")],\n    )',
    )
    register(project, "from sqlalchemy import ForeignKey\n" + source, "Team", "Member")
    migrate(project)
    with project.connect() as connection:
        row = connection.execute("SELECT count(*) FROM pg_constraint WHERE conname = 'fk_lead'")
        assert row.fetchone() == (1,)


def test_a_schema_of_somebody_else_is_left_alone(project: Project) -> None:
    with project.connect() as connection:
        connection.execute("CREATE SCHEMA other CREATE TABLE t (id int)")
    assert "Nothing to do" in project.just("db-migrate").ok().out


def test_a_table_with_enums_gives_the_file_its_name(project: Project) -> None:
    source = """\
from enum import Enum

from sqlmodel import Field, SQLModel


class Size(Enum):
    SMALL = "small"


class Color(Enum):
    RED = "red"


class Thing(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    size: Size
    color: Color
"""
    register(project, source, "Thing")
    assert migrate(project) == "add_table_thing"


def test_many_changes_are_counted(project: Project) -> None:
    fields = "".join(f"    column_number_{n}: int | None\n" for n in range(4))
    project.replace("backend/app/models/user.py", "    is_active", f"{fields}    is_active")
    assert migrate(project) == "users_add_column_number_0_and_3_more"


def test_empty_and_odd_targets_are_no_puzzle(project: Project) -> None:
    assert "Nothing to apply" in project.just("db-upgrade", "").ok().out
    assert "at base" in project.just("db-downgrade", "").ok().out
    assert "Nothing to do" in project.just("db-migrate", "--").ok().out
    refused = project.just("db-downgrade").refused("not that many revisions to roll back")
    assert "didn't produce" not in refused.text


def test_sql_of_a_revision_that_reads_rows_is_not_half_shown(project: Project) -> None:
    project.alembic("revision", "-m", "reads").ok()
    (path,) = project.versions.glob("*reads*")
    path.write_text(
        path.read_text().replace(
            "    pass",
            '    op.execute("CREATE TABLE seen (id int)")\n'
            '    for row in op.get_bind().execute(sa.text("SELECT id FROM users")):\n        print(row)',
            1,
        )
    )
    refused = project.just("db-sql").refused("can't be shown without running", path.stem[-12:])
    assert "CREATE TABLE" not in refused.out
    project.just("db-upgrade").ok()


def test_ctrl_c_during_an_upgrade_says_so_and_rolls_back(project: Project) -> None:
    project.alembic("revision", "-m", "slow").ok()
    (path,) = project.versions.glob("*slow*")
    path.write_text(
        path.read_text().replace(
            "    pass",
            '    op.execute("CREATE TABLE half (id int)")\n    op.execute("SELECT pg_sleep(60)")',
            1,
        )
    )
    for command in (["python", "-m", "app.migrate", "upgrade"], ["alembic", "upgrade", "head"]):
        process = subprocess.Popen(
            ["uv", "run", "--no-sync", *command],
            cwd=project.backend,
            env=project.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # A suite that was started in the background hands on that it is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        with project.connect() as connection:
            deadline = time.monotonic() + 30
            while not connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'"
                " AND state = 'active' AND datname = current_database()"
            ).fetchall():
                assert time.monotonic() < deadline
            # As a terminal does it: to the whole group.
            os.killpg(process.pid, signal.SIGINT)
            output, _ = process.communicate(timeout=30)
            assert process.returncode != 0
            assert "Interrupted" in output
            assert "Traceback" not in output
            assert connection.execute("SELECT to_regclass('half')").fetchone() == (None,)


def test_a_stopped_container_s_migration_ends_at_once_and_is_rolled_back(project: Project) -> None:
    """SIGTERM, which a first process ignores unless it handles it."""
    project.alembic("revision", "-m", "slow").ok()
    (path,) = project.versions.glob("*slow*")
    path.write_text(
        path.read_text().replace("    pass", '    op.execute("SELECT pg_sleep(61)")', 1)
    )
    process = subprocess.Popen(
        [f"{project.env['UV_PROJECT_ENVIRONMENT']}/bin/python", "-m", "app.migrate", "upgrade"],
        cwd=project.backend,
        env=project.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with project.connect() as connection:
        running = (
            "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(61)'"
            " AND state = 'active' AND datname = current_database()"
        )
        deadline = time.monotonic() + 30
        while connection.execute(running).fetchone() != (1,):
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=10)
        assert process.returncode == 143, output
        assert "Interrupted" in output
        assert connection.execute(running).fetchone() == (0,)
    assert "1 revision pending" in project.just("db-current").ok().out


COUNTED = """\
from sqlmodel import Field, SQLModel


class Crate(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    {size}
"""


def test_a_dropped_column_comes_back_for_rows_without_it(project: Project) -> None:
    register(project, COUNTED.format(size="size: int"), "Crate")
    project.migrate()
    project.just("db-upgrade").ok()
    project.write("backend/app/models/shop.py", COUNTED.format(size=""))
    project.migrate()
    project.just("db-upgrade").ok()
    may_be_null = (
        "SELECT NOT attnotnull FROM pg_attribute"
        " WHERE attrelid = 'crate'::regclass AND attname = 'size'"
    )
    with project.connect() as connection:
        connection.execute("INSERT INTO crate VALUES (1)")
        said = project.just("db-downgrade").ok().text
        assert "crate.size stays without NOT NULL" in said
        assert connection.execute(may_be_null).fetchall() == [(True,)]
        project.just("db-upgrade").ok()
        connection.execute("DELETE FROM crate")
        project.just("db-downgrade").ok()
        assert connection.execute(may_be_null).fetchall() == [(False,)]
