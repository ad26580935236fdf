"""Autogenerate compares with the history, never with what is in the development database."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

import psutil
import pytest

from tests.conftest import Project, free_port, mark_database, shadow_prefix
from tests.test_commands import write_revision


@pytest.fixture
def project(generate: Callable[..., Project]) -> Project:
    """A project at the newest revision, without a shadow database yet."""
    made = generate()
    made.just("db-upgrade").ok()
    return made


def databases(project: Project) -> list[str]:
    """The shadow databases of the project, by their names."""
    with project.connect() as connection:
        rows = connection.execute(
            "SELECT datname FROM pg_database WHERE starts_with(datname, %s) ORDER BY 1",
            [f"{project.env['POSTGRES_DB']}_shadow_"],
        ).fetchall()
    return [name for (name,) in rows]


def migrate_widget(project: Project) -> str:
    """Adds a model and its revision; returns the revision's text."""
    before = project.revisions()
    project.just("db-model", "Widget").ok()
    project.just("db-migrate").ok()
    (path,) = project.revisions() - before
    return path.read_text()


def test_an_empty_development_database_makes_no_difference(
    generate: Callable[..., Project],
) -> None:
    project = generate()
    text = migrate_widget(project)
    assert text.count("op.create_table(") == 1
    assert 'op.create_table(\n        "widget"' in text


def test_tables_of_another_branch_are_left_alone(project: Project) -> None:
    with project.connect() as connection:
        connection.execute("CREATE TABLE foreign_one (id int); CREATE TABLE foreign_two (id int)")
        connection.execute("CREATE TYPE foreign_enum AS ENUM ('a'); ALTER TABLE users ADD x int")
    text = migrate_widget(project)
    assert "foreign" not in text
    assert "users" not in text
    project.just("db-upgrade").ok()
    with project.connect() as connection:
        assert connection.execute("SELECT count(*) FROM foreign_one").fetchone() == (0,)


def test_a_database_behind_or_ahead_makes_no_difference(project: Project) -> None:
    project.just("db-downgrade", "base").ok()
    assert "Nothing to do" in project.just("db-migrate").ok().out
    with project.connect() as connection:
        connection.execute("INSERT INTO alembic_version VALUES ('feedfeedfeed')")
    assert "Nothing to do" in project.just("db-migrate").ok().out


def test_it_works_without_a_running_database(generate: Callable[..., Project]) -> None:
    project = generate()
    project.env["POSTGRES_PORT"] = str(free_port())
    project.env["POSTGRES_PASSWORD"] = "not the one of the throwaway server"
    before = project.revisions()
    project.just("db-model", "Widget").ok()
    assert "add_table_widget" in project.just("db-migrate").ok().out
    assert len(project.revisions() - before) == 1
    assert "No new upgrade operations" in project.alembic("check").ok().text
    assert list((project.path / ".postgres" / "throwaway").iterdir()) == []


def test_the_history_is_applied_once_and_stale_shadows_go(project: Project) -> None:
    project.just("db-migrate").ok()
    (first,) = databases(project)
    project.just("db-migrate").ok()
    assert databases(project) == [first]
    migrate_widget(project)
    project.just("db-migrate").ok()
    (second,) = databases(project)
    assert second != first


