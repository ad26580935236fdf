"""A project rendered for measuring, with a database server of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import copier
import psycopg

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass
class Project:
    """A rendered project and the environment that its commands run in."""

    path: Path
    env: dict[str, str]

    @property
    def backend(self) -> Path:
        return self.path / "backend"

    def run(self, *command: str) -> float:
        """Runs a command and returns the seconds it took."""
        started = time.perf_counter()
        done = subprocess.run(command, cwd=self.backend, env=self.env, capture_output=True)
        seconds = time.perf_counter() - started
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr).decode()}")
        return seconds

    def connect(self, database: str = "bench") -> psycopg.Connection:
        password = (self.path / "secrets" / "postgres_password.txt").read_text().strip()
        return psycopg.connect(
            host="127.0.0.1",
            port=self.env["POSTGRES_PORT"],
            user="app",
            password=password,
            dbname=database,
            autocommit=True,
        )

    def execute(self, sql: str, database: str = "bench") -> list[tuple[Any, ...]]:
        with self.connect(database) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []


@contextmanager
def running_project() -> Iterator[Project]:
    """Renders a project and starts its server; both are gone afterwards."""
    base = Path(tempfile.mkdtemp(prefix="copier-sqlmodel-bench-"))
    path = base / "template"
    copier.run_copy(
        str(REPOSITORY),
        path,
        data={"project_name": "Bench", "llm_settings": False},
        defaults=True,
        unsafe=True,
        vcs_ref="HEAD",
        quiet=True,
        settings=copier.Settings(),
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    unwanted = ("PG", "POSTGRES_", "PYTHON", "VIRTUAL_ENV", "GIT_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    env |= {
        "PATH": f"{REPOSITORY / '.venv' / 'bin'}:{env['PATH']}",
        "UV_PROJECT_ENVIRONMENT": str(base / "venv"),
        "POSTGRES_PORT": port,
        "POSTGRES_DB": "bench",
        **{
            f"GIT_{who}_{what}": "bench@example.org"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
    }
    project = Project(path, env)
    project.run("just", "start")
    try:
        yield project
    finally:
        project.run("just", "stop")
        shutil.rmtree(base)


@contextmanager
def load(
    project: Project, requests: Mapping[str, str], pause_s: float
) -> Iterator[dict[str, float]]:
    """Sends each request over and over, in a session of its own.

    Args:
        pause_s: Between an answer and the next request.

    Yields:
        The seconds that the slowest one of each took so far.
    """
    slowest = dict.fromkeys(requests, 0.0)
    is_over = threading.Event()

    def send(name: str) -> None:
        with project.connect() as connection:
            connection.execute("SET synchronous_commit = off")
            while not is_over.wait(pause_s):
                started = time.perf_counter()
                connection.execute(requests[name].encode())
                slowest[name] = max(slowest[name], time.perf_counter() - started)

    with ThreadPoolExecutor(len(requests)) as pool:
        senders = [pool.submit(send, name) for name in requests]
        try:
            yield slowest
        finally:
            is_over.set()
    for sender in senders:
        sender.result()
