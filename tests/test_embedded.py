"""The embedded development server, with the faults that people meet."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import Project, Result


def port_of(project: Project) -> int:
    return int((project.path / ".env").read_text().partition("=")[2])


def postmaster(project: Project) -> int:
    return int((project.path / ".postgres" / "data" / "postmaster.pid").read_text().splitlines()[0])


def query(project: Project, sql: str) -> str:
    return project.just("db-shell", "-Atqc", sql).ok().out.strip()


def wait_until(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)


def in_parallel(*calls: Callable[[], Result]) -> list[Result]:
    results: list[Result] = []
    threads = [threading.Thread(target=lambda call=call: results.append(call())) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_start_status_stop(standalone: Callable[..., Project]) -> None:
    project = standalone()
    assert project.just("status").code != 0
    assert "18." in project.just("start").ok().out
    pid = postmaster(project)
    assert "accepts connections" in project.just("start").ok().out
    assert postmaster(project) == pid
    assert str(pid) in project.just("status").ok().out
    assert query(project, "SELECT current_user || ' ' || current_database()") == "app book_club"
    assert query(project, "SHOW listen_addresses") == "127.0.0.1"
    assert query(project, "SHOW unix_socket_directories") == ""
    assert query(project, "SHOW fsync") == "on"
    assert (
        query(
            project, "SELECT datlocprovider, datlocale FROM pg_database WHERE datname = 'book_club'"
        )
        == "b|C.UTF-8"
    )
    assert "Stopped" in project.just("stop").ok().out
    assert not psutil.pid_exists(pid)
    assert "not running" in project.just("stop").ok().out
    assert "shut down" in (project.path / ".postgres" / "server.log").read_text()
    project.just("start").ok()
    assert oct((project.path / ".postgres").stat().st_mode)[-3:] == "700"


def test_a_wrong_password_is_refused_also_from_this_machine(
    standalone: Callable[..., Project],
) -> None:
    project = standalone()
    project.just("start").ok()
    project.just("db-current", POSTGRES_PASSWORD="guess").refused("refuses the password")
    secret = project.path / "secrets" / "postgres_password.txt"
    value = secret.read_text()
    secret.write_text("another")
    project.just("start").refused("refuses the password", "just stop")
    secret.write_text(value)
    project.just("start").ok()


def test_rows_survive_stop_start_and_the_project_s_tests(
    standalone: Callable[..., Project],
) -> None:
    project = standalone()
    project.just("start").ok()
    project.just("db-upgrade").ok()
    query(project, "INSERT INTO roles (name) VALUES ('mine')")
    log = (project.path / ".postgres" / "server.log").read_text()
    # However the environment is set: everything here names the development database.
    project.just(
        "test",
        "-q",
        POSTGRES_HOST="127.0.0.1",
        POSTGRES_PORT=str(port_of(project)),
        POSTGRES_USER="app",
        POSTGRES_DB="book_club",
        POSTGRES_PASSWORD=(project.path / "secrets" / "postgres_password.txt").read_text().strip(),
        PGHOST="127.0.0.1",
        PGPORT=str(port_of(project)),
        PGDATABASE="book_club",
        DATABASE_URL="postgresql://app@127.0.0.1/book_club",
    ).ok()
    project.just("stop").ok()
    project.just("start").ok()
    assert query(project, "SELECT string_agg(name, ',') FROM roles") == "mine"
    assert query(
        project, "SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1"
    ).split() == ["book_club", "postgres"]
    assert (project.path / ".postgres" / "server.log").read_text().startswith(log)
    assert list((project.path / ".postgres" / "throwaway").iterdir()) == []


def test_the_project_s_tests_need_no_running_database(standalone: Callable[..., Project]) -> None:
    project = standalone()
    project.just("secrets").ok()
    assert "passed" in project.just("test", "-q").ok().out


@pytest.mark.parametrize(
    "folder",
    [
        "with blanks & 'quotes' $HOME `x` 100%d",
        pytest.param("long/" + "/".join(["x" * 40] * 4), marks=pytest.mark.faults),
        pytest.param("名前", marks=pytest.mark.faults),
    ],
)
def test_any_path_works(standalone: Callable[..., Project], folder: str) -> None:
    project = standalone(folder)
    project.just("start").ok()
    project.just("db-upgrade").ok()
    project.just("db-model", "Widget").ok()
    project.just("db-migrate").ok()
    project.just("db-upgrade").ok()
    if "%" not in folder:  # Alembic's own command trips over it while it reads alembic.ini
        assert "add table widget" in project.alembic("current", "--verbose").ok().out
    assert "passed" in project.just("test", "-q").ok().out
    project.just("stop").ok()


def test_two_at_once_start_one_server(standalone: Callable[..., Project]) -> None:
    project = standalone()
    project.just("setup").ok()
    for result in in_parallel(*[lambda: project.just("start")] * 4):
        result.ok()
    assert query(project, "SELECT 1") == "1"


def test_a_port_in_use_is_named_with_the_way_to_change_it(
    standalone: Callable[..., Project],
) -> None:
    project = standalone()
    port = port_of(project)
    with socket.create_server(("127.0.0.1", port)):
        project.just("start").refused(str(port), ".env", f"POSTGRES_PORT={port + 1}")
    project.just("start").ok()


def test_a_port_that_changes_while_the_server_runs(standalone: Callable[..., Project]) -> None:
    project = standalone()
    project.just("start").ok()
    port = port_of(project)
    project.just("start", POSTGRES_PORT=str(port + 1)).refused(str(port), "just stop")


def test_environment_variables_of_libpq_do_not_redirect(standalone: Callable[..., Project]) -> None:
    project = standalone()
    misleading: dict[str, Any] = {
        "PGHOST": "nowhere.invalid",
        "PGPORT": "1",
        "PGDATA": "/nowhere",
        "PGUSER": "nobody",
        "PGDATABASE": "nowhere",
        "PGPASSWORD": "wrong",
    }
    project.just("start", **misleading).ok()
    project.just("db-upgrade", **misleading).ok()
    assert project.just("db-shell", "-Atc", "SELECT 1", **misleading).ok().out == "1\n"


def test_other_settings_of_libpq_do_not_redirect(standalone: Callable[..., Project]) -> None:
    project = standalone()
    misleading: dict[str, Any] = {
        "PGHOSTADDR": "127.0.0.9",
        "PGOPTIONS": "-c search_path=nowhere",
        "PGSERVICE": "nowhere",
    }
    project.just("start", **misleading).ok()
    project.just("db-upgrade", **misleading).ok()
    assert "the newest" in project.just("db-current", **misleading).ok().out
    assert "passed" in project.just("test", "-q", PGSSLMODE="require", **misleading).ok().out


def test_a_server_whose_project_moved_is_still_its_server(
    standalone: Callable[..., Project],
) -> None:
    project = standalone()
    project.just("start").ok()
    pid = postmaster(project)
    moved = project.path.with_name("moved")
    project.path.rename(moved)
    project.path = moved
    assert str(pid) in project.just("status").ok().out
    assert "Stopped" in project.just("stop").ok().out
    project.just("start").ok()


def test_a_shell_in_the_data_folder_is_not_taken_for_the_server(
    standalone: Callable[..., Project],
) -> None:
    project = standalone()
    project.just("start").ok()
    project.just("stop").ok()
    shell = subprocess.Popen(["sleep", "600"], cwd=project.path / ".postgres" / "data")
    try:
        project.just("start").ok()
        assert shell.poll() is None
    finally:
        shell.kill()
        shell.wait()


def test_a_foreign_host_is_not_started_here(standalone: Callable[..., Project]) -> None:
    project = standalone()
    project.just("start", POSTGRES_HOST="db.invalid").refused("db.invalid", "POSTGRES_HOST")


def test_psql_without_a_server_says_how_to_start_it(standalone: Callable[..., Project]) -> None:
    project = standalone()
    project.just("setup").ok()
    project.just("db-shell", "-c", "SELECT 1").refused("just start")


def test_start_recovers_from_a_killed_server(standalone: Callable[..., Project]) -> None:
    project = standalone()
    project.just("start").ok()
    project.just("db-upgrade").ok()
    query(project, "INSERT INTO roles (name) VALUES ('kept')")
    os.kill(postmaster(project), signal.SIGKILL)
    project.just("start").ok()
    assert query(project, "SELECT name FROM roles") == "kept"


def test_a_pid_that_another_program_got_since_does_not_confuse(
    standalone: Callable[..., Project], other_program: subprocess.Popen[bytes]
) -> None:
    project = standalone()
    project.just("start").ok()
    project.just("stop").ok()
    stale = f"{other_program.pid}\n{project.path}/.postgres/data\n1\n{port_of(project)}\n\n127.0.0.1\n1 1\nready\n"
    project.write(".postgres/data/postmaster.pid", stale)
    assert project.just("status").code != 0
    assert "not running" in project.just("stop").ok().out
    project.just("start").ok()
    assert other_program.poll() is None


@pytest.fixture
def other_program() -> Iterator[subprocess.Popen[bytes]]:
    # As long as the interpreter is the test's child and its own group, the signal reaches only it.
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def start_and_kill_after(project: Project, seconds: float) -> None:
    """Kills `just start` with everything below it, as a closed terminal or a power cut would."""
    process = subprocess.Popen(
        ["just", "start"],
        cwd=project.path,
        env=project.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    family = [psutil.Process(process.pid)] if process.poll() is None else []
    family += family[0].children(recursive=True) if family else []
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()


def test_an_interrupted_first_start_leaves_nothing_half_made(
    standalone: Callable[..., Project],
) -> None:
    project = standalone()
    project.just("setup").ok()
    half_made = project.path / ".postgres" / "data.new"

    def kill_during_initdb() -> None:
        wait_until(lambda: (half_made / "base").exists())
        for process in psutil.process_iter():
            try:
                if str(half_made) in " ".join(process.cmdline()):
                    process.kill()
            except psutil.Error:
                continue

    killer = threading.Thread(target=kill_during_initdb)
    killer.start()
    project.just("start").refused("initdb failed")
    killer.join()
    assert not (project.path / ".postgres" / "data").exists()
    project.just("start").ok()
    project.just("db-upgrade").ok()
    assert not half_made.exists()


def test_a_killed_test_run_is_cleaned_up_by_the_next(standalone: Callable[..., Project]) -> None:
    project = standalone()
    project.just("secrets").ok()
    throwaway = project.path / ".postgres" / "throwaway"
    process = subprocess.Popen(
        ["uv", "run", "pytest", "-q"],
        cwd=project.backend,
        env=project.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: any(throwaway.glob("*/data/global/pg_control")))
    wait_until(lambda: any(throwaway.glob("*/data/postmaster.pid")))
    for member in [
        psutil.Process(process.pid),
        *psutil.Process(process.pid).children(recursive=True),
    ]:
        with contextlib.suppress(psutil.NoSuchProcess):  # some end by themselves meanwhile
            if member.name() != "postgres":
                member.kill()
    process.wait()
    (abandoned,) = throwaway.glob("*/data/postmaster.pid")
    pid = int(abandoned.read_text().splitlines()[0])
    project.just("test", "-q").ok()
    assert list(throwaway.iterdir()) == []
    wait_until(lambda: not psutil.pid_exists(pid))


def test_missing_binaries_name_the_alternatives(
    standalone: Callable[..., Project], tmp_path: Path
) -> None:
    project = standalone()
    refused = project.just("start", POSTGRES_BIN_DIR=str(tmp_path))
    refused.refused(
        str(tmp_path), "dev_database=docker", "dev_database=external", "POSTGRES_BIN_DIR"
    )
    assert not (project.path / ".postgres" / "data").exists()


def test_root_without_user_namespaces(standalone: Callable[..., Project], tmp_path: Path) -> None:
    """As in a container that forbids them: unshare fails, the project's folder is closed."""
    if os.geteuid() != 0:
        return  # an ordinary user needs no namespace: test_start_status_stop is this test
    tmp_path.chmod(0o700)
    decoys = tmp_path / "no-namespaces"
    decoys.mkdir()
    (decoys / "unshare").write_text("#!/bin/sh\necho 'Operation not permitted' >&2\nexit 1\n")
    (decoys / "unshare").chmod(0o755)
    project = standalone()
    project.env["PATH"] = f"{decoys}:{project.env['PATH']}"
    project.just("start").ok()
    owner = psutil.Process(postmaster(project)).username()
    assert owner == "nobody"
    project.just("db-upgrade").ok()
    os.kill(postmaster(project), signal.SIGKILL)
    project.just("start").ok()
    assert query(project, "SELECT count(*) FROM roles") == "0"
    assert "passed" in project.just("test", "-q").ok().out
    project.just("stop").ok()
    real = (project.path / ".postgres" / "data").resolve()
    assert real.is_relative_to("/var/lib/embedded-postgres")
    subprocess.run(["rm", "-rf", real], check=True)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(int(os.environ.get("FAULT_ROUNDS", "15"))))