def test_several_new_revisions_are_added_to_the_shadow_that_is_there(project: Project) -> None:
    project.just("db-migrate").ok()
    (first,) = databases(project)
    with project.connect(dbname=first) as connection:
        connection.execute("CREATE FUNCTION mark() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    before = project.revisions()
    project.replace(
        "backend/app/models/role.py",
        "    created_at",
        "    size: int | None = Field(default=None, index=True, unique=True)\n    created_at",
    )
    project.just("db-migrate").ok()
    assert len(project.revisions() - before) == 2
    (second,) = databases(project)
    assert second != first
    with project.connect(dbname=second) as connection:
        assert connection.execute("SELECT to_regproc('mark')").fetchone() == ("mark",)


def test_a_checkout_with_other_line_endings_has_the_same_shadow(project: Project) -> None:
    project.just("db-migrate").ok()
    (before,) = databases(project)
    for path in project.revisions():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    project.just("db-migrate").ok()
    assert databases(project) == [before]


def test_two_at_once_build_one_shadow(project: Project) -> None:
    processes = [
        subprocess.Popen(
            ["uv", "run", "alembic", "check"],
            cwd=project.backend,
            env=project.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for _ in range(3)
    ]
    for process in processes:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
    assert len(databases(project)) == 1


def test_waiting_for_another_command_ends(project: Project) -> None:
    code = (
        "from app.migrate import cli, shadow; shadow.LOCK_TIMEOUT_S = 0.3;"
        " raise SystemExit(cli.main(['migrate']))"
    )
    with project.connect(dbname="postgres") as connection:
        connection.execute(
            "SELECT pg_advisory_lock(hashtext(%s))", [shadow_prefix(project.env["POSTGRES_DB"])]
        )
        project.python(code).refused("Another command has been using the shadow database for 0.3 s")
    assert "Nothing to do" in project.python(code).ok().out


def test_a_history_that_fails_is_explained_and_leaves_no_database(project: Project) -> None:
    project.alembic("revision", "-m", "broken").ok()
    (path,) = project.versions.glob("*broken*")
    path.write_text(path.read_text().replace("    pass", '    op.execute("SELECT 1/0")'))
    refused = project.just("db-migrate").refused("empty database", "division by zero", path.name)
    assert "Running upgrade" not in refused.text
    assert databases(project) == []


@pytest.mark.parametrize("has_shadow", [False, True])
def test_a_role_that_may_not_create_databases_is_told(project: Project, has_shadow: bool) -> None:
    if has_shadow:
        project.just("db-migrate").ok()
    role = f"poor_{os.getpid()}"
    with project.connect() as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    try:
        project.just("db-migrate", POSTGRES_USER=role, POSTGRES_PASSWORD="x").refused(
            f"ALTER ROLE {role} CREATEDB"
        )
    finally:
        with project.connect() as connection:
            connection.execute(f"DROP ROLE {role}")


def test_a_role_that_a_revision_makes_is_left_to_the_database_that_is_upgraded(
    project: Project,
) -> None:
    role = f"reporting_{os.getpid()}"
    write_revision(
        project,
        "readers",
        f'op.execute("CREATE ROLE {role}; GRANT SELECT ON users TO {role}")',
        f'op.execute("DROP OWNED BY {role}; DROP ROLE {role}")',
    )
    assert "Nothing to do" in project.just("db-migrate").ok().out
    assert "down and up again (" in project.just("db-check").ok().out
    project.just("db-upgrade").ok()
    project.just("db-check").ok()
    project.just("db-downgrade").ok()


def test_a_table_that_may_not_be_read_is_named(project: Project) -> None:
    """Not taken for a database that may not be created."""
    role = f"blind_{os.getpid()}"
    for path in ("backend/app/db/base.py", "backend/app/models/__init__.py"):
        text = (project.path / path).read_text()
        project.write(path, re.sub(r".*UserRole.*\n", "", text))
    for path in ("user", "role"):
        file = f"backend/app/models/{path}.py"
        text = (project.path / file).read_text()
        text = re.sub(r".*(UserRole|link_model).*\n", "", text)
        project.write(file, text)
    (project.backend / "app/models/user_role.py").unlink()
    with project.connect() as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN CREATEDB PASSWORD 'x'")
    try:
        refused = project.just("db-migrate", POSTGRES_USER=role, POSTGRES_PASSWORD="x")
        refused.refused("permission denied for table user_roles")
        assert "CREATEDB" not in refused.text
    finally:
        with project.connect() as connection:
            for (name,) in connection.execute(
                "SELECT datname FROM pg_database JOIN pg_roles ON datdba = pg_roles.oid"
                " WHERE rolname = %s",
                [role],
            ).fetchall():
                connection.execute(f'DROP DATABASE "{name}"')
            connection.execute(f"DROP ROLE {role}")


def kill_during_build(project: Project) -> None:
    """Kills `alembic check` with everything below it while it builds the shadow."""
    process = subprocess.Popen(
        ["uv", "run", "alembic", "check"],
        cwd=project.backend,
        env=project.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while not any(name.endswith("building") for name in databases(project)):
        assert time.monotonic() < deadline
        assert process.poll() is None
    for member in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            member.send_signal(signal.SIGKILL)
    process.kill()
    process.wait()


def test_a_killed_build_is_cleaned_up_by_the_next(project: Project) -> None:
    kill_during_build(project)
    assert len(databases(project)) == 1
    assert "Nothing to do" in project.just("db-migrate").ok().out
    (name,) = databases(project)
    assert not name.endswith("building")


def test_long_database_names_stay_apart(generate: Callable[..., Project]) -> None:
    project = generate()
    long_name = "x" * 63
    with project.connect() as connection:
        connection.execute(f"CREATE DATABASE {long_name}")
        mark_database(connection, long_name)
    try:
        project.just("db-migrate", POSTGRES_DB=long_name).ok()
        with project.connect() as connection:
            rows = connection.execute(
                "SELECT length(datname) FROM pg_database WHERE datname LIKE 'xxx%shadow%'"
            ).fetchall()
        assert rows == [(61,)]
    finally:
        with project.connect() as connection:
            for (name,) in connection.execute(
                "SELECT datname FROM pg_database WHERE datname LIKE 'xxxxx%'"
            ).fetchall():
                connection.execute(f"DROP DATABASE {name}")


@pytest.mark.faults
@pytest.mark.parametrize("round_number", range(int(os.environ.get("FAULT_ROUNDS", "15"))))
def test_rounds_of_killed_builds(project: Project, round_number: int) -> None:
    for _ in range(3):
        kill_during_build(project)
    assert "Nothing to do" in project.just("db-migrate").ok().out
