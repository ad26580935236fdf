"""Data migrations in batches: every row once, whatever happens, and nobody waits for long."""

from __future__ import annotations

import os
import pty
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from tests.conftest import Project, free_port
from tests.test_one_transaction import upgrade

PEOPLE = """
    CREATE TABLE people ({key}, first_name text NOT NULL, last_name text NOT NULL, full_name text,
        n int NOT NULL DEFAULT 0)
"""
FILL = "full_name = first_name || ' ' || last_name, n = n + 1"
ONCE = "SELECT count(*), count(full_name), min(n), max(n) FROM people"


def make_people(
    project: Project, rows: int, key: str = "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
) -> None:
    execute(project, PEOPLE.format(key=key))
    execute(
        project,
        "INSERT INTO people (first_name, last_name) "
        f"SELECT 'Ada ' || i, 'Lovelace' FROM generate_series(1, {rows}) i",
    )
    execute(project, "ANALYZE people")


def execute(project: Project, sql: str) -> list[Any]:
    with project.connect() as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def add_backfill(project: Project, *calls: str, before: str = "") -> Path:
    """Adds a revision that does this."""
    latest = project.backend / "alembic" / "latest_revision.txt"
    parent = latest.read_text().strip()
    revision = f"{len(project.revisions()):012}"
    body = "".join(f"    {call}\n" for call in calls)
    latest.write_text(f"{revision}\n")
    return project.write(
        f"backend/alembic/versions/2026-12-01_fill_in_{revision}.py",
        f'revision = "{revision}"\ndown_revision = "{parent}"\n\n'
        "from alembic import op\n\nfrom app.migrate.backfill import backfill\n\n"
        f"{before}\n\ndef upgrade() -> None:\n{body}\n\ndef downgrade() -> None:\n    pass\n",
    )


def assert_nothing_left(project: Project) -> None:
    assert execute(project, "SELECT to_regclass('migration_backfills')") == [(None,)]


def upgrade_with(project: Project, **constants: float) -> Any:
    """Runs the upgrade with other constants of the modules, given as module__CONSTANT."""
    lines = [
        f"import app.migrate.{module} as m; m.{constant} = {value}"
        for (module, constant), value in (
            (name.split("__"), value) for name, value in constants.items()
        )
    ]
    return project.python(
        "\n".join(
            [*lines, "from app.migrate import cli", "raise SystemExit(cli.main(['upgrade']))"]
        )
    )


def test_every_kind_of_key_and_name(project: Project) -> None:
    tables = {
        "by_uuid": "id uuid PRIMARY KEY DEFAULT gen_random_uuid()",
        "by_text": "id text PRIMARY KEY DEFAULT translate(random()::text, '.13', 'Aéb')",
        "by_time": "id timestamptz PRIMARY KEY DEFAULT now() + random() * interval '9 years'",
        "by_two": "id uuid DEFAULT gen_random_uuid(), tenant int DEFAULT random(), "
        "PRIMARY KEY (tenant, id)",
        'odd."Odd :100%"': '"The Key" numeric PRIMARY KEY DEFAULT random()::numeric - 0.5',
    }
    execute(project, "CREATE SCHEMA odd")
    for table, key in tables.items():
        execute(project, PEOPLE.replace("people", table, 1).format(key=key))
        execute(
            project,
            f"INSERT INTO {table} (first_name, last_name) "
            "SELECT 'Ada ' || i, 'Lovelace' FROM generate_series(1, 3000) i",
        )
        schema, _, name = table.rpartition(".")
        names = [repr(name.strip('"')), f'"{FILL}"'] + ([f"schema={schema!r}"] if schema else [])
        add_backfill(project, f"backfill({', '.join(names)}, max_batch_rows=700)")
    # Rows that match even when they are done, and a limit that nothing comes near.
    make_people(project, 3000)
    limits = "where='id % 2 = 0', max_batch_rows=500, max_lag_mb=1"
    add_backfill(project, f'backfill("people", "{FILL}", {limits})')
    said = project.just("db-upgrade").ok()
    assert execute(project, "SELECT id % 2, n, count(*) FROM people GROUP BY 1, 2 ORDER BY 1") == [
        (0, 1, 1500),
        (1, 0, 1500),
    ]
    for table in tables:
        assert execute(project, ONCE.replace("people", table)) == [(3000, 3000, 1, 1)]
    assert said.err.count(": 3,000 rows changed in") == len(tables)
    assert_nothing_left(project)


