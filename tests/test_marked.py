"""A development database is marked; on any other, what loses rows wants the database's name."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from psycopg.sql import SQL, Identifier

from tests.conftest import Project, Result, free_port

AUTOCOMMIT = "with op.get_context().autocommit_block():\n        "
LOSING = {
    "op.execute('DROP TABLE goods CASCADE')": "table goods: dropped",
    "op.drop_column('goods', 'size')": "column goods.size: dropped",
    "op.execute('TRUNCATE goods')": "table goods: emptied",
    "op.execute('DELETE FROM goods WHERE true')": "table goods: emptied",
    "op.execute('DROP SCHEMA billing CASCADE')": "table billing.Odd Name: dropped",
    "op.execute(\"DO $$ BEGIN EXECUTE 'DROP TABLE goods'; END $$\")": "table goods: dropped",
    "bind = op.get_bind(); bind.execute(sa.text('DROP TABLE goods')); bind.commit()": "goods: dropped",
    f"{AUTOCOMMIT}op.execute('DROP TABLE goods')": "table goods: dropped",
    f"{AUTOCOMMIT}op.execute('TRUNCATE goods, spare')": "table goods: emptied",
    "op.execute('DROP TABLE goods; COMMIT')": "changes something and commits it",
    "op.rename_table('goods', 'wares'); op.drop_table('wares')": "table goods: dropped",
}
KEEPING = f"""
    op.execute("DELETE FROM goods WHERE id = 1")
    op.execute("ALTER TABLE goods RENAME TO wares")
    op.execute("ALTER TABLE wares ALTER size TYPE bigint")
    op.execute("ALTER TABLE wares RENAME size TO width")
    op.execute("DROP TABLE spare")
    op.execute("CREATE TABLE passing AS SELECT * FROM wares")
    op.execute("DROP TABLE passing")
    op.execute("CREATE INDEX ix_wares ON wares (id)")
    {AUTOCOMMIT}op.execute("DROP INDEX CONCURRENTLY ix_wares")
