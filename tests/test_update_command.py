"""`just update`: a whole update by one command, and what stops it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conftest import Project
from tests.test_updates import release_with_a_column
from tests.updates import Template, commit, git

USER = "backend/app/models/user.py"


def release(template: Path, version: str) -> None:
    commit(template, f"Release {version}")
    git(template, "tag", version)


def add_section(template: Path, name: str, title: str, body: str) -> None:
    """Writes a section of CHANGELOG.md or UPGRADING.md, above the others."""
    path = template / name
    text = path.read_text()
    path.write_text(text.replace("\n## ", f"\n## {title}\n\n{body}\n\n## ", 1))


def release_with_notes(template: Path) -> None:
    """v0.2.0: a column more, and what to read about it."""
    add_section(template, "CHANGELOG.md", "0.2.0 (2027-01-01)", "Users have a phone.")
    body = '```toml\nwhen = { llm_settings = %s }\nbackfill = "%s"\n```\n\n%s'
    note = body % ("true", "backfill('users', 'phone = 0')", "Give every user a phone.")
    add_section(template, "UPGRADING.md", "0.2.0", note)
    add_section(template, "UPGRADING.md", "0.1.5", body % ("false", "", "Not for this project."))
    release_with_a_column(template)


def test_one_command_brings_files_notes_revision_and_checks(
    living: Project, template: Path
) -> None:
    nothing = living.just("update", "--check").ok()
    assert "Nothing new: this project has version 0.1.0" in nothing.out
    release_with_notes(template)
    with living.connect() as connection:
        connection.execute("INSERT INTO widget (name) VALUES ('kept')")

    checked = living.just("update", "--check")
    assert (checked.code, checked.err) == (2, "")
    assert "Version 0.2.0 of the template is out, this project has 0.1.0." in checked.out
    assert git(living.path, "status", "--porcelain") == ""

    known = living.revisions()
    updated = living.just("update").ok()
    assert "Users have a phone." in updated.out
    assert "A schema history that cannot lie" not in updated.out  # an older version's
    assert "Give every user a phone." in updated.out
    assert "The backfill to use:\n    backfill('users', 'phone = 0')" in updated.out
    assert "Not for this project." not in updated.out
    (written,) = living.revisions() - known
    assert "_template_0_2_0_" in written.name
    assert "0 failed" in updated.out or "passed" in updated.out
    assert f"?? {written.relative_to(living.path)}" in updated.out
    assert 'git commit --message "Update the template to 0.2.0"' in updated.out

    commit(living.path, "Update the template to 0.2.0")
    living.just("db-upgrade").ok()
    with living.connect() as connection:
        assert connection.execute("SELECT name FROM widget").fetchone() == ("kept",)
        connection.execute("SELECT phone FROM users")
    assert "Nothing new" in living.just("update").ok().out
    assert "Nothing to commit." in living.just("update", "--continue").ok().out


def test_conflicts_are_listed_until_they_are_resolved(living: Project, template: Path) -> None:
    living.replace(USER, "    is_active", "    nickname: str | None = None\n    is_active")
    living.just("db-migrate").ok()
    commit(living.path, "Nicknames")
    release_with_a_column(template)
    known = living.revisions()
    for command in (["update"], ["update", "--continue"], ["update"]):
        refused = living.just(*command).refused(
            "(1 file)", f"    {USER}\n", "just update --continue"
        )
        assert "db-migrate" not in refused.text
    git(living.path, "add", USER)  # with its markers
    living.just("update", "--continue").refused(USER)

    text = (living.path / USER).read_text()
    living.write(USER, re.sub(r"^(<<<<<<<|=======|>>>>>>>).*\n", "", text, flags=re.MULTILINE))
    git(living.path, "add", USER)
    rejected = living.write("backend/app/main.py.rej", "@@ -1 +1 @@\n")
    living.just("update", "--continue").refused("backend/app/main.py.rej")
    rejected.unlink()

    living.just("update", "--continue").ok()
    (written,) = living.revisions() - known
    assert "_template_0_2_0_" in written.name


def test_an_update_with_conflicts_can_be_given_up(living: Project, template: Path) -> None:
    living.replace(USER, "    is_active", "    nickname: str | None = None\n    is_active")
    commit(living.path, "Nicknames")
    (living.path / "secrets/api_key.txt").write_text("kept")
    (template / "template/NEW.md").write_text("New.\n")
    release_with_a_column(template)
    # What `git status` does not show may not be lost either.
    git(living.path, "config", "status.showUntrackedFiles", "no")
    (living.path / "own.txt").write_text("mine")
    living.just("update").refused("own.txt", "not committed")
    (living.path / "own.txt").unlink()
    undo = living.just("update").refused(USER).err.partition("give the update up: ")[2]
    assert (living.path / "NEW.md").exists()
    (living.path / "own.txt").write_text("mine")
    living.run("sh", "-c", undo.splitlines()[0], cwd=living.backend / "app").ok()
    assert git(living.path, "status", "--porcelain", "--untracked-files=all") == ""
    assert "own.txt" in git(living.path, "show", "--name-only", "stash@{0}^3")
    assert (living.path / "secrets/api_key.txt").read_text() == "kept"


def test_a_step_that_fails_says_how_to_go_on(living: Project, template: Path) -> None:
    add_section(template, "CHANGELOG.md", "0.2.0", "No more active users.")
    for path in template.glob("template/backend/app/models/user.py"):
        path.write_text(re.sub(r"    is_active: .*\n", "", path.read_text()))
    release(template, "v0.2.0")
    refused = living.just("update").refused(
        "still-in-use", "`just db-migrate` did not succeed", "just update --continue"
    )
    assert "just db-check" not in refused.out
    living.just("update", "--continue").refused("Not answered", "still-in-use")
    (written,) = [path for path in living.revisions() if "template_0_2_0" in path.name]
    text = written.read_text()
    reasons = 'accepted = {"still-in-use": "Unused."}'
    written.write_text(text.replace("\n\n\ndef upgrade", f"\n{reasons}\n\n\ndef upgrade", 1))
    assert written.name in living.just("update", "--continue").ok().out


def test_the_new_version_s_code_does_the_second_half(living: Project, template: Path) -> None:
    answers = ".copier-answers.yml"
    living.replace(answers, f"_src_path: {template}", f"_src_path: git+file://{template}")
    commit(living.path, "Another address")
    add_section(template, "CHANGELOG.md", "0.2.0", "Better code.")
    path = template / "template/justfile.jinja"
    path.write_text(path.read_text() + "\n[private]\nnew:\n    @echo brand-new\n")
    path = template / "template/backend/update/finish.py"
    path.write_text(path.read_text().replace('("setup",', '("setup", "new",', 1))
    # The first half is loaded before its files change.
    for name in ("begin", "project", "__main__"):
        path = template / f"template/backend/update/{name}.py"
        path.write_text('"""New."""\n' + path.read_text().partition("\n")[2])
    release(template, "v0.2.0")
    updated = living.just("update").ok().out
    assert "Better code." in updated
    assert "brand-new" in updated


def test_a_project_that_is_no_clean_repository_is_refused(project: Project) -> None:
    project.just("update").refused("not a git repository", "git init -b main && git add --all")
    git(project.path, "init", "--quiet")
    refused = project.just("update").refused("not committed", "?? backend/")
    assert "stash" in refused.err
    (project.path / ".copier-answers.yml").write_text("project_name: Book Club\n")
    commit(project.path, "Start")
    project.just("update").refused(".copier-answers.yml is missing, or does not say")


def test_a_template_that_does_not_answer_gives_a_message(living: Project, template: Path) -> None:
    template.rename(template.with_name("elsewhere"))
    for command in (["update"], ["update", "--check"]):
        living.just(*command).refused("newest version can't be told")


def test_the_user_s_recipes_are_their_own_file(living: Project, template: Path) -> None:
    living.write("justfile.local", "# Mine\n[group('yours')]\nhello:\n    @echo hello; pwd\n")
    commit(living.path, "A recipe")
    release_with_a_column(template)
    assert Template(template).update(living.path) == []
    assert living.just("hello").ok().out.split() == ["hello", str(living.backend)]
    assert "# Mine" in living.just("--list").ok().out
    assert "justfile.local" not in git(living.path, "status", "--porcelain")


def test_a_feature_goes_and_its_table_stays_until_it_is_named(
    living: Project, template: Path
) -> None:
    with living.connect() as connection:
        connection.execute(
            "INSERT INTO users (email, first_name, last_name) VALUES ('a@example.org', 'A', 'B');"
            "INSERT INTO llm_settings (owner_id, provider, model_name) SELECT id, 'x', 'y' FROM users"
        )
    known = living.revisions()
    living.just("update", "--data", "llm_settings=false").refused(
        "No model has the table llm_settings", "just db-migrate --drop-tables llm_settings"
    )
    assert living.revisions() == known
    assert not list(living.path.rglob("*llm_settings.py"))
    assert "LLM" not in (living.backend / "app/main.py").read_text()

    living.just("db-upgrade").ok()
    assert "passed" in living.just("test", "-q", "tests/test_roles.py").ok().out
    living.just("db-migrate", "--drop-tables", "widgets").refused("Not renamed or dropped: widgets")

    written = living.migrate("--drop-tables", "llm_settings")
    assert "DROP TABLE llm_settings" in written.text
    living.just("update", "--continue").ok()
    living.just("db-upgrade").ok()


def test_edits_in_files_that_go_are_not_lost(living: Project, template: Path) -> None:
    routes, model = "backend/app/api/llm_settings.py", "backend/app/models/llm_settings.py"
    for path in (routes, model):
        living.write(path, (living.path / path).read_text() + "\n\nMINE = 1\n")
    commit(living.path, "Mine")
    # Only line endings.
    tests = living.backend / "tests/test_llm_settings.py"
    tests.write_bytes(tests.read_bytes().replace(b"\n", b"\r\n"))
    commit(living.path, "CRLF")
    refused = living.just("update", "--data", "llm_settings=false").refused(
        "(2 files)", f"    {routes}\n    {model}\n", "git show HEAD:./PATH", "git rm PATH"
    )
    assert "db-migrate" not in refused.out
    assert "MINE = 1" in git(living.path, "show", f"HEAD:./{routes}")
    git(living.path, "rm", "--quiet", routes)
    living.just("update", "--continue").refused("(1 file)", f"    {model}\n")
    git(living.path, "rm", "--quiet", model)
    assert "DROP TABLE llm_settings" in living.just("update", "--continue").text


def test_an_empty_table_is_not_asked_about(living: Project) -> None:
    for path in ("backend/app/db/base.py", "backend/app/models/__init__.py"):
        text = (living.path / path).read_text()
        living.write(path, re.sub(r".*Widget.*\n", "", text))
    (living.backend / "app/models/widget.py").unlink()
    assert "DROP TABLE widget" in living.migrate().text