def test_a_function_returns_the_new_values_by_key(project: Project) -> None:
    make_people(
        project, 2500, "tenant int DEFAULT random() * 3, id serial, PRIMARY KEY (tenant, id)"
    )
    execute(
        project,
        "ALTER TABLE people ADD tags text[], ADD facts jsonb, ADD price numeric(9, 2), ADD day date,"
        " ADD raw bytea, ADD mood text CHECK (mood IN ('fine'))",
    )
    add_backfill(
        project,
        "backfill('people', describe, where='n = 0 AND id % 5 <> 0', read=['first_name', 'n'])",
        before="""\
from datetime import date
from decimal import Decimal


def describe(rows):
    assert rows and set(rows[0]._fields) == {"tenant", "id", "first_name", "n"}
    return {
        (row.tenant, row.id): {
            "full_name": row.first_name + " \\"%s\\" : x",
            "n": row.n + 1,
            "tags": ["a,b", None, "{c}"],
            "facts": {"id": row.id, "of": [1, None]},
            "price": Decimal("12.30"),
            "day": date(1815, 12, 10),
            "raw": b"\\x00\\xff",
            "mood": None,
        }
        for row in rows
        if row.id % 7
    }
""",
    )
    project.just("db-upgrade").ok()
    changed = (
        "n = 1 AND facts->>'id' = id::text AND tags = ARRAY['a,b', NULL, '{c}'] AND price = 12.3"
    )
    values = f"{changed} AND day = '1815-12-10' AND raw = '\\x00ff' AND mood IS NULL"
    values += """ AND full_name = first_name || ' "%s" : x'"""
    rows = execute(project, f"SELECT id % 5 <> 0 AND id % 7 <> 0, n, {values} FROM people")
    assert len(rows) == 2500
    assert {(True, 1, True), (False, 0, False)} == set(rows)
    assert_nothing_left(project)


def test_what_can_not_be_done_in_batches_is_refused(
    project: Project, subtests: pytest.Subtests
) -> None:
    make_people(project, 1200)
    execute(project, "CREATE TABLE log (message text)")
    execute(project, "INSERT INTO people (first_name, last_name) VALUES ('x', 'y')")
    fill = f'backfill("people", "{FILL}")'
    of_function = "backfill('people', function)"
    begin = "def function(rows):\n    return "
    own_revision = "a revision of its own"
    cases: dict[str, tuple[list[str], str, list[str]]] = {
        "a change before it": (
            ["op.execute('ALTER TABLE people ADD x int')", fill],
            "",
            [own_revision],
        ),
        "two of them": (["backfill('users', 'is_active = true')", fill], "", [own_revision]),
        "no key": (
            ["backfill('log', 'message = 1')"],
            "",
            ["log has no primary key", "UPDATE log"],
        ),
        "no table": (["backfill('logs', 'message = 1')"], "", ["no table logs"]),
        "a strange key": (
            [of_function],
            begin + "{0: {'n': 1}}\n",
            ["function()", "a key that its rows do not have"],
        ),
        "a strange column": ([of_function], begin + "{rows[0].id: {'x': 1}}\n", ["no column x"]),
        "other columns": (
            [of_function],
            begin + "{rows[0].id: {'n': 1}, rows[1].id: {'full_name': ''}}\n",
            ["function() returned n for one row and full_name for another"],
        ),
    }
    for name, (calls, before, parts) in cases.items():
        with subtests.test(name):
            path = add_backfill(project, *calls, before=before)
            project.just("db-upgrade").refused(*parts)
            assert execute(project, "SELECT sum(n) FROM people") == [(0,)]
            if name == "two of them":
                project.just("db-migrate").refused(own_revision)
            path.unlink()
            project.write("backend/alembic/latest_revision.txt", "572de137043f\n")
            execute(project, "DROP TABLE IF EXISTS migration_backfills")


def test_small_tables_are_done_in_the_transaction_of_the_revision(project: Project) -> None:
    make_people(project, 3)
    path = add_backfill(project, f'backfill("people", "{FILL}")', 'op.execute("SELECT 1 / 0")')
    project.just("db-upgrade").refused("division by zero")
    assert execute(project, ONCE) == [(3, 0, 0, 0)]
    assert_nothing_left(project)

    where = "full_name <> ':x' OR n = 0"
    path.write_text(path.read_text().replace(')\n    op.execute("SELECT 1 / 0"', f', "{where}"'))
    printed = project.just("db-sql").ok().out
    assert f"UPDATE people SET {FILL} WHERE {where};" in printed
    path.write_text(path.read_text().replace(f'"{FILL}"', "lambda rows: {}"))
    project.just("db-sql").refused("Python function")
    execute(project, printed)
    assert execute(project, ONCE) == [(3, 3, 1, 1)]


