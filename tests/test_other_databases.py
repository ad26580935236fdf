"""dev_database=external and docker: the same recipes, another server."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from tests.conftest import Project, free_port


def test_an_external_server_is_named_in_dotenv(generate: Callable[..., Project]) -> None:
    project = generate(dev_database="external")
    env = {
        name: project.env.pop(name) for name in list(project.env) if name.startswith("POSTGRES_")
    }
    lines = [f"{name}={value}" for name, value in env.items() if name != "POSTGRES_PASSWORD"]
    project.write(".env", "\n".join(lines))
    refused = project.just("start").refused("refuses the password of the role app", "ALTER ROLE")
    assert env["POSTGRES_PASSWORD"] not in refused.text
    project.write("secrets/postgres_password.txt", env["POSTGRES_PASSWORD"])
    assert "accepts connections" in project.just("start").ok().out
    assert "accepts connections" in project.just("status").ok().out
    project.just("db-upgrade").ok()
    assert "keeps running" in project.just("stop").ok().out
    assert "572de137043f" in project.just("db-current").ok().out
    assert project.just("db-shell", "-Atc", "SELECT 1").ok().out == "1\n"
    assert not (project.backend / "devdb" / "embedded.py").exists()


def test_an_external_server_that_does_not_answer_is_explained(
    generate: Callable[..., Project],
) -> None:
    project = generate(dev_database="external")
    project.just("start", POSTGRES_PORT=str(free_port())).refused("POSTGRES_HOST", ".env")
    project.just("start", POSTGRES_DB="nowhere").refused("CREATE DATABASE nowhere OWNER app")
    project.just("start", POSTGRES_HOST="nowhere.invalid").refused("nowhere.invalid")


def test_without_docker_the_alternative_is_named(generate: Callable[..., Project]) -> None:
    project = generate(dev_database="docker")
    if shutil.which("docker", path=project.env["PATH"]):
        decoys = project.env["PATH"].split(":")[0]
        project.write("docker", "#!/bin/sh\nexit 127\n").chmod(0o755)
        project.env["PATH"] = f"{project.path}:{decoys}:{project.env['PATH']}"
    for recipe in ("start", "stop", "status"):
        project.just(recipe).refused("needs Docker", "dev_database=embedded")


def test_the_other_recipes_of_a_docker_project_are_the_same(
    generate: Callable[..., Project],
) -> None:
    project = generate(dev_database="docker")
    project.just("db-upgrade").ok()
    project.just("db-model", "Widget").ok()
    project.just("db-migrate").ok()
    project.just("db-upgrade").ok()
    project.just("--yes", "db-reset").ok()
    assert "add table widget" in project.just("db-current").ok().out
