"""Upgrades that are killed at any moment: the next one finishes, and nothing is done twice."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Project
from tests.test_rewrite import IMPORT
from tests.test_runner import add_revision, count, migrators, sql, start, wait_for

KILL_AT = Path(__file__).with_name("kill_at.py")
TABLES = (
    "CREATE TABLE owners (id bigint PRIMARY KEY)",
    "INSERT INTO owners SELECT generate_series(1, 10)",
    "CREATE TABLE items (id bigint PRIMARY KEY, owner_id bigint, code text, n int NOT NULL)",
    "INSERT INTO items SELECT i, 1 + i % 10, 'code ' || i, 0 FROM generate_series(1, 4000) AS i",
    "CREATE INDEX old ON items (code)",
    "VACUUM ANALYZE items",
)
# Every kind of operation that a revision may consist of.
STEPS = [
    sql("CREATE TABLE shelves (id int); ALTER TABLE items ADD COLUMN note text"),
    'create_index_concurrently("ix_items_code", "items", "(code)")',
    'drop_index_concurrently("old")',
    'create_unique_constraint("uq_items_code", "items", "(code)")',
    'create_check_constraint("ck_items_n", "items", "n >= 0")',
    'create_foreign_key("fk_items_owner", "items", "(owner_id) REFERENCES owners (id)")',
    'backfill("items", "n = n + 1, note = code", where="note IS NULL")',
    'set_not_null("items", "note")',
    sql("DROP TABLE shelves"),
]


def prepare(project: Project) -> None:
    """A table with rows, and a revision of each kind to apply to it."""
    with project.connect() as connection:
        for statement in TABLES:
            connection.execute(statement.encode())
    for step in STEPS:
        path = add_revision(project, step)
        path.write_text(
            path.read_text().replace(
                "from alembic import op\n", f"from alembic import op\n{IMPORT}"
            )
        )


def kill_everywhere(project: Project, whom: str, step: int) -> list[dict[str, Any]]:
    template = f"{project.env['POSTGRES_DB']}_before"
    with project.connect(dbname="postgres") as server:
        server.execute(f"CREATE DATABASE {template} TEMPLATE {project.env['POSTGRES_DB']}".encode())
    try:
        python = f"{project.env['UV_PROJECT_ENVIRONMENT']}/bin/python"
        arguments: list[str | Path] = [python, KILL_AT, whom, template, str(step)]
        answer = project.run(*arguments, cwd=project.backend, timeout=1500).ok()
    finally:
        with project.connect(dbname="postgres") as server:
            server.execute(f"DROP DATABASE {template}".encode())
    return [json.loads(line) for line in answer.out.splitlines()]


@pytest.mark.faults
def test_a_migrator_killed_before_any_statement(project: Project) -> None:
    prepare(project)
    step = 3 if "FAULT_ROUNDS" in os.environ else 1
    rounds = kill_everywhere(project, "client", step)
    assert len(rounds) > 60 // step
    failed = [r for r in rounds if (r["code"], r["again"], r["same"]) != (-9, 0, True)]
    assert not failed, json.dumps(failed[0])


@pytest.mark.faults
def test_a_migrator_s_server_process_killed_before_any_statement(
    standalone: Callable[..., Project],
) -> None:
    project = standalone()
    project.just("start").ok()
    project.just("db-upgrade").ok()
    port = (project.path / ".env").read_text().split("=")[1].strip()
    project.env |= {
        "POSTGRES_HOST": "127.0.0.1",
        "POSTGRES_PORT": port,
        "POSTGRES_USER": "app",
        "POSTGRES_DB": "book_club",
        "POSTGRES_PASSWORD": (project.path / "secrets/postgres_password.txt").read_text().strip(),
    }
    prepare(project)
    step = 8 if "FAULT_ROUNDS" in os.environ else 3
    rounds = kill_everywhere(project, "server", step)
    assert len(rounds) > 60 // step
    failed = [r for r in rounds if (r["code"], r["again"], r["same"]) != (1, 0, True)]
    assert not failed, json.dumps(failed[0])


@pytest.mark.faults
def test_a_migrator_killed_inside_a_concurrent_build(project: Project) -> None:
    prepare(project)
    project.just("db-upgrade", "+1").ok()
    with project.connect() as observer, project.connect(autocommit=False) as writer:
        # The build waits for whoever has written, INVALID until then.
        writer.execute("UPDATE items SET n = n WHERE id = 1")
        killed = start(project, "upgrade")
        building = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
        wait_for(lambda: count(observer, building))
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        wait_for(
            lambda: (
                not count(
                    observer,
                    "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONC%' AND state = 'active'",
                )
            )
        )
        assert count(observer, building) == 1
        writer.rollback()
        project.just("db-upgrade").ok()
        assert count(observer, building) == 0
        assert count(observer, "SELECT count(*) FROM items WHERE n <> 1") == 0


@pytest.mark.faults
def test_the_server_restarts_in_the_middle(standalone: Callable[..., Project]) -> None:
    project = standalone()
    project.just("start").ok()
    project.just("db-upgrade").ok()
    path = add_revision(project, sql("CREATE TABLE one (id int); SELECT pg_sleep(60)"))
    running = start(project, "upgrade")
    wait_for(
        lambda: (
            "pg_sleep(60)"
            in project.just(
                "db-shell",
                "-Atc",
                "SELECT query FROM pg_stat_activity WHERE state = 'active'"
                " AND application_name LIKE 'migrate%'",
            ).out
        )
    )
    project.just("stop").ok()
    said = running.communicate(timeout=60)[0]
    assert running.returncode == 143, said
    assert "The connection was lost" in said
    assert "Traceback" not in said
    project.just("start").ok()
    path.write_text(path.read_text().replace("; SELECT pg_sleep(60)", ""))
    assert "Applied 1 revision" in project.just("db-upgrade").ok().out


@contextmanager
def proxy(port: int) -> Iterator[tuple[int, Callable[[], None]]]:
    """A TCP proxy to a local port; gives its own port, and what cuts its connections."""
    listening = socket.create_server(("127.0.0.1", 0))
    open_sockets: list[socket.socket] = [listening]

    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                server = socket.create_connection(("127.0.0.1", port))
                open_sockets.extend((client, server))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=copy, args=pair, daemon=True).start()

    def cut() -> None:
        while open_sockets:
            with suppress(OSError), open_sockets.pop() as one:
                one.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listening.getsockname()[1], cut
    finally:
        cut()


@pytest.mark.faults
def test_a_connection_that_is_cut_on_the_way(project: Project) -> None:
    path = add_revision(project, sql("CREATE TABLE one (id int); SELECT pg_sleep(60)"))
    with proxy(int(project.env["POSTGRES_PORT"])) as (port, cut), project.connect() as observer:
        running = start(project, "upgrade", POSTGRES_PORT=str(port))
        wait_for(lambda: count(observer, migrators(project, "query LIKE '%pg_sleep%'")))
        cut()
        said = running.communicate(timeout=30)[0]
    assert running.returncode == 1, said
    assert "The connection was lost" in said
    path.write_text(path.read_text().replace("; SELECT pg_sleep(60)", ""))
    assert "Applied 1 revision" in project.just("db-upgrade", MIGRATION_WAIT_S="20").ok().out


@pytest.mark.faults
def test_a_full_disk(project: Project, tmp_path: Path) -> None:
    prepare(project)
    project.just("db-upgrade", "+1").ok()
    folder = tmp_path / "small"
    folder.mkdir()
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    project.run(*as_root, "mount", "-t", "tmpfs", "-o", "size=1m,mode=777", "tmpfs", folder).ok()
    try:
        with project.connect() as connection:
            connection.execute(
                f"CREATE TABLESPACE {project.env['POSTGRES_DB']} LOCATION '{folder}'".encode()
            )
            connection.execute(
                f"ALTER DATABASE {project.env['POSTGRES_DB']} SET default_tablespace = {project.env['POSTGRES_DB']}".encode()
            )
            connection.execute(
                "INSERT INTO items SELECT i, 1, 'a longer code ' || i, 0 FROM generate_series(4001, 40000) AS i"
            )
            project.just("db-upgrade").refused("No space left on device", "ix_items_code")
            project.run(*as_root, "mount", "-o", "remount,size=100m", folder).ok()
            project.just("db-upgrade").ok()
            assert count(connection, "SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 0
            assert count(connection, "SELECT count(*) FROM items WHERE n <> 1") == 0
    finally:
        with project.connect(dbname="postgres") as server:
            server.execute(f"DROP DATABASE {project.env['POSTGRES_DB']} WITH (FORCE)".encode())
            server.execute(f"DROP TABLESPACE {project.env['POSTGRES_DB']}".encode())
        project.run(*as_root, "umount", folder).ok()