"""


def write_pending(project: Project, upgrade: str, downgrade: str = "pass") -> None:
    """The one revision that is pending, with these functions."""
    for old in project.versions.glob("*_feedfeedfeed.py"):
        old.unlink()
    parent = (project.backend / "alembic/latest_revision.txt").read_text().strip()
    source = (
        f'"""by hand"""\n\nimport sqlalchemy as sa\nfrom alembic import op\n\n'
        f'revision = "feedfeedfeed"\ndown_revision = "{parent}"\n\n\n'
        f"def upgrade():\n    {upgrade.strip()}\n\n\ndef downgrade():\n    {downgrade}\n"
    )
    (project.versions / "2026-12-01_feedfeedfeed.py").write_text(source)


def migrate(project: Project, *arguments: str, **env: Any) -> Result:
    python = Path(project.env["UV_PROJECT_ENVIRONMENT"]) / "bin/python"
    return project.run(python, "-m", "app.migrate", *arguments, cwd=project.backend, **env)


def unmark(project: Project) -> None:
    with project.connect() as connection:
        name = Identifier(project.env["POSTGRES_DB"])
        connection.execute(SQL("COMMENT ON DATABASE {} IS 'of somebody'").format(name))


def count(project: Project, table: str) -> int:
    with project.connect() as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])


@pytest.fixture
def foreign(project: Project) -> Project:
    """A project whose database is not marked and has rows."""
    unmark(project)
    with project.connect() as connection:
        connection.execute(
            "CREATE TABLE goods (id int PRIMARY KEY, size int);"
            "INSERT INTO goods VALUES (1, 10), (2, 20); CREATE TABLE spare (id int);"
            'CREATE SCHEMA billing; CREATE TABLE billing."Odd Name" AS SELECT 1 AS one'
        )
    return project


def answer_at_a_terminal(project: Project, *command: str, typed: str) -> tuple[int, str]:
    """Runs a command on a terminal where somebody types."""
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        command,
        cwd=project.path,
        env=project.env,
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        os.close(terminal)
        os.write(controller, typed.encode())
        output, _ = process.communicate(timeout=120)
    os.close(controller)
    return process.returncode, output


def test_what_an_upgrade_would_lose_is_rolled_back_and_named(
    foreign: Project, subtests: pytest.Subtests
) -> None:
    name = foreign.env["POSTGRES_DB"]
    for body, loss in LOSING.items():
        with subtests.test(body):
            write_pending(foreign, body)
            refused = migrate(foreign, "upgrade")
            refused.refused(loss, "not marked", f"just db-upgrade --database {name}")
            assert "done in" not in refused.err
            assert (count(foreign, "goods"), count(foreign, 'billing."Odd Name"')) == (2, 1)
    plain = foreign.alembic("upgrade", "head")
    assert plain.code != 0
    assert "-x database=NAME" in plain.text
    migrate(foreign, "upgrade", "--database", "another").refused("another was named")
    assert migrate(foreign, "upgrade", APP_ENV="production").refused("goods").code == 1
    assert count(foreign, "goods") == 2
    write_pending(foreign, KEEPING)
    migrate(foreign, "upgrade").ok()
    assert count(foreign, "wares") == 1


def test_the_name_lets_it_happen(foreign: Project) -> None:
    name = foreign.env["POSTGRES_DB"]
    write_pending(foreign, "op.execute('DROP TABLE goods')", "op.execute('CREATE TABLE goods ()')")
    code, output = answer_at_a_terminal(foreign, "just", "db-upgrade", typed="yes\n")
    assert (code, count(foreign, "goods")) == (1, 2), output
    code, output = answer_at_a_terminal(foreign, "just", "db-upgrade", typed=f"{name}\n")
    assert code == 0, output
    foreign.just("db-downgrade").ok()
    with foreign.connect() as connection:
        connection.execute("INSERT INTO goods DEFAULT VALUES")
    foreign.just("db-upgrade", "--json").refused('"event": "error"', "goods")
    foreign.alembic("-x", f"database={name}", "upgrade", "head").ok()
    # Down again: what is empty goes, base never without the name.
    foreign.just("db-downgrade").ok()
    foreign.just("db-downgrade", "base").refused("at base", f"base --database {name}")
    assert count(foreign, "users") == 0
    foreign.just("db-downgrade", "base", "--database", name).ok()


def test_a_marked_database_asks_nothing(project: Project) -> None:
    with project.connect() as connection:
        connection.execute("INSERT INTO roles (name) VALUES ('gone')")
    write_pending(project, "op.execute('DELETE FROM roles')")
    project.just("db-upgrade").ok()
    project.just("db-downgrade", "base").ok()
    project.just("db-downgrade", "base", APP_ENV="Production").ok()  # there is nothing any more
    project.just("db-upgrade", "-1").refused()


def test_db_reset_wants_the_name_of_what_is_not_marked(foreign: Project) -> None:
    name = foreign.env["POSTGRES_DB"]
    foreign.just("--yes", "db-reset").refused("not marked", f"just db-reset --database {name}")
    foreign.just("--yes", "db-reset", "--database", "other").refused("other was named")
    code, output = answer_at_a_terminal(foreign, "just", "db-reset", typed="y\ny\n")
    assert code == 1, output
    assert "Nothing was deleted" in output
    assert count(foreign, "goods") == 2
    foreign.just("--yes", "db-reset", "--database", name).ok()
    with foreign.connect() as connection:
        assert connection.execute("SELECT to_regclass('goods')").fetchone() == (None,)
    # What was not marked is not marked now.
    foreign.just("--yes", "db-reset").refused("not marked")


def test_db_reset_deletes_nothing_before_the_new_database_is_whole(project: Project) -> None:
    role = f"owner_{os.getpid()}"
    name = project.env["POSTGRES_DB"]
    with project.connect() as connection:
        connection.execute("INSERT INTO roles (name) VALUES ('kept')")
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT app TO {role}")
    poor: dict[str, Any] = {"POSTGRES_USER": role, "POSTGRES_PASSWORD": "x"}
    try:
        project.just("--yes", "db-reset", **poor).refused("Nothing was deleted", "CREATEDB")
        write_pending(project, "op.execute('SELECT 1/0')")
        project.just("--yes", "db-reset").refused("Nothing was deleted", "division by zero")
        assert count(project, "roles WHERE name = 'kept'") == 1
        write_pending(project, "pass")
        project.just("--yes", "db-reset").ok()
        project.just("--yes", "db-reset").ok()  # the new one is marked, too
        assert count(project, "roles WHERE name = 'kept'") == 0
        with project.connect() as connection:
            rows = connection.execute(
                "SELECT datname FROM pg_database WHERE datname LIKE %s", [f"{name}_reset%"]
            )
            assert rows.fetchall() == []
    finally:
        with project.connect() as connection:
            connection.execute(f"DROP ROLE {role}")


def test_no_copy_of_a_database_has_its_mark(project: Project) -> None:
    name = project.env["POSTGRES_DB"]
    copy = f"{name}_copy"
    with project.connect(dbname="postgres") as connection:
        row = connection.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s",
            [name],
        ).fetchone()
        assert row is not None
        connection.execute(f"CREATE DATABASE {copy} TEMPLATE {name}")
    try:
        elsewhere: dict[str, Any] = {"POSTGRES_DB": copy}
        project.just("--yes", "db-reset", **elsewhere).refused("not marked")
        with project.connect() as connection:  # as pg_dump --create and pg_dumpall do
            connection.execute(f"COMMENT ON DATABASE {copy} IS '{row[0]}'")
        project.just("--yes", "db-reset", **elsewhere).refused("not marked")
    finally:
        with project.connect() as connection:
            connection.execute(f"DROP DATABASE {copy}")


def test_an_external_server_s_database_is_marked_by_its_name(
    generate: Callable[..., Project],
) -> None:
    project = generate(dev_database="external")
    name = project.env["POSTGRES_DB"]
    unmark(project)
    assert "is not marked" in project.just("start").ok().err
    project.just("start", "--mark", "other").refused("other was named")
    project.just("db-upgrade").ok()
    project.just("db-migrate").ok()
    project.just("db-check").ok()
    with project.connect() as connection:
        rows = connection.execute(
            "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [f"{name}_"]
        )
        assert rows.fetchall() == []
    project.just("start", "--mark", name, APP_ENV="production").refused("production")
    project.just("--yes", "db-reset").refused("not marked")
    code, output = answer_at_a_terminal(project, "just", "start", typed=f"{name}\n")
    assert code == 0, output
    assert f"Marked {name}" in output
    project.just("--yes", "db-reset").ok()
    unmark(project)
    assert "Marked" in project.just("start", "--mark", name).ok().out
    with project.connect() as connection:
        row = connection.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s",
            [name],
        ).fetchone()
    assert row is not None
    assert row[0].splitlines()[0] == "of somebody"


def test_the_embedded_database_of_an_older_project_is_marked(
    standalone: Callable[..., Project],
) -> None:
    project = standalone()
    project.just("start").ok()
    project.just("db-shell", "-qc", "COMMENT ON DATABASE book_club IS NULL").ok()
    project.just("db-upgrade").ok()
    # Wrong passwords: nothing of a server that is not the project's own is to be deleted.
    wrong: dict[str, Any] = {"POSTGRES_PASSWORD": "wrong"}
    assert "delete .postgres/" in project.just("db-current", **wrong).refused().err
    refused = project.just("db-current", APP_ENV="production", **wrong)
    assert ".postgres/" not in refused.refused("refuses the password").err
    project.just("--yes", "db-reset").refused("not marked")
    assert "Marked" in project.just("_mark").ok().out
    project.just("--yes", "db-reset").ok()
    with_tunnel: dict[str, Any] = {"POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": str(free_port())}
    project.just("_mark", **with_tunnel).ok()


def test_no_advice_in_production_deletes_or_accepts(project: Project) -> None:
    write_pending(project, "pass")
    migrate(project, "upgrade").ok()
    (path,) = project.versions.glob("*_feedfeedfeed.py")
    path.write_text(path.read_text() + "# edited\n")
    assert "db-repair" in migrate(project, "upgrade").refused("was edited", "db-reset").err
    refused = migrate(project, "upgrade", APP_ENV="production").refused("was edited")
    assert "db-re" not in refused.err
    path.unlink()
    # Deleted here, and not a newer release's.
    project.write("backend/alembic/latest_revision.txt", "feedfeedfeed\n")
    for command in ("upgrade", "downgrade", "current", "sql"):
        refused = migrate(project, command, APP_ENV="production").refused("no file")
        assert "db-re" not in refused.err
