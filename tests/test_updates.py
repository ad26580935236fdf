"""`copier update` and `copier recopy` on a living project: its history stays its own."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Project, Result
from tests.updates import Template, commit, contents, git

INITIAL = "template/backend/alembic/versions/2026-11-22_initial_schema_572de137043f.py.jinja"


@pytest.fixture
def project(living: Project) -> Project:
    return living


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


def update(project: Project, template: Path) -> None:
    assert Template(template).update(project.path) == []


def test_an_update_changes_models_and_leaves_the_history(project: Project, template: Path) -> None:
    before = contents(project.versions)
    release_with_a_column(template)
    update(project, template)
    assert contents(project.versions) == before
    assert "from .widget import Widget" in (project.backend / "app/models/__init__.py").read_text()

    known = project.revisions()
    project.just("db-migrate").ok()
    (written,) = project.revisions() - known
    assert "_template_0_2_0_" in written.name
    project.just("db-upgrade").ok()
    assert "Nothing to do" in project.just("db-migrate").ok().out
    assert git(project.path, "status", "--porcelain", "secrets").strip() == ""


def test_a_revision_has_the_template_s_name_while_nothing_else_is_in_it(
    project: Project, template: Path
) -> None:
    def name() -> str:
        code = "from app.migrate.template_update import template_message as m; print(m())"
        return project.python(code).ok().out.strip()

    def back_to(commit: str) -> None:
        git(project.path, "reset", "--quiet", "--hard", commit)
        git(project.path, "clean", "--quiet", "--force", "-d")

    start = git(project.path, "rev-parse", "HEAD").strip()
    field = "    name: str", "    more: int | None = None\n    name: str"
    widget, role = "backend/app/models/widget.py", "backend/app/models/role.py"
    assert name() == ""
    release_with_a_column(template)
    update(project, template)
    assert name() == "template 0.2.0"
    project.replace(widget, *field)
    assert name() == ""
    back_to(start)

    # What differed before the update.
    project.replace(widget, *field)
    commit(project.path, "A change without a revision")
    update(project, template)
    assert name() == ""
    back_to(start)

    # Committed, with a model of the user's in the same commit, or after it.
    update(project, template)
    project.just("db-model", "Gadget").ok()
    commit(project.path, "v0.2.0 and gadgets")
    assert name() == ""
    back_to(start)
    update(project, template)
    commit(project.path, "v0.2.0")
    updated = git(project.path, "rev-parse", "HEAD").strip()
    project.just("db-model", "Gadget").ok()
    assert name() == ""
    back_to(updated)
    project.replace(role, *field)
    assert name() == ""
    back_to(updated)

    # Committed, and nothing else; only the first revision is the template's.
    assert name() == "template 0.2.0"
    known = project.revisions()
    project.just("db-migrate").ok()
    (written,) = project.revisions() - known
    assert "_template_0_2_0_" in written.name
    project.replace(role, *field)
    assert name() == ""


def test_a_squashed_history_stays_squashed(project: Project, template: Path) -> None:
    for path in project.revisions():
        path.unlink()
    (project.versions / "0001_mine.py").write_text("revision = 'mine'\ndown_revision = None\n")
    commit(project.path, "Squash")
    release_with_a_column(template)
    update(project, template)
    assert set(contents(project.versions)) == {"0001_mine.py"}


def test_an_edited_initial_revision_stays_edited(project: Project, template: Path) -> None:
    path = project.versions / "2026-11-22_initial_schema_572de137043f.py"
    path.write_text(path.read_text() + "# mine\n")
    commit(project.path, "Edit")
    release_with_a_column(template)
    update(project, template)
    assert path.read_text().endswith("# mine\n")


@pytest.mark.parametrize("squashed", [False, True])
def test_recopy_leaves_the_history(project: Project, template: Path, squashed: bool) -> None:
    if squashed:
        for path in project.revisions():
            path.unlink()
        (project.versions / "0001_mine.py").write_text("revision = 'mine'\ndown_revision = None\n")
    commit_needed = bool(git(project.path, "status", "--porcelain").strip())
    if commit_needed:
        commit(project.path, "Squash")
    before = contents(project.versions)
    release_with_a_column(template)
    Template(template).recopy(project.path)
    assert contents(project.versions) == before
    assert "phone" in (project.backend / "app/models/user.py").read_text()


def test_a_feature_is_switched_on_and_off(project: Project, template: Path) -> None:
    release_with_a_column(template)
    for wanted in (False, True):
        assert Template(template).update(project.path, llm_settings=wanted) == []
        assert (project.backend / "app/models/llm_settings.py").exists() is wanted
        commit(project.path, f"llm_settings={wanted}")
    assert "Widget" in (project.backend / "app/db/base.py").read_text()
    project.just("lint").ok()


def test_the_message_after_an_update_names_the_missing_command(
    project: Project, template: Path, run_copier: Callable[..., Result]
) -> None:
    release_with_a_column(template)
    said = run_copier("update", "--trust", "--defaults", cwd=project.path).ok().err
    assert "    just update --continue\n" in said
    assert "v0.2.0" in said or "Updating to template version 0.2.0" in said


def test_after_a_robot_s_update_the_check_names_the_missing_command(
    project: Project, template: Path, run_copier: Callable[..., Result]
) -> None:
    """As Renovate does it: the files are updated and committed, no more."""
    release_with_a_column(template)
    git(project.path, "switch", "--quiet", "--create", "renovate/template")
    run_copier("update", "--trust", "--defaults", cwd=project.path).ok()
    commit(project.path, "Update the template")
    checked = project.just("db-check")
    assert checked.code == 1
    assert "Write a revision of this: just db-migrate" in checked.out
    project.just("update", "--continue").ok()
    commit(project.path, "Migrate")
    project.just("db-check").ok()


@pytest.mark.parametrize(
    "source", ["../here/template", pytest.param("git+file://{}", marks=pytest.mark.faults)]
)
def test_a_project_is_updated_from_every_address(
    template: Path,
    tmp_path: Path,
    base_environment: dict[str, str],
    run_copier: Callable[..., Result],
    source: str,
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    template = template.rename(here / "template")
    answers = ["--trust", "--defaults", "--data=project_name=Book Club"]
    run_copier("copy", *answers, source.format(template), "my app", cwd=here).ok()
    project = Project(here / "my app", base_environment)
    git(project.path, "init", "--quiet")
    commit(project.path, "Start")
    assert "up-to-date" in run_copier("check-update", cwd=project.path).ok().out
    release_with_a_column(template)
    release_with_a_file(template)
    assert run_copier("check-update", "--quiet", cwd=project.path).code == 2
    assert project.just("update", "--check").code == 2

    untrusted = run_copier("update", "--defaults", cwd=project.path)
    assert untrusted.code == 4
    assert "potentially unsafe feature: jinja_extensions" in untrusted.err
    assert git(project.path, "status", "--porcelain") == ""

    new = project.path / "NEW.md"
    run_copier("update", "--trust", "--defaults", "--vcs-ref=v0.2.0", "my app", cwd=here).ok()
    assert "phone" in (project.backend / "app/models/user.py").read_text()
    assert not new.exists()
    commit(project.path, "v0.2.0")
    run_copier("update", "--trust", "--defaults", cwd=project.path).ok()
    assert new.exists()


def release_with_a_file(template: Path) -> None:
    """v0.3.0: a file more."""
    (template / "template/NEW.md").write_text("New.\n")
    commit(template, "Release v0.3.0")
    git(template, "tag", "v0.3.0")


@pytest.mark.parametrize("at_once", [pytest.param(False, marks=pytest.mark.faults), True])
def test_a_hint_renames_once_and_does_nothing_afterwards(
    project: Project, template: Path, at_once: bool
) -> None:
    with project.connect() as connection:
        connection.execute(
            "INSERT INTO users (email, first_name, last_name) VALUES ('a@example.org', 'A', 'Byron')"
        )
    release_with_a_rename(template, "v0.2.0", "last_name", "family_name", '"last_name"')
    if not at_once:
        update(project, template)
        assert "RENAME last_name TO family_name" in project.migrate().text
        project.just("db-upgrade").ok()
        commit(project.path, "v0.2.0")
    hint = '["last_name", "family_name"]'
    release_with_a_rename(template, "v0.3.0", "family_name", "surname", hint)
    update(project, template)
    old = "last_name" if at_once else "family_name"
    assert f"RENAME {old} TO surname" in project.migrate().text
    project.just("db-upgrade").ok()
    assert "Nothing to do" in project.just("db-migrate").ok().out
    commit(project.path, "v0.3.0")

    # A name that is free again is a name like any other.
    model = "backend/app/models/user.py"
    column = "    last_name: str | None = None\n"
    project.replace(model, "    is_active", f"{column}    is_active")
    assert "ADD COLUMN last_name" in project.migrate().text
    project.replace(model, column, "")
    dropped = project.migrate().text
    assert "DROP COLUMN last_name" in dropped
    assert "RENAME" not in dropped
    project.just("db-upgrade").ok()
    with project.connect() as connection:
        assert connection.execute("SELECT surname FROM users").fetchone() == ("Byron",)


def release_with_a_rename(template: Path, version: str, old: str, new: str, hint: str) -> None:
    """A column of the users gets another name; the model says which it had."""
    user = template / "template/backend/app/models/user.py"
    field = (
        f"    {new}: str = Field(\n        max_length=100, "
        f'sa_column_kwargs={{"info": {{"renamed_from": {hint}}}}}\n    )\n'
    )
    found = re.compile(rf"    {old}: str = Field\((.*?)\)\n(?=    \w)", re.DOTALL)
    text, number = found.subn(lambda _: field, user.read_text())
    assert number == 1
    user.write_text(text)
    commit(template, f"Release {version}")
    git(template, "tag", version)


@pytest.mark.parametrize("edited", [True, False])
def test_a_file_that_a_release_renames_takes_the_user_s_lines_along(
    project: Project, template: Path, edited: bool
) -> None:
    old, new = "backend/app/api/roles.py", "backend/app/api/role_routes.py"
    if edited:
        project.replace(old, "MAX_BIGINT = 2**63 - 1\n", "MAX_BIGINT = 2**63 - 1\nMINE = 1\n")
        commit(project.path, "Mine")
    git(template, "mv", f"template/{old}", f"template/{new}")
    settings = template / "copier.yml"
    settings.write_text(f"""{settings.read_text()}