def test_a_deadline_stops_it_and_the_next_run_goes_on(project: Project) -> None:
    make_people(project, 3000, "id uuid PRIMARY KEY DEFAULT gen_random_uuid()")
    limits = "max_batch_rows=100, pause_s=0.02, deadline_s=0.1"
    path = add_backfill(
        project, f'backfill("people", "{FILL}", where="full_name IS NULL", {limits})'
    )
    project.just("db-upgrade").refused("people: stopped by its deadline with", "just db-upgrade")
    ((total, done, least, most),) = execute(project, ONCE)
    assert (total, least, most) == (3000, 0, 1)
    assert 0 < done < 3000
    assert "1 revision pending" in project.just("db-current").ok().out

    # Half-way, the table of the progress is nobody's business.
    seen = "from app.core.config import get_settings; from app.migrate.dump import read_schema;"
    shown = project.python(f"{seen} print(*read_schema(get_settings()))").ok().out
    assert "table people" in shown
    assert "migration_backfills" not in shown

    # A row that the application adds before the place where it goes on is found at the end.
    first = "00000000-0000-0000-0000-000000000000"
    row = f"INSERT INTO people (id, first_name, last_name) VALUES ('{first}', 'New', 'One')"
    execute(project, row)
    path.write_text(path.read_text().replace(f", {limits}", ""))
    said = project.just("db-upgrade").ok()
    assert f"with {done} rows done" in said.err
    assert f"{3001 - done:,} rows changed" in said.err
    assert execute(project, ONCE) == [(3001, 3001, 1, 1)]
    assert_nothing_left(project)


def test_after_a_downgrade_it_starts_over(project: Project) -> None:
    make_people(project, 3000)
    add_backfill(project, "op.execute('SELECT 1')")
    limits = "max_batch_rows=100, pause_s=0.02, deadline_s=0.1"
    fill = "full_name = first_name"
    path = add_backfill(project, f'backfill("people", "{fill}", {limits})')
    project.just("db-upgrade").refused("stopped by its deadline")
    project.just("db-downgrade").ok()
    execute(project, "ALTER TABLE people DROP full_name; ALTER TABLE people ADD full_name text")
    path.write_text(path.read_text().replace(f", {limits}", ""))
    said = project.just("db-upgrade").ok()
    assert "going on" not in said.err
    assert execute(project, ONCE) == [(3000, 3000, 0, 0)]


@contextmanager
def locked_row(project: Project, key: int) -> Iterator[psycopg.Connection]:
    with project.connect(autocommit=False) as connection:
        connection.execute("UPDATE people SET last_name = 'Byron' WHERE id = %s", [key])
        yield connection


