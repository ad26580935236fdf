"""Fixtures: rendered projects that share one virtual environment and one database server.

The server and the environment are made once, before xdist starts its workers, with the code of a
rendered project. `shared` tells where they are.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Protocol

import copier
import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal
from pytest_copie.plugin import Copie

from tests import quick

REPOSITORY = Path(__file__).resolve().parents[1]
pytest_plugins = ["tests.living"]
# Whatever of PostgreSQL this machine has must never be used.
POSTGRES_PROGRAMS = ("initdb", "pg_ctl", "postgres", "psql", "pg_dump", "pg_restore", "createdb")

_shared_key = pytest.StashKey[dict[str, str]]()
_numbers = count(1)


@dataclass(frozen=True)
class Result:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err

    def ok(self) -> Result:
        assert self.code == 0, self.text
        return self

    def refused(self, *parts: str) -> Result:
        """Asserts a refusal in the house's form: exit code 1, a message, no traceback."""
        assert self.code == 1, self.text
        assert "Traceback" not in self.text, self.text
        for part in parts:
            assert part in self.text, self.text
        return self


@dataclass
class Project:
    """A rendered project and the environment that its commands run in."""

    path: Path
    env: dict[str, str] = field(default_factory=dict)
    shared_password: str = ""
    shared_environment: str = ""
    # Forks of a Python that has imported the libraries, where that makes no difference.
    quick: ClassVar[bool] = True

    @property
    def backend(self) -> Path:
        return self.path / "backend"

    @property
    def versions(self) -> Path:
        return self.backend / "alembic" / "versions"

    def run(
        self,
        *command: str | Path,
        cwd: Path | None = None,
        input: str | None = None,
        timeout: float = 120,
        **env: Any,
    ) -> Result:
        words = [str(part) for part in command]
        environment = {**self.env, **env}
        argv = self.quick and cwd in {None, self.backend} and self._python(words, environment)
        if argv:
            return Result(*quick.run(environment, self.backend, argv, input or "", timeout))
        done = subprocess.run(
            words,
            cwd=cwd or self.path,
            env=environment,
            input=input if input is not None else "",
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def _python(self, words: list[str], environment: dict[str, str]) -> list[str] | None:
        return quick.behind(words, environment, self.backend, self.shared_environment)

    def just(self, *arguments: str, cwd: Path | None = None, **env: Any) -> Result:
        return self.run("just", *arguments, cwd=cwd, **env)

    def migrate(self, *arguments: str) -> Result:
        """`just db-migrate`; accepts what it finds unsafe, as its message says."""
        return accept(self, self.just("db-migrate", *arguments)).ok()

    def alembic(self, *arguments: str, **env: Any) -> Result:
        return self.run("uv", "run", "alembic", *arguments, cwd=self.backend, **env)

    def python(self, code: str) -> Result:
        return self.run("uv", "run", "python", "-c", code, cwd=self.backend)

    def write(self, path: str, text: str) -> Path:
        file = self.path / path
        file.write_text(text, encoding="utf-8")
        return file

    def replace(self, path: str, old: str, new: str) -> None:
        text = (self.path / path).read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {path}"
        self.write(path, text.replace(old, new, 1))

    def revisions(self) -> set[Path]:
        return set(self.versions.glob("*.py"))

    def connect(self, **other: Any) -> psycopg.Connection:
        """A connection to the database that the project's settings name in the environment."""
        return psycopg.connect(
            **{
                "host": self.env["POSTGRES_HOST"],
                "port": self.env["POSTGRES_PORT"],
                "user": self.env["POSTGRES_USER"],
                "password": self.env["POSTGRES_PASSWORD"],
                "dbname": self.env["POSTGRES_DB"],
                "autocommit": True,
                **other,
            }
        )


def accept(project: Project, refused: Result) -> Result:
    """Pastes the lines of a refusal by the linter into the files, with a reason; else does nothing."""
    named = re.findall(r"is fine into (\S+), beside down_revision:\n +(accepted = .*)", refused.err)
    for file, empty in named:
        path = project.versions / file
        line = empty.replace(': ""', ': "There is no release yet."')
        text = path.read_text().replace("\n\n\ndef upgrade", f"\n{line}\n\n\ndef upgrade", 1)
        path.write_text(text)
    return Result(0, refused.out, "") if named else refused


def shadow_prefix(database: str) -> str:
    """What the names of a database's shadow databases begin with."""
    number = hashlib.sha256(f"shadow of {database}".encode()).hexdigest()[:6]
    return f"{database[:34]}_shadow_{number}_"


def mark_database(connection: psycopg.Connection, database: str) -> None:
    """Marks a development database, as `just start` does."""
    row = connection.execute(
        "SELECT oid, (SELECT system_identifier FROM pg_control_system()) FROM pg_database"
        " WHERE datname = %s",
        [database],
    ).fetchone()
    assert row is not None
    line = f"liveschema.development {row[0]} {row[1]}"
    comment = SQL("COMMENT ON DATABASE {} IS {}").format(Identifier(database), Literal(line))
    connection.execute(comment)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def render(destination: Path, **answers: Any) -> Path:
    """Renders the working tree with the given answers and the defaults."""
    copier.run_copy(
        str(REPOSITORY),
        destination,
        data={"project_name": "Book Club", **answers},
        defaults=True,
        unsafe=True,
        vcs_ref="HEAD",
        quiet=True,
        settings=copier.Settings(),
    )
    return destination


def clean_environment(home: Path) -> dict[str, str]:
    """The environment of a user's machine: no PostgreSQL, no active environment, own home."""
    decoys = home / "decoys"
    decoys.mkdir(parents=True)
    for program in POSTGRES_PROGRAMS:
        decoy = decoys / program
        decoy.write_text(f"#!/bin/sh\necho 'the {program} on PATH was used' >&2\nexit 97\n")
        decoy.chmod(0o755)
    tools = home / "tools"
    tools.mkdir()
    for tool in ("just", "uv"):
        found = shutil.which(tool, path=str(Path(sys.executable).parent))
        assert found, f"{tool} is missing in the repository's environment"
        (tools / tool).symlink_to(found)
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in {"LANG", "TERM", "PIP_CERT", "REQUESTS_CA_BUNDLE"}
        or name.startswith(("SSL_CERT_", "UV_", "PIP_INDEX", "PIP_EXTRA"))
    }
    uv_cache = subprocess.run(
        [tools / "uv", "cache", "dir"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return {
        **kept,
        "HOME": str(home),
        "PATH": f"{decoys}:{tools}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "UV_CACHE_DIR": uv_cache,
        "UV_PYTHON": str(Path(sys.executable).resolve()),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.org",
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_COMMITTER_EMAIL": "ada@example.org",
    }


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With FAULT_ROUNDS, every fifth case of the long fault tests: a different one for each release."""
    if "FAULT_ROUNDS" not in os.environ:
        return
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("faults"):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    left_out = {
        item for alike in cases.values() if len(alike) > 10 for item in set(alike) - set(alike[::5])
    }
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


def pytest_sessionstart(session: pytest.Session) -> None:
    config = session.config
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    base = Path(tempfile.mkdtemp(prefix="copier-sqlmodel-"))
    env = clean_environment(base / "home")
    env["UV_PROJECT_ENVIRONMENT"] = str(base / "venv")
    project = Project(render(base / "project"), env)
    port = str(free_port())
    project.just("start", POSTGRES_PORT=port).ok()
    password = (project.path / "secrets" / "postgres_password.txt").read_text().strip()
    # The shared server holds nothing of value; the tests of durability run servers of their own.
    settings = ("fsync = off", "synchronous_commit = off", "full_page_writes = off")
    for setting in (*settings, "autovacuum = off"):
        project.just("db-shell", "-qc", f"ALTER SYSTEM SET {setting}", POSTGRES_PORT=port).ok()
    project.just("db-shell", "-qc", "SELECT pg_reload_conf()", POSTGRES_PORT=port).ok()
    config.stash[_shared_key] = {
        "base": str(base),
        "port": port,
        "password": password,
        "env": json.dumps(env),
    }


def pytest_configure_node(node: Any) -> None:
    """A hook of xdist: hands the controller's resources to a worker."""
    node.workerinput["shared"] = node.config.stash[_shared_key]


def pytest_sessionfinish(session: pytest.Session) -> None:
    shared = session.config.stash.get(_shared_key, None)
    if shared is None or hasattr(session.config, "workerinput"):
        return
    base = Path(shared["base"])
    Project(base / "project", json.loads(shared["env"])).just("stop").ok()
    shutil.rmtree(base)


@pytest.fixture(scope="session")
def shared(request: pytest.FixtureRequest) -> dict[str, str]:
    workerinput = getattr(request.config, "workerinput", None)
    found: dict[str, str] = (
        workerinput["shared"] if workerinput else request.config.stash[_shared_key]
    )
    return found


@pytest.fixture(scope="session")
def base_environment(shared: dict[str, str]) -> dict[str, str]:
    """The environment of a user's machine, with the shared virtual environment installed."""
    env: dict[str, str] = json.loads(shared["env"])
    return env


class Home(Protocol):
    """Gives a folder a database of its own: an empty one, or both as another project has them."""

    def __call__(self, path: Path, like: Project | None = None) -> Project: ...


@contextmanager
def homes(base_environment: dict[str, str], shared: dict[str, str]) -> Iterator[Home]:
    """Homes on the shared server, until the end."""
    made: list[str] = []
    server = Project(
        Path(shared["base"]),
        {
            **base_environment,
            "POSTGRES_HOST": "127.0.0.1",
            "POSTGRES_PORT": shared["port"],
            "POSTGRES_USER": "app",
            "POSTGRES_PASSWORD": shared["password"],
            "POSTGRES_DB": "postgres",
        },
        shared["password"],
        base_environment["UV_PROJECT_ENVIRONMENT"],
    )

    def make(path: Path, like: Project | None = None) -> Project:
        database = f"p{os.getpid()}_{next(_numbers)}"
        sources = {database: "template1"}
        with server.connect() as connection:
            if like:
                shutil.copytree(like.path, path, symlinks=True, dirs_exist_ok=True)
                old = like.env["POSTGRES_DB"]
                rows = connection.execute(
                    "SELECT datname FROM pg_database WHERE starts_with(datname, %s)",
                    [shadow_prefix(old)],
                )
                shadows = {
                    name.replace(shadow_prefix(old), shadow_prefix(database)): name
                    for (name,) in rows
                }
                sources = {database: old, **shadows}
            for name, source in sources.items():
                create = SQL("CREATE DATABASE {} TEMPLATE {}")
                connection.execute(create.format(Identifier(name), Identifier(source)))
            mark_database(connection, database)
        made.append(database)
        return replace(server, path=path, env={**server.env, "POSTGRES_DB": database})

    yield make
    with server.connect() as connection:
        for name in made:
            drop = SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name))
            connection.execute(drop)


