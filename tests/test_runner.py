"""One migrator at a time, lock timeouts with retries, and what is told of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import Project, free_port
from tests.test_history import revision

HOLD = "SELECT pg_advisory_lock(hashtextextended('migration of ' || current_database(), 0))"


def add_revision(project: Project, upgrade: str, downgrade: str = "pass") -> Path:
    """A revision with these statements of Python in its two functions."""
    before = project.revisions()
    project.alembic("revision", "-m", "by hand").ok()
    (path,) = project.revisions() - before
    up, down = path.read_text().split("def downgrade")
    up, down = up.replace("pass", upgrade), down.replace("pass", downgrade)
    path.write_text(f"{up}def downgrade{down}")
    return path


def sql(statement: str) -> str:
    return f'op.execute("{statement}")'


def start(project: Project, *arguments: str, **env: str) -> subprocess.Popen[str]:
    """Starts a command of app.migrate itself, so that a signal reaches it and nothing else."""
    return subprocess.Popen(
        [f"{project.env['UV_PROJECT_ENVIRONMENT']}/bin/python", "-m", "app.migrate", *arguments],
        cwd=project.backend,
        env={**project.env, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """What a process says, up to the line that has the text."""
    assert process.stdout is not None
    said = ""
    while text not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    return said


def wait_for(condition: Callable[[], Any], timeout_s: float = 30) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)
    return found


def count(connection: psycopg.Connection, query: str) -> int:
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def migrators(project: Project, condition: str = "true") -> str:
    """A query for the number of migrators on the project's database."""
    return (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'migrate%@%' "
        f"AND datname = '{project.env['POSTGRES_DB']}' AND {condition}"
    )


@contextmanager
def transaction(project: Project, statement: str) -> Iterator[psycopg.Connection]:
    """Somebody's open transaction, idle after one statement."""
    with project.connect(autocommit=False, application_name="reporting") as connection:
        connection.execute(statement)
        yield connection


def test_upgrades_at_once_apply_each_revision_once(generate: Callable[..., Project]) -> None:
    project = generate()
    slow = add_revision(project, sql("SELECT pg_sleep(1); CREATE TABLE slow (id int)"))
    running = [start(project, "upgrade", "head") for _ in range(4)]
    outputs = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0, 0], outputs
    with project.connect() as connection:
        rows = connection.execute("SELECT revision, count(*) FROM migration_ledger GROUP BY 1")
        assert dict(rows.fetchall()) == {"572de137043f": 1, revision(slow): 1}
    assert sum("waits for another migration" in output for output in outputs) >= 1


def test_who_is_migrating_is_told_when_the_wait_is_over(project: Project) -> None:
    add_revision(project, sql("CREATE TABLE t (id int)"))
    with project.connect(application_name="migrate eve@elsewhere") as holder:
        holder.execute(HOLD)
        pid = holder.info.backend_pid
        refused = project.just("db-upgrade", MIGRATION_WAIT_S="1")
        refused.refused(f"pid {pid} (migrate eve@elsewhere", "MIGRATION_WAIT_S", "Nothing was run")
        plain = project.alembic("upgrade", "head", MIGRATION_WAIT_S="0")
        assert plain.code != 0
        assert f"pid {pid}" in plain.text
        assert count(holder, "SELECT count(*) FROM migration_ledger") == 1


def test_an_upgrade_with_nothing_to_do_never_queues(project: Project) -> None:
    with project.connect() as holder:
        holder.execute(HOLD)
        assert "Nothing to apply" in project.just("db-upgrade", MIGRATION_WAIT_S="0").ok().out
        project.alembic("upgrade", "head", MIGRATION_WAIT_S="0").ok()
        project.just("db-downgrade", MIGRATION_WAIT_S="0").refused("Another migration")


def test_a_killed_migrator_gives_the_lock_back(project: Project) -> None:
    path = add_revision(project, sql("SELECT pg_sleep(60)"))
    killed = start(project, "upgrade")
    with project.connect() as observer:
        wait_for(lambda: count(observer, migrators(project, "query LIKE '%pg_sleep%'")))
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        path.write_text(path.read_text().replace("pg_sleep(60)", "1"))
        # Its statement would go on for a minute if nobody noticed.
        project.just("db-upgrade", MIGRATION_WAIT_S="20").ok()
        assert count(observer, "SELECT count(*) FROM migration_ledger") == 2


def test_traffic_goes_on_while_a_migration_waits_for_a_lock(project: Project) -> None:
    path = add_revision(project, sql("ALTER TABLE users ADD COLUMN nick text"))
    reader = transaction(project, "SELECT count(*) FROM users")
    with reader as reading, project.connect(options="-c lock_timeout=5s") as traffic:
        pid = reading.info.backend_pid
        upgrade = start(project, "upgrade")
        said = read_until(upgrade, "waits for a lock")
        traffic.execute("SELECT count(*) FROM users")
        assert upgrade.stdout is not None
        assert f"pid {pid} (reporting" in said + upgrade.stdout.readline()
        traffic.execute("UPDATE users SET first_name = 'Ada'")
        assert upgrade.poll() is None
        reading.rollback()
        said = upgrade.communicate(timeout=30)[0]
        assert upgrade.returncode == 0, said
        assert re.search(r"done in [\d.]+ s, \d+ tries", said)
        assert count(traffic, "SELECT count(*) FROM migration_ledger") == 2
    assert revision(path) in said


