"""What renders: every choice at least once, and pairs of those that meet in one file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import REPOSITORY, Project, render

BIN = Path(sys.executable).parent
MATRIX: list[dict[str, Any]] = [
    {},
    {"dev_database": "docker", "llm_settings": False, "postgres_version": 17, "license": "MIT"},
    {"dev_database": "external", "llm_settings": True, "postgres_version": 16},
    {"dev_database": "embedded", "llm_settings": False, "postgres_version": 15},
    {"dev_database": "docker", "python_version": "3.12", "license": "Apache-2.0"},
    {"dev_database": "external", "llm_settings": False, "license": "BSD-3-Clause"},
    {"python_version": "3.13", "author_email": "", "database_name": "other"},
    {"python_version": "3.14", "project_name": 'The "O\'Neil" {{ x }} 100% Café 👩‍💻'},
]


@pytest.fixture(
    scope="module", params=MATRIX, ids=lambda answers: "-".join(map(str, answers.values()))
)
def rendered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("rendered") / "project", **request.param)


def tool(name: str, *arguments: str, cwd: Path) -> None:
    done = subprocess.run([BIN / name, *arguments], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def files(project: Path) -> list[Path]:
    return [path for path in project.rglob("*") if path.is_file() and ".git" not in path.parts]


def test_format_and_style_leave_no_diff(rendered: Path) -> None:
    tool("ruff", "format", "--check", "--no-cache", cwd=rendered / "backend")
    tool("ruff", "check", "--no-cache", cwd=rendered / "backend")


def test_types_are_clean(rendered: Path, shared: dict[str, str]) -> None:
    done = subprocess.run(
        [
            Path(shared["base"]) / "venv" / "bin" / "mypy",
            f"--cache-dir={shared['base']}/mypy-{os.getpid()}",
        ],
        cwd=rendered / "backend",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_nothing_of_the_template_or_this_machine_is_left(rendered: Path) -> None:
    for path in files(rendered):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"[ \t]+$", text, re.MULTILINE) or path.name == "LICENSE", path
        if path.name == "justfile":
            text = re.sub(r"\{\{ (just_executable|quote)\(.*?\) \}\}", "", text)
        if path.parts[-2:] == ("workflows", "ci.yml"):
            text = text.replace("${{ github.ref }}", "")
        if path.name not in {"script.py.mako", ".copier-answers.yml"}:
            text = text.replace("{{ x }}", "").replace(r"\{\{ x \}\}", "")
            assert not re.search(r"\{\{|\{%|%\}|\{#", text), path
        if path.name != ".copier-answers.yml":
            assert str(REPOSITORY) not in text, path
        assert text.endswith("\n") or text == "", path
        assert not text.endswith("\n\n"), path
        assert (
            "\n\n\n" not in text or path.suffix in {".py", ".mako", ".md"} or path.name == "LICENSE"
        ), path


def test_structured_files_are_valid(rendered: Path) -> None:
    for path in files(rendered):
        if path.suffix == ".toml":
            tomllib.loads(path.read_text(encoding="utf-8"))
        if path.suffix in {".yml", ".yaml"}:
            yaml.safe_load(path.read_text(encoding="utf-8"))
    tool(
        "check-jsonschema",
        "--builtin-schema=vendor.compose-spec",
        *[path.name for path in rendered.glob("compose.yaml")],
        "deploy/compose.production.yaml",
        cwd=rendered,
    )
    tool(
        "check-jsonschema",
        "--builtin-schema=vendor.github-workflows",
        ".github/workflows/ci.yml",
        cwd=rendered,
    )


def test_the_justfile_is_formatted_and_every_recipe_documented(rendered: Path) -> None:
    tool("just", "--fmt", "--check", "--unstable", cwd=rendered)
    done = subprocess.run(
        [BIN / "just"], cwd=rendered / "backend" / "app", capture_output=True, text=True, check=True
    )
    listed = [
        line for line in done.stdout.splitlines() if line.startswith("    ") and "[" not in line[:5]
    ]
    assert len(listed) == 23
    assert all(" # " in line for line in listed), done.stdout


def test_a_licence_is_written_when_chosen(tmp_path: Path) -> None:
    beginnings = {
        "MIT": "MIT License",
        "Apache-2.0": "Apache License",
        "BSD-3-Clause": "BSD 3-Clause License",
    }
    for name, beginning in beginnings.items():
        text = (
            render(tmp_path / name, license=name, author_name="Ada Lovelace") / "LICENSE"
        ).read_text()
        assert beginning in text.splitlines()[0].strip()
        assert "Ada Lovelace" in text
    assert not (render(tmp_path / "none") / "LICENSE").exists()


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"llm_settings": False, "dev_database": "docker"},
        pytest.param({"dev_database": "external"}, marks=pytest.mark.faults),
    ],
    ids=str,
)
def test_a_rendered_project_passes_its_own_checks_and_tests(
    generate: Callable[..., Project], answers: dict[str, Any]
) -> None:
    project = generate(**answers)
    project.just("lint").ok()
    assert "passed" in project.just("test", "-q").ok().text


def test_two_checkouts_do_not_share_a_docker_volume(tmp_path: Path) -> None:
    """Compose takes the folder's name when the file names no project."""
    compose = yaml.safe_load(
        (render(tmp_path / "x", dev_database="docker") / "compose.yaml").read_text()
    )
    assert "name" not in compose
    assert compose["volumes"] == {"database": None}
