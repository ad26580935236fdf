"""The documented workflow, word for word: docs/database.md is followed as a reader would."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY, Project, Result, free_port, render

pytestmark = pytest.mark.usefixtures("as_typed")

DOCUMENTATION = (REPOSITORY / "template" / "docs" / "database.md").read_text(encoding="utf-8")


def code_block(beginning: str) -> str:
    """The block of the documentation that begins like this, without its indentation."""
    for indent, body in re.findall(
        r"^( *)```python\n(.*?)^ *```$", DOCUMENTATION, re.MULTILINE | re.DOTALL
    ):
        text = "\n".join(line.removeprefix(indent) for line in str(body).splitlines()) + "\n"
        if text.startswith(beginning):
            return text
    raise AssertionError(f"the documentation has no block that begins with {beginning!r}")


def follow_the_three_steps(project: Project) -> None:
    """Adds YourModel by hand, with the lines that the documentation shows."""
    project.write("backend/app/models/your_model.py", code_block("from sqlmodel import Field"))
    export_block = code_block("# Your models\nfrom .your_model")
    import_line = export_block.splitlines()[1]
    name_line = next(line for line in export_block.splitlines() if line.strip() == '"YourModel",')
    project.replace(
        "backend/app/models/__init__.py", "# Your models\n", f"# Your models\n{import_line}\n"
    )
    project.replace(
        "backend/app/models/__init__.py", "    # Your models\n", f"    # Your models\n{name_line}\n"
    )
    registry_line = code_block("from app.models.your_model").strip()
    project.replace(
        "backend/app/db/base.py", "# Your models\n", f"# Your models\n{registry_line}\n"
    )


def live_through(project: Project) -> None:
    project.run("git", "init", "--quiet", "-b", "main").ok()
    project.run("git", "add", "--all").ok()
    project.run("git", "commit", "--quiet", "--message", "Start").ok()
    assert "accepts connections" in project.just("start").ok().out
    project.just("db-upgrade").ok()

    follow_the_three_steps(project)
    before = project.revisions()
    written = project.just("db-migrate").ok()
    (revision,) = project.revisions() - before
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_add_table_yourmodel_[0-9a-f]{12}\.py", revision.name), (
        written.out
    )
    assert str(revision.relative_to(project.path)) in written.out
    assert "import sqlmodel" not in revision.read_text()
    assert "Nothing pending" not in project.just("db-sql").ok().out
    project.just("db-upgrade").ok()

    head = revision.stem[-12:]
    assert f"{head} (head)" in project.alembic("current").ok().out
    assert "add table yourmodel" in project.alembic("history").ok().out
    assert f"Rev: {head} (head)" in project.alembic("show", "head").ok().out

    project.just("db-downgrade").ok()
    assert "1 revision pending" in project.just("db-current").ok().out
    project.alembic("upgrade", "+1").ok()
    project.alembic("downgrade", "-1").ok()
    project.alembic("upgrade", "head").ok()
    project.alembic("downgrade", "572de137043f").ok()
    project.alembic("upgrade", "head").ok()

    # Data migration: the rows are there before, the documentation's code fills them.
    project.just(
        "db-shell",
        "-c",
        "INSERT INTO users (email, first_name, last_name) VALUES ('a@b.c', 'Ada', 'Lovelace')",
    ).ok()
    user, nullable = "backend/app/models/user.py", code_block("full_name: str | None")
    project.replace(user, "    is_active", f"    {nullable}    is_active")
    project.just("db-migrate").ok()
    before = project.revisions()
    project.alembic("revision", "-m", "Fill in full names").ok()
    (manual,) = project.revisions() - before
    text = manual.read_text().replace("op\n", f"op\n\n{code_block('from app.migrate.backfill')}", 1)
    manual.write_text(text[: text.index("def upgrade()")] + code_block("def upgrade()"))
    project.just("db-upgrade").ok()
    answer = project.just("db-shell", "-Atc", "SELECT full_name FROM users").ok()
    assert answer.out.strip() == "Ada Lovelace"

    # Not as it was applied any more: refused until somebody says why.
    manual.write_text(manual.read_text() + "# Reviewed by Ada.\n")
    project.just("db-upgrade").refused(manual.name, "just db-repair")
    project.just("db-repair", manual.stem[-12:], "a comment").ok()
    project.just("db-upgrade").ok()

    not_null = code_block("full_name: str =")
    project.replace(user, nullable, not_null)
    project.just("db-migrate").ok()
    project.just("db-upgrade").ok()

    assert "passed" in project.just("test", "-q").ok().out
    project.just("fmt").ok()
    project.just("lint").ok()
    # Without it in the model, the project's own test says so.
    project.replace(user, f"    {not_null}", "")
    drifted = project.just("test", "-q", "-k", "drift")
    assert drifted.code != 0
    assert "full_name" in drifted.text

    project.run("git", "add", "--all").ok()
    project.run("git", "commit", "--quiet", "--message", "Names and a table").ok()
    assert "in place of 5 files" in project.just("db-squash").ok().out
    assert len(project.revisions()) == 1
    project.just("db-upgrade").ok()
    assert "full_name" in project.just("db-check").refused("drift").text
    answer = project.just("db-shell", "-Atc", "SELECT count(*) FROM users").ok()
    assert answer.out.strip() == "1"

    assert "Stopped." in project.just("stop").ok().out
    status = project.run("git", "status", "--porcelain", "--ignored").ok().out
    assert "!! secrets/postgres_password.txt" in status
    assert "!! .postgres/" in status
    assert "?? secrets" not in status


def test_the_life_of_a_project(standalone: Callable[..., Project]) -> None:
    live_through(standalone())


def documented_commands() -> list[str]:
    """Every command in a block or in the table of the documentation, placeholders filled in."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", DOCUMENTATION, re.MULTILINE | re.DOTALL)
    commands = [block.strip().replace("\n", " && ") for block in blocks]
    table = re.findall(r"^\| `(.*?)` \|", DOCUMENTATION, re.MULTILINE)
    inline = re.findall(r"`((?:just|uv run|source) [^`]*)`", DOCUMENTATION)
    for command in [*table, *inline]:
        in_backend = command.startswith(("uv run", "source"))
        if command.startswith("alembic"):
            command, in_backend = f"uv run {command}", True
        commands.append(f"cd backend && {command}" if in_backend else command)
    for placeholder, value in {
        "[message]": "",
        "[target]": "",
        "[arguments]": "-c 'SELECT 1'",
        "[--json]": "--json",
        "[note]": "a note",
        "just db-*": "just",
        "[--database NAME]": "",
        "book_club": "$POSTGRES_DB",
        "NAME": "Thing",
        "<rev>": "572de137043f",
        "…": "x",
        "db-reset": "--yes db-reset",
        ".venv/bin": "$UV_PROJECT_ENVIRONMENT/bin",
    }.items():
        commands = [command.replace(placeholder, value) for command in commands]
    return commands


