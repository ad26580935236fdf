"""What people answer, and what they get told."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import copier
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.conftest import REPOSITORY, render

BIN = Path(sys.executable).parent


def copier_copy(destination: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "copier", "copy", "--defaults", "--vcs-ref=HEAD", *arguments, ".", destination],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(destination.parent), **env},
    )


@pytest.mark.parametrize(
    ("question", "answer", "message"),
    [
        ("project_name", "", "can't be empty"),
        ("project_name", "x" * 101, "At most 100 characters"),
        ("project_name", "a\nb", "One line"),
        ("project_slug", "Book Club", "Example: book-club"),
        ("project_slug", "-x", "a letter first"),
        ("project_slug", "pydantic-core", "--data project_slug=pydantic-core-app"),
        ("project_name", "FastAPI", "--data project_slug=fastapi-app"),
        ("project_name", "Книжный клуб", "--data project_slug=book-club"),
        ("project_name", "读书会", "--data project_slug=book-club"),
        ("description", "a\tb", "One line"),
        ("author_name", " Ada", "No white space"),
        ("author_email", "ada", "Example: ada@example.org"),
        ("database_name", "user", "Example: user_db"),
        ("database_name", "x" * 64, "63 bytes"),
        ("python_version", "3.10", "Invalid choice"),
        ("postgres_version", "14", "Invalid choice"),
        ("dev_database", "sqlite", "Invalid choice"),
    ],
)
def test_a_bad_answer_gets_a_message_and_nothing_is_written(
    tmp_path: Path, question: str, answer: str, message: str
) -> None:
    destination = tmp_path / "project"
    answers = {"project_name": "Book Club", question: answer}
    data = [f"--data={name}={value}" for name, value in answers.items()]
    done = copier_copy(destination, "--trust", "--quiet", *data)
    assert done.returncode != 0
    # Copier shows a validator's message at its prompt; for --data it is the last line of an error.
    assert message in done.stderr.splitlines()[-1], done.stderr
    assert not destination.exists()


def test_only_the_name_has_to_be_given(tmp_path: Path) -> None:
    done = copier_copy(tmp_path / "project", "--trust", "--data=project_name=Été")
    assert done.returncode == 0, done.stderr
    answers = yaml.safe_load((tmp_path / "project" / ".copier-answers.yml").read_text("utf-8"))
    assert answers["project_slug"] == "ete"
    assert answers["database_name"] == "ete"
    assert answers["author_name"] == "The Été team"
    assert "uvx --from rust-just just start" in done.stderr


def test_the_author_comes_from_git(tmp_path: Path) -> None:
    (tmp_path / ".gitconfig").write_text("[user]\nname = Ada\nemail = ada@example.org\n")
    copier_copy(tmp_path / "project", "--trust", "--quiet", "--data=project_name=X")
    answers = yaml.safe_load((tmp_path / "project" / ".copier-answers.yml").read_text("utf-8"))
    assert (answers["author_name"], answers["author_email"]) == ("Ada", "ada@example.org")


def test_without_trust_copier_refuses_and_writes_nothing(tmp_path: Path) -> None:
    done = copier_copy(tmp_path / "project", "--data=project_name=X")
    assert done.returncode == 4
    assert "jinja_extensions" in done.stderr
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize(("version", "warned"), [(18, False), (16, True)])
def test_a_version_other_than_the_embedded_one_is_warned_about(
    tmp_path: Path, version: int, warned: bool
) -> None:
    done = copier_copy(
        tmp_path / "project",
        "--trust",
        "--data=project_name=X",
        f"--data=postgres_version={version}",
    )
    assert ("embedded development database is PostgreSQL 18" in done.stderr) is warned
    readme = (tmp_path / "project" / "README.md").read_text()
    assert ("Production is to run PostgreSQL 16" in readme) is warned


def test_a_name_without_latin_letters_needs_only_its_slug(tmp_path: Path) -> None:
    data = ["--data=project_name=读书会", "--data=project_slug=reading"]
    done = copier_copy(tmp_path / "project", "--trust", *data)
    assert done.returncode == 0, done.stderr
    answers = yaml.safe_load((tmp_path / "project" / ".copier-answers.yml").read_text("utf-8"))
    assert (answers["project_slug"], answers["database_name"]) == ("reading", "reading")


def test_a_new_project_is_told_to_begin_a_repository_only_where_there_is_none(
    tmp_path: Path,
) -> None:
    data = ["--trust", "--data=project_name=X"]
    alone = copier_copy(tmp_path / "alone", *data).stderr
    assert 'git init -b main && git add --all && git commit --message "Start"' in alone
    assert "at its top" not in alone
    subprocess.run(["git", "init", "--quiet", tmp_path / "there"], check=True)
    at_the_top = copier_copy(tmp_path / "there", *data).stderr
    assert 'git add . && git commit --message "Start"' in at_the_top
    assert "git init" not in at_the_top
    assert "at its top" not in at_the_top
    below = copier_copy(tmp_path / "there" / "services" / "api", *data).stderr
    assert "git init" not in below
    assert "the folder services/api/ of a repository" in below


def test_a_token_in_the_template_s_address_is_warned_about(tmp_path: Path) -> None:
    address = "https://oauth2:glpat-s3cret@git.example.org/t.git"
    clean = "https://git.example.org/t.git"
    config = f'[url "{REPOSITORY}"]\ninsteadOf = {{}}\n'
    (tmp_path / ".gitconfig").write_text(config.format(address))
    command = [str(BIN / "copier"), "copy", "--defaults", "--vcs-ref=HEAD", "--trust"]
    done = subprocess.run(
        [*command, "--data=project_name=X", address, tmp_path / "project"],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    message = done.stderr.partition("X is ready")[2]
    assert f"_src_path: {clean}" in message
    assert "insteadOf" in message
    assert "s3cret" not in message


hostile = st.one_of(
    st.text(max_size=220),
    st.text(alphabet="\"'`$\\{}%#<>&|;:@/ -é\t\n", max_size=60),
    st.sampled_from(
        [
            "{{ project_name }}", "{% raw %}", "{#", "%(here)s", "100%", "user", "-rf /", "--help",
            "👩‍💻", "مشروع تجريبي", "a\u202eb", '"""', "'''", "\\", "\\N{DASH}", "null", "true", "1",
            "1e3", "[x]", "{a: b}", "x" * 200, "# comment", "a: b", "\x00", "*", "&a", "!tag", "|", "<b>",
        ]
    ),
)  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.fixed_dictionaries(
        {"project_name": hostile},
        optional={
            "description": hostile,
            "author_name": hostile,
            "author_email": hostile,
            "project_slug": hostile,
            "database_name": hostile,
            "license": st.sampled_from(["MIT", "none"]),
        },
    )
)
@example({"project_name": '"""', "description": "\\", "author_name": "'\"", "license": "MIT"})
@example({"project_name": "{{ 1/0 }}", "description": "{% raw %}", "author_name": "{{ x }}"})
def test_hostile_answers_give_a_sound_project_or_a_message(
    tmp_path_factory: pytest.TempPathFactory, answers: dict[str, Any]
) -> None:
    destination = tmp_path_factory.mktemp("hostile") / "project"
    refusal = ""
    try:
        render(destination, **answers)
    except ValueError as error:
        refusal = str(error)
    if refusal:
        assert "Validation error" in refusal
        assert not destination.exists()
        return
    backend = destination / "backend"
    metadata = tomllib.loads((backend / "pyproject.toml").read_text("utf-8"))["project"]
    main = ast.parse((backend / "app" / "main.py").read_text("utf-8"))
    literals = {node.value for node in ast.walk(main) if isinstance(node, ast.Constant)}
    assert answers["project_name"] in literals
    if "description" in answers:
        assert metadata["description"] == answers["description"]
        assert answers["description"] in literals
    if "author_name" in answers:
        assert metadata["authors"][0]["name"] == answers["author_name"]
    for path in destination.rglob("*.y*ml"):
        yaml.safe_load(path.read_text("utf-8"))
    production = yaml.safe_load((destination / "deploy/compose.production.yaml").read_text())
    assert production["name"] == metadata["name"] + "-production"
    for command in (["format", "--check"], ["check"]):
        done = subprocess.run(
            [BIN / "ruff", *command, "--no-cache"], cwd=backend, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_answers_survive_a_second_rendering(tmp_path: Path) -> None:
    answers = {"project_name": "{{ x }} \"'", "description": "a: b # c", "author_name": "-x"}
    project = render(tmp_path / "project", **answers)
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    copier.run_recopy(
        project, defaults=True, overwrite=True, unsafe=True, quiet=True, vcs_ref="HEAD"
    )
    after = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    changed = {path for path in before if before[path] != after.get(path)}
    assert changed <= {project / ".copier-answers.yml"}