def test_just_start_killed_at_any_moment_leaves_a_database_that_starts(
    standalone: Callable[..., Project], seed: int
) -> None:
    project = standalone()
    project.just("setup").ok()
    chance = random.Random(seed)
    for _ in range(4):
        start_and_kill_after(project, chance.uniform(0.2, 3.0))
        data = project.path / ".postgres" / "data"
        assert not data.exists() or (data / "global" / "pg_control").exists()
    project.just("start").ok()
    project.just("db-upgrade").ok()
    query(project, "INSERT INTO roles (name) VALUES ('kept')")
    os.kill(postmaster(project), signal.SIGKILL)
    start_and_kill_after(project, chance.uniform(0.2, 2.0))
    project.just("start").ok()
    assert query(project, "SELECT name FROM roles") == "kept"


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(int(os.environ.get("FAULT_ROUNDS", "15"))))
def test_many_starts_and_stops_at_once_end_in_order(
    standalone: Callable[..., Project], seed: int
) -> None:
    project = standalone()
    project.just("setup").ok()
    chance = random.Random(seed)
    calls = [chance.choice(["start", "start", "stop"]) for _ in range(8)]
    for result in in_parallel(*[lambda call=call: project.just(call) for call in calls]):
        # A start's last check may meet a stop; nothing else may go wrong.
        assert (
            result.code == 0 or "No database answers" in result.text or "terminating" in result.text
        ), result.text
    project.just("start").ok()
    assert query(project, "SELECT 1") == "1"