_migrations:
  - version: v0.2.0
    when: "{{{{ _stage == 'before' }}}}"
    command: [git, mv, -k, --, {old}, {new}]
""")
    commit(template, "Release v0.2.0")
    git(template, "tag", "v0.2.0")
    assert Template(template).update(project.path) == ([new] if edited else [])
    assert not (project.path / old).exists()
    text = (project.path / new).read_text()
    rendered = (template / "template" / new).read_text()
    if edited:
        # Copier has no common ancestor for the new path, so it asks: but about this line only.
        mine = "<<<<<<< before updating\nMINE = 1\n=======\n>>>>>>> after updating\n"
        assert text.replace(mine, "") == rendered
    assert ("MINE" in text) is edited


def test_a_file_that_a_release_hands_over_stays(project: Project, template: Path) -> None:
    path = "docs/schema-changes.md"
    project.write(path, "Mine.\n")
    commit(project.path, "Mine")
    git(template, "rm", "--quiet", f"template/{path}")
    settings = template / "copier.yml"
    settings.write_text(settings.read_text().replace("_exclude:\n", f"_exclude:\n  - /{path}\n", 1))
    commit(template, "Release v0.2.0")
    git(template, "tag", "v0.2.0")
    update(project, template)
    assert (project.path / path).read_text() == "Mine.\n"


def test_a_readme_that_was_deleted_stays_deleted(project: Project, template: Path) -> None:
    (project.path / "README.md").unlink()
    commit(project.path, "No README")
    release_with_a_column(template)
    update(project, template)
    assert not (project.path / "README.md").exists()


@pytest.fixture
def run_copier(base_environment: dict[str, str]) -> Callable[..., Result]:
    """The copier command, in a user's environment."""
    program = REPOSITORY / ".venv" / "bin" / "copier"

    def run(*arguments: str, cwd: Path) -> Result:
        done = subprocess.run(
            [program, *arguments], cwd=cwd, env=base_environment, capture_output=True, text=True
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return run
