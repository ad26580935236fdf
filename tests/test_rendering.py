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
            text = re.sub(r"\{\{ if no_color == .*? \} \}\}", "", text)
        if path.parts[-2:] == ("workflows", "ci.yml"):
            text = re.sub(r"\$\{\{ github\.[a-z._]+ \}\}", "", text)
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


def test_no_recipe_prints_an_escape_code_under_no_color(rendered: Path) -> None:
    """On a terminal; in a pipe there is none anyway."""
    own = rendered / "justfile.local"
    own.write_text("_fails:\n    @exit 3\n")
    for command in (str(BIN / "just"), f"{BIN / 'just'} _fails"):
        done = subprocess.run(
            ["script", "-qec", command, "/dev/null"],
            cwd=rendered,
            capture_output=True,
            env={**os.environ, "NO_COLOR": "1", "TERM": "xterm"},
        )
        assert done.returncode == (3 if "_fails" in command else 0)
        assert b"\033" not in done.stdout
    own.unlink()


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


def test_ci_runs_on_the_default_branch_whatever_its_name(tmp_path: Path) -> None:
    text = (render(tmp_path / "x") / ".github/workflows/ci.yml").read_text()
    workflow = yaml.safe_load(text)
    # YAML 1.1 takes the key `on` for true.
    assert workflow[True] == {"push": None, "pull_request": None}
    (job,) = workflow["jobs"].values()
    assert "github.ref_name == github.event.repository.default_branch" in job["if"]
    assert any("git config migrate.baseBranch" in str(step.get("run")) for step in job["steps"])
    assert "main" not in re.findall(r"\w+", text)


def test_ci_and_hooks_of_a_project_in_a_bigger_repository_work_from_its_top(tmp_path: Path) -> None:
    project = render(tmp_path / "services" / "api")
    documentation = (project / "docs/database.md").read_text()
    (block,) = re.findall(r"^```sh\n(at=.*?)^```$", documentation, re.MULTILINE | re.DOTALL)
    subprocess.run(["sh", "-euc", block], cwd=tmp_path, check=True)
    workflow = yaml.safe_load((tmp_path / ".github/workflows/api.yml").read_text())
    assert workflow["defaults"] == {"run": {"working-directory": "services/api"}}
    tool(
        "check-jsonschema",
        "--builtin-schema=vendor.github-workflows",
        ".github/workflows/api.yml",
        cwd=tmp_path,
    )
    configuration = yaml.safe_load((tmp_path / ".pre-commit-config.yaml").read_text())
    hooks = {h["id"]: h for repository in configuration["repos"] for h in repository["hooks"]}
    revision = "services/api/backend/alembic/versions/x.py"
    assert re.search(hooks["db-check"]["files"], revision)
    assert re.search(hooks["end-of-file-fixer"]["exclude"], revision)
    assert hooks["ruff-format"]["entry"].split()[3] == "services/api/backend"
    command = [*hooks["db-check"]["entry"].split()[:-1], "--summary"]
    subprocess.run(["env", f"PATH={BIN}", *command], cwd=tmp_path, check=True)


def test_what_to_type_where_pip_refuses_is_the_same_everywhere_and_works(tmp_path: Path) -> None:
    readmes = [REPOSITORY / "README.md", render(tmp_path / "x") / "README.md"]
    blocks = [
        re.findall(r"externally-managed.*?^```sh\n(.*?)^```$", path.read_text(), re.M | re.S)
        for path in readmes
    ]
    assert blocks[0] == blocks[1]
    ((block,), _) = blocks
    for command in (line.partition("   #")[0] for line in block.splitlines()):
        assert command in (REPOSITORY / "copier.yml").read_text()
    env = {**os.environ, "HOME": str(tmp_path), "PATH": f"{BIN}:/usr/bin:/bin"}
    script = f"{block}\ncommand -v uvx && uvx --version"
    done = subprocess.run(["sh", "-euc", script], env=env, capture_output=True, text=True)
    assert f"{tmp_path}/.local/uv/bin/uvx\n" in done.stdout, done.stderr