def test_a_locked_row_is_waited_for_without_holding_others(project: Project) -> None:
    make_people(project, 3000)
    add_backfill(project, f'backfill("people", "{FILL}", max_batch_rows=200)')
    with (
        locked_row(project, 1300) as other,
        subprocess.Popen(
            ["just", "db-upgrade"],
            cwd=project.path,
            env=project.env,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        wait_until(project, "SELECT count(*) FROM people WHERE n = 1", 1000)
        waits = []
        with project.connect() as probe:
            probe.execute("SET deadlock_timeout = '10s'")
            for _ in range(20):
                started = time.monotonic()
                probe.execute("UPDATE people SET last_name = 'King' WHERE id = 1250")
                waits.append(time.monotonic() - started)
        assert max(waits) < 0.5
        other.commit()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert execute(project, ONCE) == [(3000, 3000, 1, 1)]
    assert execute(project, "SELECT full_name FROM people WHERE id = 1300") == [("Ada 1300 Byron",)]

    add_backfill(project, 'backfill("people", "n = n + 1", where="n < 2", max_batch_rows=200)')
    with locked_row(project, 1300):
        refused = upgrade_with(project, backfill__RETRY_S=0.5)
        refused.refused("locked for", "lock timeout", "just db-upgrade")
    project.just("db-upgrade").ok()
    assert execute(project, ONCE) == [(3000, 3000, 2, 2)]


def wait_until(project: Project, query: str, least: int) -> None:
    deadline = time.monotonic() + 30
    with project.connect() as connection:
        while time.monotonic() < deadline:
            row = connection.execute(query.encode()).fetchone()
            if row and row[0] >= least:
                return
            time.sleep(0.01)
    raise AssertionError(f"{query} did not reach {least}")


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(project: Project) -> None:
    make_people(project, 3000)
    fill = f'backfill("people", "{FILL}", max_batch_rows=100, pause_s=0.02)'
    add_backfill(project, fill)
    said = upgrade_with(project, meter__LINE_INTERVAL_S=0.05).ok()
    lines = [line for line in said.err.splitlines() if line.startswith("people: ")]
    assert len(lines) > 3
    assert all("of about 3,000 rows" in line and " left" in line for line in lines[:-1])
    assert lines[-1].startswith("people: 3,000 rows changed in")
    assert "\r" not in said.err

    add_backfill(project, fill)
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        ["just", "db-upgrade"], cwd=project.path, env=project.env, stderr=terminal
    ) as process:
        os.close(terminal)
        shown = b""
        with suppress(OSError):  # how Linux says that the other end is closed
            while part := os.read(controller, 4096):
                shown += part
    os.close(controller)
    assert process.returncode == 0, shown
    bar = shown.decode().split("\r")
    assert any("people: [####" in state and "....] " in state for state in bar)
    assert any(state.startswith("people: 3,000 rows changed in") for state in bar)


def kill_upgrade(project: Project, chance: random.Random) -> bool:
    """Starts an upgrade and kills it some batches later; False when it was done before."""
    process = subprocess.Popen(
        ["uv", "run", "python", "-m", "app.migrate", "upgrade"],
        cwd=project.backend,
        env=project.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    done = "SELECT count(*) FROM people WHERE n > 0"
    ((before,),) = execute(project, done)
    goal = before + chance.randrange(1, 250)
    deadline = time.monotonic() + 30
    while process.poll() is None and execute(project, done)[0][0] < goal:
        assert time.monotonic() < deadline
    time.sleep(chance.random() * 0.03)  # somewhere in a batch
    with suppress(psutil.NoSuchProcess):
        for member in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                member.send_signal(signal.SIGKILL)
    process.kill()
    _, errors = process.communicate()
    assert process.returncode in {0, -signal.SIGKILL, 137}, errors
    return process.returncode != 0


def killed_again_and_again(project: Project, times: int, chance: random.Random) -> None:
    # Slow rows: most kills hit while the server works on a batch, and it goes on for a while.
    execute(
        project,
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_sleep(0.0005); RETURN NEW; END'; "
        "CREATE TRIGGER slow BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION slow()",
    )
    kills = sum(kill_upgrade(project, chance) for _ in range(times))
    assert kills == times
    execute(project, "DROP TRIGGER slow ON people")
    said = project.just("db-upgrade").ok()
    assert "going on, with" in said.err
    ((total, filled, least, most),) = execute(project, ONCE)
    assert (filled, least, most) == (total, 1, 1)
    assert_nothing_left(project)


def test_killed_three_times_every_row_is_done_once(project: Project) -> None:
    make_people(project, 6000)
    add_backfill(project, f'backfill("people", "{FILL}")')
    killed_again_and_again(project, 3, random.Random())


@pytest.mark.faults
@pytest.mark.parametrize("round_number", range(int(os.environ.get("FAULT_ROUNDS", "5"))))
@pytest.mark.parametrize("values", [f'"{FILL}"', "fill"], ids=["sql", "function"])
def test_killed_ten_times_every_row_is_done_once(
    project: Project, values: str, round_number: int
) -> None:
    make_people(project, 40_000, "id uuid PRIMARY KEY DEFAULT gen_random_uuid()")
    add_backfill(
        project,
        f'backfill("people", {values})',
        before="def fill(rows):\n    return {row.id: {'full_name': '', 'n': row.n + 1} for row in rows}\n",
    )
    killed_again_and_again(project, 10, random.Random(round_number))


# Runs one of PostgreSQL's programs as the development server is run: root may not.
PROGRAM = """
import os, sys
from devdb.binaries import programs
run = programs()
if run.user is not None:
    os.setgid(run.user)
    os.setuid(run.user)
command = run.command(*sys.argv[1:])
os.execvp(command[0], command)
"""


@contextmanager
def replica(project: Project) -> Iterator[Project]:
    """A streaming replica of the project's server."""
    folder = Path(tempfile.mkdtemp(prefix="copier-sqlmodel-replica-"))
    folder.chmod(0o777)
    port, data = str(free_port()), folder / "data"
    source = f"host=127.0.0.1 port={project.env['POSTGRES_PORT']} user=app"
    program = ("uv", "run", "python", "-c", PROGRAM)
    copied = project.run(
        *program,
        *("pg_basebackup", "-R", "-c", "fast", "-D", data, "-d", source),
        cwd=project.backend,
        PGPASSWORD=project.env["POSTGRES_PASSWORD"],
    )
    copied.ok()
    settings = (f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=")
    server = subprocess.Popen(
        [*program, "postgres", "-D", data, *(part for s in settings for part in ("-c", s))],
        cwd=project.backend,
        env=project.env,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(project, "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn > '0/0'", 1)
        yield Project(project.path, {**project.env, "POSTGRES_PORT": port})
    finally:
        for member in psutil.Process(server.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                member.kill()
        server.kill()
        server.wait()
        shutil.rmtree(folder)


@pytest.mark.faults
def test_it_waits_for_a_replica_that_is_behind(standalone: Callable[..., Project]) -> None:
    project = standalone()
    project.just("start").ok()
    project.just("db-upgrade").ok()
    port = (project.path / ".env").read_text().strip().partition("=")[2]
    password = (project.path / "secrets" / "postgres_password.txt").read_text().strip()
    address = {"HOST": "127.0.0.1", "PORT": port, "USER": "app", "DB": "book_club"}
    project.env |= {f"POSTGRES_{name}": value for name, value in address.items()}
    project.env["POSTGRES_PASSWORD"] = password
    make_people(project, 6000)
    execute(project, "UPDATE people SET last_name = repeat(md5(last_name), 30)")
    execute(project, "CREATE ROLE poor LOGIN PASSWORD 'x'; GRANT app TO poor")
    add_backfill(project, f'backfill("people", "{FILL}", max_lag_mb=1, max_batch_rows=200)')
    with replica(project) as other:
        refused = project.just("db-upgrade", POSTGRES_USER="poor", POSTGRES_PASSWORD="x")
        refused.refused("GRANT pg_read_all_stats TO poor")
        execute(other, "SELECT pg_wal_replay_pause()")
        with subprocess.Popen(
            ["just", "db-upgrade"], cwd=project.path, env=project.env, stderr=subprocess.PIPE
        ) as process:
            assert process.stderr
            said = b""
            while b"waiting for a replica" not in said:
                said = process.stderr.readline()
                assert said
            ((before,),) = execute(project, "SELECT count(*) FROM people WHERE n = 1")
            assert 0 < before < 6000
            execute(other, "SELECT pg_wal_replay_resume()")
            process.communicate(timeout=60)
        assert process.returncode == 0
        assert execute(project, ONCE) == [(6000, 6000, 1, 1)]


def test_a_backfill_that_makes_no_sense_is_refused(project: Project) -> None:
    make_people(project, 2500, key="id bigserial PRIMARY KEY")
    path = add_backfill(project, "pass")
    source = path.read_text()
    calls = {
        'backfill("people", "n = 1", max_batch_rows=0)': "max_batch_rows=0",
        'backfill("people", "n = 1", max_batch_rows=-5, pause_s=-1)': "pause_s=-1",
        'backfill("people", "n = 1", max_lag_mb=-1)': "max_lag_mb=-1",
        'backfill("people", "n = 1", deadline_s=0)': "deadline_s=0",
        'backfill("people", "id = id + 100000")': "primary key",
        'backfill("people", "n = 1, id = -id", where="n = 0")': "primary key",
        'backfill("people", lambda rows: {r.id: {"id": r.id + 1} for r in rows})': "primary key",
    }
    for call, says in calls.items():
        path.write_text(source.replace("    pass\n", f"    {call}\n", 1))
        upgrade(project).refused(says)
        assert execute(project, "SELECT min(id), max(id), max(n) FROM people") == [(1, 2500, 0)]
    path.write_text(source.replace("    pass\n", '    backfill("people", "id = id, n = 1")\n', 1))
    upgrade(project).ok()
