"""This repository itself: what it must not hold, and the README's commands."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.conftest import REPOSITORY, Project

# Written so that this file does not match itself.
FORBIDDEN = re.compile(
    r"p[y]pi\.org|python[h]osted\.org|registry\.npm[j]s|(deb|security)\.deb[i]an\.org"
    r"|/ro[o]t/|/w[o]rk/(main|steering)|/tmp/bash_j[o]bs"
)


def git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=REPOSITORY, check=True, capture_output=True, text=True
    ).stdout


def test_no_file_or_message_names_a_registry_host_or_this_machine() -> None:
    for name in git("ls-files").splitlines():
        text = (REPOSITORY / name).read_text(encoding="utf-8", errors="replace")
        assert not FORBIDDEN.search(text), name
    assert not FORBIDDEN.search(git("log", "--format=%B"))


def test_the_version_is_the_changelog_s_newest() -> None:
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    changelog = (REPOSITORY / "CHANGELOG.md").read_text()
    newest = re.search(r"^## (\d+\.\d+\.\d+)", changelog, re.MULTILINE)
    assert newest is not None
    assert newest[1] == version


def test_upgrading_notes_belong_to_versions_and_have_readable_heads() -> None:
    titles = {
        name: re.findall(r"^## (\S+)", (REPOSITORY / name).read_text(), re.MULTILINE)
        for name in ("CHANGELOG.md", "UPGRADING.md")
    }
    assert set(titles["UPGRADING.md"]) <= set(titles["CHANGELOG.md"])
    text = (REPOSITORY / "UPGRADING.md").read_text()
    for head in re.findall(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        assert tomllib.loads(head).keys() <= {"when", "backfill"}


def test_pinned_versions_fit_the_ranges() -> None:
    """`just lock` was run after pyproject.toml changed."""
    pins = set(re.findall(r"^([a-z0-9-]+)==", (REPOSITORY / "requirements.txt").read_text(), re.M))
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    names = {re.split(r"[\[>=<]", requirement)[0] for requirement in wanted}
    assert names <= pins


def test_just_try_takes_a_project_through_a_schema_change(
    base_environment: dict[str, str], tmp_path: Path
) -> None:
    just = Path(sys.executable).parent / "just"
    env = {
        name: value
        for name, value in base_environment.items()
        if name != "UV_PROJECT_ENVIRONMENT" and not name.startswith("GIT_")
    }
    folder = tmp_path / "My first try"
    command: list[str | Path] = [just, "--justfile", REPOSITORY / "justfile", "try", folder.name]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    project = Project(folder, env)
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        assert 'Table "public.widget"' in done.stdout
        assert "just dev" in done.stdout
        assert "add table widget" in project.just("db-current").ok().out
        again = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert again.returncode == 1
        assert "Name another one" in again.stderr
    finally:
        project.just("stop").ok()