def test_every_command_of_the_documentation_runs(project: Project) -> None:
    commands = documented_commands()
    assert len(commands) > 30
    done = set()
    for command in commands:
        if command in done:
            continue
        done.add(command)
        elsewhere = ("just start", "just test", "db-rebase", "db-squash", "--rename", "--drop")
        if any(name in command for name in elsewhere):
            continue  # the life of a project, test_history.py, test_squash.py and test_drift.py do
        # Each from the same place: at the newest revision with one more to roll back.
        project.just("db-upgrade").ok()
        if "+1" in command:
            project.just("db-downgrade").ok()
        project.run("bash", "-euc", command).ok()
    assert "just db-migrate" in done


def test_alembic_works_in_the_activated_environment(project: Project) -> None:
    script = ". $UV_PROJECT_ENVIRONMENT/bin/activate && cd backend && alembic current"
    assert "572de137043f (head)" in project.run("bash", "-euc", script).ok().out


class OrdinaryUsersProject(Project):
    """A project whose commands run as an ordinary user, also when root runs the tests."""

    uid = 65534

    def run(self, *command: str | Path, **options: Any) -> Result:
        prefix: list[str] = []
        if os.geteuid() == 0:
            prefix = ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups"]
        return super().run(*prefix, *command, **options)


@pytest.mark.faults  # takes as long as the one above
def test_the_life_of_a_project_of_an_ordinary_user(base_environment: dict[str, str]) -> None:
    # Not below pytest's own folder, which is closed to other users.
    base = Path(tempfile.mkdtemp(prefix="copier-sqlmodel-user-"))
    project = OrdinaryUsersProject(
        render(base / "project", llm_settings=False),
        {
            **base_environment,
            "HOME": str(base),
            "PATH": f"{base}/decoys:{base}/tools:/usr/bin:/bin",
            "UV_CACHE_DIR": str(base / "cache"),
            "UV_PROJECT_ENVIRONMENT": str(base / "venv"),
        },
    )
    for folder in ("decoys", "tools"):
        shutil.copytree(Path(base_environment["HOME"]) / folder, base / folder)
    if os.geteuid() == 0:
        # Root's own interpreter may lie in its closed home.
        project.env["UV_PYTHON"] = "/usr/bin/python3"
        for path in (base, *base.rglob("*")):
            os.chown(path, project.uid, project.uid)
    project.write(".env", f"POSTGRES_PORT={free_port()}\n")
    try:
        live_through(project)
        check_where_nothing_can_be_written(project)
    finally:
        project.just("stop")
        shutil.rmtree(base)


def check_where_nothing_can_be_written(project: Project) -> None:
    """Runs the checks in a read-only checkout: with a running server all can be told."""
    project.just("start").ok()
    folders = [project.path, *(f for f in project.path.rglob("*") if f.is_dir())]
    ours = [folder for folder in folders if "data" not in folder.parts]  # the server's are its own
    for folder in ours:
        folder.chmod(0o500)
    try:
        assert project.run("touch", "backend/new").code == 1
        checked = project.just("db-check").refused("the column users.full_name")
        assert "7 passed, 1 failed" in checked.out
        (line,) = (line for line in checked.out.splitlines() if line.startswith("FAILED"))
        assert line.split()[1] == "drift"
        elsewhere = project.just("db-check", POSTGRES_PORT=str(free_port()))
        elsewhere.refused("Permission denied", "just start")
    finally:
        for folder in ours:
            folder.chmod(0o700)