def test_a_lock_that_never_comes_ends_with_who_has_it(project: Project) -> None:
    first = add_revision(project, sql("CREATE TABLE one (id int)"))
    second = add_revision(project, sql("ALTER TABLE users ADD COLUMN nick text"))
    with transaction(project, "SELECT 'secret value' FROM users") as reading:
        pid = reading.info.backend_pid
        refused = project.just("db-upgrade", MIGRATION_WAIT_S="1")
        refused.refused(
            f"pid {pid} (reporting",
            "idle in transaction",
            f"Revision {revision(second)} got no lock in 1 s",
            f"pg_terminate_backend({pid})",
        )
        assert "Correct the file" not in refused.text
    assert revision(first) in project.just("db-current").ok().out
    project.just("db-upgrade").ok()


def test_the_lock_timeout_can_be_set(project: Project) -> None:
    add_revision(project, sql("CREATE TABLE told AS SELECT current_setting('lock_timeout') AS it"))
    project.just("db-upgrade", MIGRATION_LOCK_TIMEOUT_MS="2500").ok()
    with project.connect() as connection:
        assert connection.execute("SELECT it FROM told").fetchone() == ("2500ms",)
    project.just("db-downgrade", MIGRATION_LOCK_TIMEOUT_MS="0").refused("MIGRATION_LOCK_TIMEOUT_MS")


def test_what_has_committed_something_is_not_run_again(project: Project) -> None:
    lines = [
        sql("CREATE TABLE kept (id int)"),
        "with op.get_context().autocommit_block():",
        "    " + sql("SELECT 1"),
        sql("ALTER TABLE users ADD COLUMN nick text"),
    ]
    add_revision(project, "\n    ".join(lines))
    with transaction(project, "SELECT 1 FROM users"):
        project.just("db-upgrade").refused("lock timeout", "What it had committed stays")


def test_a_step_outside_a_transaction_waits_for_its_lock_too(project: Project) -> None:
    path = add_revision(project, 'create_check_constraint("ck_x", "users", "id > 0")')
    use = "from app.migrate.operations import create_check_constraint\nfrom alembic import op"
    path.write_text(path.read_text().replace("from alembic import op", use))
    with transaction(project, "SELECT 1 FROM users") as reading:
        upgrade = start(project, "upgrade")
        read_until(upgrade, "waits for a lock")
        reading.rollback()
        said = upgrade.communicate(timeout=30)[0]
        assert upgrade.returncode == 0, said


def test_going_back_by_number_goes_no_further_after_a_wait(project: Project) -> None:
    add_revision(project, "pass")
    locked = add_revision(project, "pass", sql("ALTER TABLE users ADD COLUMN nick text"))
    add_revision(project, "pass")
    project.just("db-upgrade").ok()
    with transaction(project, "SELECT 1 FROM users"):
        project.just("db-downgrade", "-2").refused("lock timeout", revision(locked))
    assert revision(locked) in project.just("db-current").ok().out
    project.just("db-downgrade", "-2").ok()


def test_machines_read_lines_of_json(project: Project) -> None:
    # Nothing that revisions print comes between, and they may ask for what plain Alembic has.
    asks = "from alembic import context; assert context.get_x_argument() == []"
    noise = f"print('noise'); import os; os.system('echo more noise'); {asks}"
    first = add_revision(project, f"{noise}; {sql('CREATE TABLE one (id int)')}")
    second = add_revision(project, sql("CREATE TABLE two (id int)"), sql("DROP TABLE two"))
    answer = project.just("db-upgrade", "--json").ok()
    events = [json.loads(line) for line in answer.out.splitlines()]
    assert [(event["event"], event["revision"]) for event in events] == [
        ("started", revision(first)),
        ("finished", revision(first)),
        ("started", revision(second)),
        ("finished", revision(second)),
        ("summary", revision(second)),
    ]
    assert events[-1]["done"] == [revision(first), revision(second)]
    again = json.loads(project.just("db-upgrade", "--json").ok().out)
    assert (again["event"], again["done"]) == ("summary", [])
    with transaction(project, "SELECT 1 FROM two") as reading:
        answer = project.just("db-downgrade", "--json", MIGRATION_WAIT_S="1")
        assert answer.code == 1
        events = [json.loads(line) for line in answer.out.splitlines()]
        pid = reading.info.backend_pid
    assert [event["event"] for event in events] == ["started", "waiting", "waiting", "error"]
    assert [session["pid"] for session in events[2]["blockers"]] == [pid]
    assert str(pid) in events[3]["message"]


