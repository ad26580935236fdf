"""What ends a migration from outside, and servers that can't take one: each is told as it is."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.pq import PGconn, Ping

from tests.conftest import Project
from tests.test_backfill import add_backfill, make_people
from tests.test_one_transaction import body, upgrade
from tests.test_runner import add_revision, count, migrators, read_until, sql, start, wait_for

GOES_ON = "Go on with: just db-upgrade"


def test_what_ends_a_backfill_is_told_and_the_next_run_goes_on(project: Project) -> None:
    make_people(project, 5000)
    slow = "max_batch_rows=100, pause_s=0.05"
    add_backfill(project, f'backfill("people", "n = n + 1", where="n = 0", {slow})')
    session = f"FROM pg_stat_activity WHERE {migrators(project).partition(' WHERE ')[2]}"
    with project.connect() as connection:

        def end(act: Callable[[int], object], code: int) -> None:
            before = count(connection, "SELECT count(*) FROM people WHERE n = 1")
            running = start(project, "upgrade")
            wait_for(lambda: count(connection, "SELECT count(*) FROM people WHERE n = 1") > before)
            while running.poll() is None:
                act(running.pid)
                time.sleep(0.005)
            said = running.communicate()[0]
            assert running.returncode == code, said
            assert "What it had committed stays" in said
            assert GOES_ON in said
            assert "Correct the file" not in said

        sent: set[int] = set()

        def once(number: signal.Signals) -> Callable[[int], None]:
            def send(pid: int) -> None:
                if pid not in sent:
                    os.kill(pid, number)
                sent.add(pid)

            return send

        end(once(signal.SIGTERM), 143)
        end(once(signal.SIGINT), 130)
        kill = f"SELECT pg_terminate_backend(pid) {session}"
        end(lambda _: connection.execute(kill.encode()), 143)
        upgrade(project).ok()
        assert count(connection, "SELECT count(*) FROM people WHERE n <> 1") == 0


def test_what_ends_a_revision_says_what_stays(project: Project) -> None:
    path = add_revision(project, sql("CREATE TABLE made (id int); SELECT pg_sleep(60)"))
    slow = migrators(project, "query LIKE '%pg_sleep%'")
    session = slow.replace("count(*)", "pg_cancel_backend(pid)")
    with project.connect() as connection:
        for end, code in ((signal.SIGTERM, 143), (session, 130)):
            running = start(project, "upgrade", "--json")
            wait_for(lambda: count(connection, slow))
            if isinstance(end, str):
                connection.execute(end.encode())
            else:
                running.send_signal(end)
            said = running.communicate(timeout=30)[0]
            assert running.returncode == code, said
            assert '"event": "error"' in said
            assert "Its transaction was rolled back" in said
            assert GOES_ON in said
            left = "SELECT count(*) FROM pg_class WHERE relname = 'made'"
            assert count(connection, left) == 0
        # Nothing was committed by these, and nothing but the file is to blame.
        for fault in ("raise RuntimeError()", sql("SELECT 1/0")):
            body(path, fault)
            said = upgrade(project).refused("Correct the file").text
            assert "Its transaction was rolled back, the revisions before it stay" in said


@contextmanager
def another_role(project: Project) -> Iterator[tuple[Project, psycopg.Connection]]:
    """The project as a role that may connect and no more."""
    role = f"poor_{project.env['POSTGRES_DB']}"
    other = Project(project.path, {**project.env, "POSTGRES_USER": role, "POSTGRES_PASSWORD": "x"})
    with project.connect(options="-c default_transaction_read_only=off") as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'".encode())
        try:
            yield other, connection
        finally:
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


def test_missing_privileges_are_named_with_what_grants_them(project: Project) -> None:
    path = add_revision(project, sql("ALTER TABLE users ADD COLUMN nick text"))
    with another_role(project) as (poor, connection):
        role = poor.env["POSTGRES_USER"]
        refused = upgrade(poor).refused("Nothing was run", f"the role {role} lacks privileges")
        grants = [line.strip() for line in refused.text.splitlines() if "GRANT" in line]
        for grant in grants:
            connection.execute(grant.encode())
        refused = upgrade(poor).refused("must be owner of table users", "Nothing to correct")
        assert "Correct the file" not in refused.text
        connection.execute("DROP TABLE migration_ledger, alembic_version")
        upgrade(poor).refused(f"GRANT CREATE ON SCHEMA public TO {role}")
    assert path.exists()


def test_what_a_role_has_set_does_not_disturb_a_migration(project: Project) -> None:
    other = f"ALTER DATABASE {project.env['POSTGRES_DB']} SET "
    settings = (
        "datestyle = 'German, DMY'",
        "intervalstyle = 'iso_8601'",
        "quote_all_identifiers = on",
        "transaction_timeout = '500ms'",
        "idle_in_transaction_session_timeout = '500ms'",
    )
    read = "op.get_bind().exec_driver_sql(\"SELECT now(), interval '1 day'\").one()"
    wait = sql("SELECT pg_sleep(0.4)")
    add_revision(project, f"{read}; {wait}; import time; time.sleep(0.6); {wait}", wait)
    with project.connect(options="-c default_transaction_read_only=off") as connection:
        for setting in settings:
            connection.execute((other + setting).encode())
        upgrade(project).ok()
        project.just("db-history").ok()
        connection.execute((other + "default_transaction_read_only = on").encode())
        project.just("db-downgrade").refused("Nothing was run", "default_transaction_read_only")


@pytest.mark.faults
def test_a_standby_is_refused_and_recovery_is_waited_for(
    standalone: Callable[..., Project],
) -> None:
    project = standalone()
    project.just("start").ok()
    add_revision(project, sql("CREATE TABLE made (id int)"))
    port = (project.path / ".env").read_text().strip().partition("=")[2]
    data = project.path / ".postgres" / "data"
    project.just("stop").ok()
    (data / "standby.signal").touch()
    project.just("start").ok()
    project.just("db-upgrade").refused("is a standby", "POSTGRES_MIGRATION_HOST")
    # One that answers nobody before it has recovered.
    project.just("stop").ok()
    with (data / "postgresql.auto.conf").open("a") as file:
        file.write("hot_standby = off\n")
    starting = subprocess.Popen(["just", "start"], cwd=project.path, env=project.env)
    address = f"host=127.0.0.1 port={port}".encode()
    wait_for(lambda: PGconn.ping(address) == Ping.REJECT)
    running = start(project, "upgrade")
    read_until(running, "waits for the server")
    (data / "promote").touch()
    os.kill(int((data / "postmaster.pid").read_text().split()[0]), signal.SIGUSR1)
    said = running.communicate(timeout=60)[0]
    assert "Applied 2 revisions" in said
    assert starting.wait(timeout=60) == 0
