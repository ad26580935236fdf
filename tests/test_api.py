"""`just dev`: the API as a browser or a probe meets it."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from tests.conftest import Project, free_port

START_TIMEOUT_S = 30


def request(url: str, method: str = "GET", body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(
        url, data=data, method=method, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            status, text = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            status, text = error.code, error.read().decode()
    return status, json.loads(text) if text.startswith(("{", "[")) else text


@contextmanager
def serving(project: Project) -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen(
        ["just", "dev", "--port", str(port)],
        cwd=project.path,
        env=project.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        family = [
            psutil.Process(process.pid),
            *psutil.Process(process.pid).children(recursive=True),
        ]
        process.send_signal(signal.SIGINT)
        for member in family[1:]:
            member.send_signal(signal.SIGINT)
        _, alive = psutil.wait_procs(family, timeout=15)
        for member in alive:
            member.kill()
        process.wait()


def test_the_api_serves_roles_and_its_own_description(project: Project) -> None:
    with serving(project) as url:
        assert request(f"{url}/health/live") == (200, {"status": "ok"})
        status, page = request(f"{url}/docs")
        assert status == 200
        assert "Book Club" in page
        assert request(f"{url}/") == (200, page)
        # There is nothing in it that a browser would look for elsewhere.
        assert "//" not in re.sub("<!--.*?-->", "", page)
        for asset in re.findall('(?:src|href)="(.*?)"', page):
            with urllib.request.urlopen(url + asset, timeout=10) as answer:
                assert answer.status == 200
        assert "/api/v1/roles/{role_id}" in request(f"{url}/openapi.json")[1]["paths"]

        status, role = request(f"{url}/api/v1/roles", "POST", {"name": "editor"})
        assert status == 201
        role_url = f"{url}/api/v1/roles/{role['id']}"
        assert request(f"{url}/api/v1/roles", "POST", {"name": "editor"})[0] == 409
        assert request(role_url, "PATCH", {"description": "Edits."})[1]["description"] == "Edits."
        assert [found["id"] for found in request(f"{url}/api/v1/roles")[1]] == [role["id"]]
        assert request(role_url, "DELETE") == (204, "")
        assert request(role_url)[0] == 404


def test_ready_follows_the_database_s_revision(project: Project) -> None:
    with serving(project) as url:
        status, body = request(f"{url}/health/ready")
        assert (status, body["ready"]) == (200, True)
        project.just("db-downgrade", "base").ok()
        status, body = request(f"{url}/health/ready")
        assert status == 503
        assert (body["applied_revision"], body["expected_revision"]) == ([], ["572de137043f"])
        project.just("db-upgrade").ok()
        assert request(f"{url}/health/ready")[0] == 200


def test_the_api_starts_without_a_database_and_tells_it(
    generate: Callable[..., Project],
) -> None:
    project = generate()
    project.env["POSTGRES_PORT"] = str(free_port())
    with serving(project) as url:
        assert request(f"{url}/health/live")[0] == 200
        status, body = request(f"{url}/health/ready")
        assert (status, body["database"]) == (503, "unreachable")


def test_replicas_stay_ready_while_a_newer_release_migrates(
    project: Project, tmp_path: Path
) -> None:
    newer = replace(project, path=shutil.copytree(project.path, tmp_path / "newer", symlinks=True))
    newer.alembic("revision", "-m", "next").ok()
    with serving(project) as url:

        def readiness() -> tuple[int, list[str], str]:
            status, body = request(f"{url}/health/ready")
            return status, body["ahead"], body["detail"]

        newer.just("db-upgrade").ok()
        (newest,) = (newer.backend / "alembic" / "latest_revision.txt").read_text().split()
        ahead = (200, [newest], "The database is ahead of this code by 1 revision.")
        assert readiness() == ahead
        # One file in place of all: what replicas expect has none any more.
        start = "git init -q -b main && git add --all && git commit -qm Start"
        newer.run("bash", "-euc", start).ok()
        newer.just("db-squash").ok()
        newer.just("db-upgrade").ok()
        assert readiness() == ahead
        newer.just("db-downgrade", "base").ok()
        assert readiness()[:2] == (503, [])


def test_the_work_of_a_client_that_leaves_ends(project: Project) -> None:
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    project.env |= {"API_LOCK_TIMEOUT_S": "60", "API_STATEMENT_TIMEOUT_S": "60"}
    with serving(project) as url, project.connect() as connection:

        def wait_for(number: int) -> None:
            deadline = time.monotonic() + 10
            while connection.execute(waiting).fetchone() != (number,):
                assert time.monotonic() < deadline
                time.sleep(0.02)

        connection.execute("BEGIN")
        connection.execute("LOCK TABLE roles")
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        clients = [socket.create_connection(address) for _ in range(15)]
        for client in clients:
            client.sendall(b"GET /api/v1/roles HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_for(len(clients))
        for client in clients:
            client.close()
        wait_for(0)
        # The connections are free for other routes.
        assert request(f"{url}/api/v1/users/1/llm-settings") == (200, [])


def test_a_taken_port_is_named(project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        says = (f"Port {port} on 127.0.0.1 is taken", "API_PORT=")
        project.just("dev", API_PORT=str(port)).refused(*says)
        project.just("dev", "--port", str(port)).refused(*says)