def imported(project: Project) -> set[str]:
    """The packages that an upgrade imports."""
    python = f"{project.env['UV_PROJECT_ENVIRONMENT']}/bin/python"
    answer = project.run(
        python, "-X", "importtime", "-m", "app.migrate", "upgrade", cwd=project.backend
    ).ok()
    return set(re.findall(r"\|\s+(\w+)", answer.err))


def test_an_upgrade_with_nothing_to_do_imports_next_to_nothing(project: Project) -> None:
    heavy = {"alembic", "sqlalchemy", "sqlmodel", "pydantic"}
    assert not imported(project) & heavy
    project.write("secrets/postgres_password.txt", project.env.pop("POSTGRES_PASSWORD"))
    project.write(".env", f"POSTGRES_DB='{project.env.pop('POSTGRES_DB')}' # mine\n")
    assert not imported(project) & heavy


def test_the_quick_look_misses_nothing(project: Project) -> None:
    path = add_revision(project, sql("CREATE TABLE one (id int)"), sql("DROP TABLE one"))
    assert "Applied 1 revision" in project.just("db-upgrade").ok().out
    assert "Nothing to apply" in project.just("db-upgrade").ok().out
    project.just("db-downgrade").ok()
    assert "Applied 1 revision" in project.just("db-upgrade").ok().out
    source = path.read_text()
    path.write_text(source + "# edited\n")
    project.just("db-upgrade").refused("was edited", path.name)
    path.rename(path.with_suffix(".away"))
    project.just("db-upgrade").refused("no file")
    path.with_suffix(".away").rename(path)
    path.write_text(source)
    with project.connect() as connection:
        connection.execute("INSERT INTO alembic_version VALUES ('0123456789ab')")
        project.just("db-upgrade").refused("0123456789ab")
        connection.execute("DROP TABLE alembic_version")
    project.just("db-upgrade").refused()


@pytest.mark.faults
@pytest.mark.parametrize("round_", range(int(os.environ.get("FAULT_ROUNDS", "6"))))
def test_sixteen_upgrades_at_once(generate: Callable[..., Project], round_: int) -> None:
    project = generate()
    if round_ % 2:
        add_revision(project, sql("SELECT pg_sleep(3); CREATE TABLE slow (id int)"))
    running = [start(project, "upgrade") for _ in range(16)]
    outputs = [process.communicate(timeout=300)[0] for process in running]
    assert {process.returncode for process in running} == {0}, outputs
    with project.connect() as connection:
        again = "SELECT count(*) FROM migration_ledger GROUP BY revision HAVING count(*) > 1"
        assert connection.execute(again).fetchall() == []


@pytest.fixture
def pooler(project: Project, tmp_path: Path) -> Iterator[Callable[..., dict[str, Any]]]:
    """Starts Debian's PgBouncer in front of the project's database; gives its address."""
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")
    assert program, "this test needs the Debian package pgbouncer"
    running: list[subprocess.Popen[bytes]] = []
    folder = Path(tempfile.mkdtemp(prefix="copier-sqlmodel-pooler-"))

    def begin(mode: str, *settings: str) -> dict[str, Any]:
        port = str(free_port())
        env = project.env
        (folder / "users").write_text(f'"{env["POSTGRES_USER"]}" "{env["POSTGRES_PASSWORD"]}"\n')
        (folder / "settings").write_text(
            f"[databases]\n* = host={env['POSTGRES_HOST']} port={env['POSTGRES_PORT']}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {folder}/users\npool_mode = {mode}\n"
            + "".join(f"{line}\n" for line in settings)
        )
        prefix = []
        if os.geteuid() == 0:  # which it refuses to run as
            prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
            for path in (folder, *folder.iterdir()):
                os.chown(path, 65534, 65534)
        command = [*prefix, program, "-q", str(folder / "settings")]
        running.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))

        def answers() -> bool:
            with suppress(psycopg.OperationalError), project.connect(port=port):
                return True
            return False

        wait_for(answers)
        return {"POSTGRES_PORT": port}

    yield begin
    for process in running:
        process.kill()
        process.wait()
    shutil.rmtree(folder)


@pytest.mark.faults
def test_a_pooler_is_refused_for_the_direct_address(
    project: Project, pooler: Callable[..., dict[str, Any]]
) -> None:
    add_revision(project, sql("CREATE TABLE one (id int)"))
    says = ("pooler", "POSTGRES_MIGRATION_HOST")
    project.just("db-upgrade", **pooler("transaction")).refused(*says)
    address = pooler("transaction", "ignore_startup_parameters = options")
    project.just("db-upgrade", **address).refused(*says)
    address["POSTGRES_MIGRATION_PORT"] = project.env["POSTGRES_PORT"]
    project.just("db-upgrade", **address).ok()
    assert "Nothing to apply" in project.just("db-upgrade", **address).ok().out