@pytest.fixture
def as_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command runs as users type it, by `just` and uv."""
    monkeypatch.setattr(Project, "quick", False)


@pytest.fixture
def at_home(base_environment: dict[str, str], shared: dict[str, str]) -> Iterator[Home]:
    with homes(base_environment, shared) as make:
        yield make


@pytest.fixture(scope="session")
def at_home_for_all(base_environment: dict[str, str], shared: dict[str, str]) -> Iterator[Home]:
    """For what is made once to be copied: Python has compiled it, a shadow database is there."""
    with homes(base_environment, shared) as make:
        yield make


@pytest.fixture(scope="session")
def rendered_once(copie_session: Copie) -> Callable[[str], Path]:
    """Renders a project once for the same answers, which it gets as JSON."""

    @cache
    def make(answers: str) -> Path:
        result = copie_session.copy(
            extra_answers={"project_name": "Book Club", **json.loads(answers)}
        )
        assert result.exception is None, result.exception
        assert result.project_dir is not None
        return result.project_dir

    return make


@pytest.fixture
def generate(
    rendered_once: Callable[[str], Path], at_home: Home, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Project]:
    """A rendered project that uses the shared server, with an empty database of its own."""

    def make(**answers: Any) -> Project:
        rendered = rendered_once(json.dumps(answers, sort_keys=True))
        folder = tmp_path_factory.mktemp("generated") / "project"
        return at_home(shutil.copytree(rendered, folder, symlinks=True))

    return make


@pytest.fixture(scope="session")
def upgraded(
    rendered_once: Callable[[str], Path],
    at_home_for_all: Home,
    tmp_path_factory: pytest.TempPathFactory,
) -> Project:
    folder = tmp_path_factory.mktemp("upgraded") / "project"
    made = at_home_for_all(shutil.copytree(rendered_once("{}"), folder, symlinks=True))
    made.just("db-upgrade").ok()
    made.just("db-migrate").ok()
    return made


@pytest.fixture
def project(upgraded: Project, at_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with the default answers on the shared server, at the newest revision."""
    return at_home(tmp_path_factory.mktemp("project") / "project", like=upgraded)


@pytest.fixture
def standalone(
    tmp_path: Path, base_environment: dict[str, str]
) -> Iterator[Callable[..., Project]]:
    """Renders a project that runs an embedded server of its own, stopped after the test."""
    made: list[Project] = []

    def make(folder: str = "project", **answers: Any) -> Project:
        path = tmp_path / folder
        path.parent.mkdir(parents=True, exist_ok=True)
        port = str(free_port())
        project = Project(render(path, **answers), dict(base_environment))
        project.write(".env", f"POSTGRES_PORT={port}\n")
        made.append(project)
        return project

    yield make
    for project in made:
        project.just("stop")
