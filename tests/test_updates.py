"""`copier update` and `copier recopy` on a living project: its history stays its own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import copier
import pytest

from tests.conftest import REPOSITORY, Project

INITIAL = "template/backend/alembic/versions/2026-11-22_initial_schema_572de137043f.py.jinja"


def git(repository: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=repository, check=True, capture_output=True, text=True
    ).stdout


def commit(repository: Path, message: str) -> None:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", message)


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A repository of its own that holds the working tree, tagged v0.1.0."""
    clone = tmp_path / "template"
    copy_working_tree(clone)
    git(clone, "init", "--quiet", "--initial-branch=main")
    commit(clone, "Release v0.1.0")
    git(clone, "tag", "v0.1.0")
    return clone


def copy_working_tree(destination: Path) -> None:
    tracked = git(REPOSITORY, "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    for name in tracked:
        if (REPOSITORY / name).exists():
            (destination / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, destination / name)


def release_with_a_column(template: Path) -> None:
    """v0.2.0: a column more in a model and in the initial revision, as every release ships it."""
    user = template / "template/backend/app/models/user.py"
    user.write_text(
        user.read_text().replace("    is_active", "    phone: str | None = None\n    is_active", 1)
    )
    initial = template / INITIAL
    initial.write_text(
        initial.read_text().replace(
            '        sa.Column("is_active"',
            '        sa.Column("phone", sa.String(), nullable=True),\n        sa.Column("is_active"',
            1,
        )
    )
    commit(template, "Release v0.2.0")
    git(template, "tag", "v0.2.0")


def release_commit(version: str) -> str:
    """The commit of a release: its tag's, or where tags are missing, the one that says so."""
    if git(REPOSITORY, "tag", "--list", version).strip():
        return git(REPOSITORY, "rev-parse", f"{version}^{{commit}}").strip()
    found = git(REPOSITORY, "log", "--format=%H", f"--grep=^Release {version}$").split()
    assert found, f"{version} is not in this repository's history"
    return found[0]


RELEASES = ["v0.1.0", "v0.2.0"]


@pytest.fixture(params=RELEASES)
def released(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A repository with a release as it was, and the working tree as a later one."""
    version: str = request.param
    clone = tmp_path / "released"
    git(tmp_path, "clone", "--quiet", "--no-tags", str(REPOSITORY), str(clone))
    git(clone, "checkout", "--quiet", "--detach", release_commit(version))
    git(clone, "tag", version)
    for path in clone.iterdir():
        if path.name != ".git":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    copy_working_tree(clone)
    commit(clone, "The working tree")
    git(clone, "tag", "v999.0.0")
    return clone, version


def test_a_project_from_a_release_updates_with_its_database(
    generate: Callable[..., Project], released: tuple[Path, str]
) -> None:
    template, version = released
    project = generate()
    make_living(project, template, version)
    with project.connect() as connection:
        connection.execute("INSERT INTO widget (name) VALUES ('kept')")
    before = contents(project.versions)
    update(project)
    assert contents(project.versions) == before
    project.just("db-upgrade").ok()
    checked = project.just("db-check").ok()
    assert "2 skipped" in checked.out or "8 passed" in checked.out
    assert "Nothing to do" in project.just("db-migrate").ok().out
    with project.connect() as connection:
        rows = connection.execute("SELECT action FROM migration_ledger ORDER BY id").fetchall()
        # The first release kept no ledger.
        assert rows == [("adopt" if version == "v0.1.0" else "upgrade",)] * 2
        assert connection.execute("SELECT name FROM widget").fetchone() == ("kept",)
    project.just("lint").ok()
    assert "passed" in project.just("test", "-q").ok().text
    project.just("db-downgrade", "base").ok()
    project.just("db-upgrade").ok()


def make_living(project: Project, template: Path, version: str = "v0.1.0") -> None:
    """Renders a release over the project's folder, with git, a database and a revision of its own."""
    shutil.rmtree(project.path)
    copier.run_copy(
        str(template),
        project.path,
        data={"project_name": "Book Club"},
        defaults=True,
        unsafe=True,
        quiet=True,
        vcs_ref=version,
        settings=copier.Settings(),
    )
    git(project.path, "init", "--quiet")
    project.just("db-upgrade").ok()
    project.just("db-model", "Widget").ok()
    project.just("db-migrate").ok()
    project.just("db-upgrade").ok()
    commit(project.path, "Live")


def update(project: Project) -> None:
    copier.run_update(
        project.path,
        defaults=True,
        overwrite=True,
        unsafe=True,
        quiet=True,
        settings=copier.Settings(),
    )
    assert git(project.path, "ls-files", "--unmerged") == ""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.py")}


def test_an_update_changes_models_and_leaves_the_history(project: Project, template: Path) -> None:
    make_living(project, template)
    before = contents(project.versions)
    release_with_a_column(template)
    update(project)
    assert contents(project.versions) == before
    assert "from .widget import Widget" in (project.backend / "app/models/__init__.py").read_text()

    known = project.revisions()
    project.just("db-migrate").ok()
    (written,) = project.revisions() - known
    assert "users_add_phone" in written.name
    project.just("db-upgrade").ok()
    assert "Nothing to do" in project.just("db-migrate").ok().out
    assert git(project.path, "status", "--porcelain", "secrets").strip() == ""


def test_a_squashed_history_stays_squashed(project: Project, template: Path) -> None:
    make_living(project, template)
    for path in project.revisions():
        path.unlink()
    (project.versions / "0001_mine.py").write_text("revision = 'mine'\ndown_revision = None\n")
    commit(project.path, "Squash")
    release_with_a_column(template)
    update(project)
    assert set(contents(project.versions)) == {"0001_mine.py"}


def test_an_edited_initial_revision_stays_edited(project: Project, template: Path) -> None:
    make_living(project, template)
    path = project.versions / "2026-11-22_initial_schema_572de137043f.py"
    path.write_text(path.read_text() + "# mine\n")
    commit(project.path, "Edit")
    release_with_a_column(template)
    update(project)
    assert path.read_text().endswith("# mine\n")


@pytest.mark.parametrize("squashed", [False, True])
def test_recopy_leaves_the_history(project: Project, template: Path, squashed: bool) -> None:
    make_living(project, template)
    if squashed:
        for path in project.revisions():
            path.unlink()
        (project.versions / "0001_mine.py").write_text("revision = 'mine'\ndown_revision = None\n")
    commit_needed = bool(git(project.path, "status", "--porcelain").strip())
    if commit_needed:
        commit(project.path, "Squash")
    before = contents(project.versions)
    release_with_a_column(template)
    copier.run_recopy(
        project.path,
        defaults=True,
        overwrite=True,
        unsafe=True,
        quiet=True,
        settings=copier.Settings(),
    )
    assert contents(project.versions) == before
    assert "phone" in (project.backend / "app/models/user.py").read_text()


def test_a_feature_is_switched_on_and_off(project: Project, template: Path) -> None:
    make_living(project, template)
    release_with_a_column(template)
    for wanted in (False, True):
        copier.run_update(
            project.path,
            data={"llm_settings": wanted},
            defaults=True,
            overwrite=True,
            unsafe=True,
            quiet=True,
            settings=copier.Settings(),
        )
        assert git(project.path, "ls-files", "--unmerged") == ""
        assert (project.backend / "app/models/llm_settings.py").exists() is wanted
        commit(project.path, f"llm_settings={wanted}")
    assert "Widget" in (project.backend / "app/db/base.py").read_text()
    project.just("lint").ok()


def test_the_message_after_an_update_names_the_missing_command(
    project: Project, template: Path, run_copier: Callable[..., str]
) -> None:
    make_living(project, template)
    release_with_a_column(template)
    said = run_copier("update", "--trust", "--defaults", cwd=project.path)
    assert "just db-migrate" in said
    assert "v0.2.0" in said or "Updating to template version 0.2.0" in said


@pytest.fixture
def run_copier(base_environment: dict[str, str]) -> Callable[..., str]:
    """The copier command, in a user's environment. Returns what it said on standard error."""
    program = REPOSITORY / ".venv" / "bin" / "copier"

    def run(*arguments: str, cwd: Path) -> str:
        done = subprocess.run(
            [program, *arguments], cwd=cwd, env=base_environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    return run
