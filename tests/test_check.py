"""`just db-check`: what it finds, what it says to do, and that doing it helps."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Project, Result, free_port, mark_database, render, shadow_prefix
from tests.test_history import LATEST, commit, git
from tests.test_shadow import databases

CHECKS = ["conflicts", "history", "shared", "models", "replay", "lint", "drift", "database"]
INITIAL = "572de137043f"


def add_revision(project: Project, revision: str, parent: str = INITIAL, **body: str) -> Path:
    """Writes a revision of a function, which no model tells of, or of what `up` and `down` do."""
    (first,) = project.versions.glob(f"*_{INITIAL}.py")
    head = first.read_text().partition("def upgrade")[0]
    head = head.replace(
        "down_revision: str | Sequence[str] | None = None", f'down_revision = "{parent}"'
    )
    up = body.get("up", f"CREATE FUNCTION f_{revision}() RETURNS int LANGUAGE sql RETURN 1")
    down = body.get("down", f"DROP FUNCTION f_{revision}")
    path = project.versions / f"2026-12-01_{revision}.py"
    path.write_text(
        head.replace(f'"{INITIAL}"\ndown', f'"{revision}"\ndown')
        + f"def upgrade() -> None:\n    op.execute({up!r})\n\n\n"
        + f"def downgrade() -> None:\n    op.execute({down!r})\n"
    )
    project.write(LATEST, f"{revision}\n")
    return path


def marks(result: Result) -> dict[str, str]:
    """What each check's line begins with."""
    found = re.findall(r"^(ok|FAILED|skipped) +(\w+)", result.out, re.MULTILINE)
    return {name: mark for mark, name in found}


def assert_fails(project: Project, check: str, *parts: str) -> Result:
    """Only this check fails, and what is said has these parts."""
    result = project.just("db-check").refused(*parts)
    assert [name for name, mark in marks(result).items() if mark == "FAILED"] == [check], result.out
    return result


def assert_passes(project: Project) -> Result:
    result = project.just("db-check").ok()
    assert list(marks(result)) == CHECKS
    return result


@pytest.fixture(scope="module")
def rendered(
    tmp_path_factory: pytest.TempPathFactory,
    base_environment: dict[str, str],
    shared: dict[str, str],
) -> Iterator[tuple[Project, Path]]:
    """One project for the file, at its first revision, and a copy of its .git for `repository`."""
    folder = tmp_path_factory.mktemp("check")
    project = Project(
        render(folder / "project", llm_settings=False),
        {
            **base_environment,
            "POSTGRES_HOST": "127.0.0.1",
            "POSTGRES_PORT": shared["port"],
            "POSTGRES_USER": "app",
            "POSTGRES_PASSWORD": shared["password"],
            "POSTGRES_DB": f"check_{os.getpid()}",
        },
    )
    database = project.env["POSTGRES_DB"]
    with project.connect(dbname="postgres") as server:
        server.execute(f"CREATE DATABASE {database}")
        mark_database(server, database)
    project.just("db-upgrade").ok()
    add_revision(project, "aaaa")
    add_revision(project, "bbbb", "aaaa")
    add_revision(project, "cccc", "bbbb")
    git(project, "init", "--quiet", "--initial-branch=main").ok()
    commit(project, "Start")
    git(project, "checkout", "--quiet", "-b", "feature").ok()
    shutil.copytree(project.path / ".git", folder / "git")
    yield project, folder / "git"
    names = [database, *databases(project)]
    with project.connect(dbname="postgres") as server:
        for name in names:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def project(rendered: tuple[Project, Path]) -> Project:
    """The project as it was, on the branch `feature` of a main with the revisions aaaa to cccc."""
    shared_project, saved = rendered
    project = Project(shared_project.path, dict(shared_project.env))
    shutil.rmtree(project.path / ".git", ignore_errors=True)
    shutil.copytree(saved, project.path / ".git")
    git(project, "reset", "--quiet", "--hard").ok()
    git(project, "clean", "--quiet", "-d", "--force").ok()
    for folder in ("alembic/versions", "app/models"):  # Python compares seconds and sizes only
        shutil.rmtree(project.backend / folder / "__pycache__", ignore_errors=True)
    with project.connect() as connection:
        connection.execute(f"UPDATE alembic_version SET version_num = '{INITIAL}'")
    return project


def test_one_line_for_each_check_and_the_revisions_run_once(project: Project) -> None:
    name = project.env["POSTGRES_DB"]
    own = [f"{name}_shadow_{word}" for word in ("replay", "copy", "building", "0123456789ab")]
    with project.connect() as connection:
        connection.execute(f"CREATE DATABASE {shadow_prefix(name)}replay")  # a killed run leaves it
        for database in own:  # somebody's
            connection.execute(f"CREATE DATABASE {database}")
    add_revision(project, "dddd", "cccc")
    first = assert_passes(project)
    assert "Running" not in first.err
    assert re.search(r"ok +shared +4 revisions as in main \([0-9a-f]{12}\)", first.out)
    assert "in the history, 4 revisions pending" in first.out
    assert re.search(r"8 checks in [0-9.]+ s: 8 passed\.", first.out)
    assert "unchanged since" not in first.out
    assert "unchanged since" in assert_passes(project).out
    with project.connect() as connection:
        for database in own:
            connection.execute(f"DROP DATABASE {database}")
    assert len(databases(project)) == 1  # the copy that the revisions ran on is gone


def test_json_is_all_there_is_on_standard_output(project: Project) -> None:
    project.replace("backend/app/models/role.py", "\nclass", '\nprint("imported")\n\n\nclass')
    found = json.loads(project.just("db-check", "--json").ok().out)
    assert found["ok"] is True
    assert [check["name"] for check in found["checks"]] == CHECKS
    project.replace("backend/app/models/role.py", "    name", "    size: int | None\n    name")
    answer = project.just("db-check", "--json")
    assert answer.code == 1
    found = json.loads(answer.out)
    assert found["ok"] is False
    assert 0 < sum(check["seconds"] for check in found["checks"]) <= found["seconds"] + 0.1
    drift = found["checks"][CHECKS.index("drift")]
    assert drift["outcome"] == "failed"
    assert drift["findings"] == [
        {"message": "roles add size", "fix": "Write a revision of this: just db-migrate"}
    ]
    assert project.just("db-check", "--nonsense").code == 2


def test_without_a_running_database(project: Project) -> None:
    nowhere: dict[str, Any] = {"POSTGRES_PORT": str(free_port()), "POSTGRES_PASSWORD": "other"}
    result = project.just("db-check", **nowhere).ok()
    assert marks(result)["replay"] == marks(result)["drift"] == "ok"
    assert re.search(r"skipped database +No database answers on .* just start", result.out)
    assert list((project.path / ".postgres" / "throwaway").iterdir()) == []


def test_a_wrong_or_missing_password_is_told_once(project: Project) -> None:
    result = project.just("db-check", POSTGRES_PASSWORD="other").refused("refuses the password")
    assert result.out.count("refuses the password") == 1
    assert marks(result)["database"] == "skipped"
    project.env.pop("POSTGRES_PASSWORD")
    assert_fails(project, "replay", "The secret postgres_password is missing", "just secrets")


def test_a_development_database_that_is_not_in_the_history(project: Project) -> None:
    with project.connect() as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'feedfeedfeed'")
    checked = project.just("db-check").ok()
    assert "skipped database   it is at feedfeedfeed, which is not on this branch" in checked.out


@pytest.mark.parametrize("how", ["merge", "rebase", "cherry-pick"])
def test_a_conflict_resolved_without_looking_leaves_two_heads(project: Project, how: str) -> None:
    mine = add_revision(project, "eeee", "cccc")
    commit(project, "Mine")
    git(project, "checkout", "--quiet", "main").ok()
    theirs = add_revision(project, "dddd", "cccc")
    commit(project, "Theirs")
    if how != "cherry-pick":
        git(project, "checkout", "--quiet", "feature").ok()
    assert git(project, how, "feature" if how == "cherry-pick" else "main").code == 1
    result = assert_fails(project, "conflicts", f"{LATEST}, line 1", "just db-rebase")
    assert [*marks(result).values()] == ["FAILED", *["skipped"] * 7]
    project.write(LATEST, "eeee\n")
    git(project, "add", "--all").ok()
    git(project, *(["commit"] if how == "merge" else [how, "--continue"])).ok()
    assert_fails(project, "history", "2 heads", mine.name, theirs.name, "just db-rebase")
    # A cherry-pick made it main's own.
    project.just("db-rebase", *(["--onto", "dddd"] if how == "cherry-pick" else [])).ok()
    assert re.search(r"^down_revision.* = ['\"]dddd['\"]$", mine.read_text(), re.MULTILINE)


def test_an_underline_is_no_conflict(project: Project) -> None:
    model = "backend/app/models/role.py"
    text = (project.path / model).read_text()
    project.write(model, f'"""Roles\n=======\n"""\n\n{text}')
    assert marks(project.just("db-check").ok())["conflicts"] == "ok"
    project.write(model, f"{text}<<<<<<< HEAD\n=======\n>>>>>>> theirs\n")
    assert_fails(project, "conflicts", f"{model}, line {len(text.splitlines()) + 1}", "markers")


def restore(project: Project, result: Result) -> None:
    """Does what the findings say, from another folder."""
    commands = re.findall(r": (git checkout .*)$", result.out, re.MULTILINE)
    assert commands
    for command in commands:
        project.run("bash", "-euc", command, cwd=project.path / "docs").ok()


def changes(project: Project) -> str:
    return git(project, "status", "--porcelain").ok().out


def test_what_main_has_is_not_edited_not_even_in_a_comment(project: Project) -> None:
    path = next(project.versions.glob("*bbbb.py"))
    path.write_text(path.read_text() + "# harmless\n")
    result = assert_fails(project, "shared", path.name, "was edited", "which main has")
    restore(project, result)
    assert changes(project) == ""


def test_what_main_has_is_not_deleted(project: Project) -> None:
    next(project.versions.glob("*cccc.py")).unlink()
    project.write(LATEST, "bbbb\n")
    result = assert_fails(project, "shared", "2026-12-01_cccc.py", "cccc", "was deleted")
    restore(project, result)
    assert_fails(project, "history", f"{LATEST} has bbbb", "just db-rebase --onto cccc")
    project.just("db-rebase", "--onto", "cccc").ok()
    assert changes(project) == ""


def test_what_main_has_is_not_given_another_place(project: Project) -> None:
    for name, old, new in (("bbbb", "aaaa", "cccc"), ("cccc", "bbbb", "aaaa")):
        path = next(project.versions.glob(f"*{name}.py"))
        path.write_text(
            path.read_text().replace(f'down_revision = "{old}"', f'down_revision = "{new}"')
        )
    project.write(LATEST, "bbbb\n")
    result = assert_fails(
        project, "shared", "follows cccc here and aaaa there", "follows aaaa here and bbbb there"
    )
    restore(project, result)
    assert changes(project).split() == ["M", LATEST]


def test_other_line_endings_and_another_name_are_no_edit(project: Project) -> None:
    for path in project.revisions():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
        path.rename(path.with_name(f"renamed_{path.name}"))
    assert marks(assert_passes(project))["shared"] == "ok"


def test_a_squash_replaces_exactly_the_revisions_that_it_names(project: Project) -> None:
    old = {name: next(project.versions.glob(f"*{name}.py")) for name in ("bbbb", "cccc")}
    sums = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in old.items()}
    for path in old.values():
        path.unlink()
    squashed = add_revision(project, "cccc", "aaaa")
    squashed = squashed.rename(squashed.with_name("squashed_cccc.py"))
    text = squashed.read_text()
    squashed.write_text(f"{text}\n\nreplaces = {sums!r}\n")
    assert marks(assert_passes(project))["shared"] == "ok"
    sums["bbbb"] = "0" * 64
    squashed.write_text(f"{text}\n\nreplaces = {sums!r}\n")
    assert_fails(project, "shared", "bbbb", "was deleted")


def test_on_main_the_last_commit_and_origin_count(project: Project, tmp_path: Path) -> None:
    git(project, "clone", "--quiet", "--bare", ".", str(tmp_path / "origin.git")).ok()
    git(project, "remote", "add", "origin", str(tmp_path / "origin.git")).ok()
    git(project, "fetch", "--quiet", "origin").ok()
    git(project, "checkout", "--quiet", "main").ok()
    path = add_revision(project, "dddd", "cccc")
    commit(project, "Not pushed yet")
    path.write_text(path.read_text() + "# harmless\n")
    result = assert_fails(project, "shared", path.name, "which main has")
    assert result.out.count("was edited") == 1
    restore(project, result)
    pushed = next(project.versions.glob("*cccc.py"))
    pushed.write_text(pushed.read_text() + "# harmless\n")
    commit(project, "Edit what was pushed")
    assert_fails(project, "shared", pushed.name, "which origin/main has")
    # As CI checks out a pull request: the merge of both, and no branch main.
    git(project, "checkout", "--quiet", "--detach").ok()
    git(project, "branch", "--quiet", "-D", "main").ok()
    assert_fails(project, "shared", pushed.name, "which origin/main has")


def test_a_branch_is_compared_with_what_it_has_of_main(project: Project) -> None:
    git(project, "checkout", "--quiet", "main").ok()
    path = add_revision(project, "dddd", "cccc")
    commit(project, "Theirs, not merged yet")
    git(project, "checkout", "--quiet", "feature").ok()
    assert marks(assert_passes(project))["shared"] == "ok"
    # The other side of a merge that is not committed yet counts.
    git(project, "commit", "--quiet", "--allow-empty", "--message", "Mine").ok()
    git(project, "merge", "--no-commit", "main").ok()
    path.write_text(path.read_text() + "# harmless\n")
    assert_fails(project, "shared", path.name, "was edited")


def test_the_base_branch_is_found_by_its_usual_names_or_asked_for(project: Project) -> None:
    git(project, "branch", "--quiet", "-D", "feature")
    git(project, "checkout", "--quiet", "-B", "feature", "main").ok()
    git(project, "branch", "--quiet", "--move", "main", "master").ok()
    assert "as in master" in assert_passes(project).out
    git(project, "branch", "--quiet", "--move", "master", "trunk").ok()
    assert_fails(project, "shared", "no branch main", "git config migrate.baseBranch NAME")
    git(project, "config", "init.defaultBranch", "trunk").ok()
    assert "as in trunk" in assert_passes(project).out
    # As a clone of a repository whose default branch has this name.
    git(project, "config", "--unset", "init.defaultBranch").ok()
    git(project, "update-ref", "refs/remotes/origin/next", "trunk").ok()
    git(project, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/next").ok()
    assert "as in origin/next" in assert_passes(project).out
    git(project, "symbolic-ref", "--delete", "refs/remotes/origin/HEAD").ok()
    git(project, "branch", "--quiet", "-D", "trunk").ok()
    fix = assert_fails(project, "shared", "no branch main").out
    assert "git config migrate.baseBranch feature" in fix


def test_what_git_can_not_tell_is_skipped_with_the_reason(project: Project) -> None:
    def reason() -> str:
        result = assert_passes(project)
        (line,) = [line for line in result.out.splitlines() if line.startswith("skipped shared")]
        return line

    git(project, "branch", "--quiet", "--move", "main", "trunk").ok()
    git(project, "config", "migrate.baseBranch", "trunk").ok()
    assert marks(assert_passes(project))["shared"] == "ok"
    git(project, "checkout", "--quiet", "--orphan", "empty").ok()
    assert "no commit" in reason()
    shutil.rmtree(project.path / ".git")
    assert "not a git repository" in reason()
    programs = project.path / "backend/programs"
    programs.mkdir()
    for name in ("sh", "just", "uv"):
        found = shutil.which(name, path=project.env["PATH"])
        assert found
        (programs / name).symlink_to(found)
    project.env["PATH"] = str(programs)
    assert "git is not installed" in reason()


def test_a_commit_hook_refuses_in_a_linked_work_tree_too(project: Project, tmp_path: Path) -> None:
    configuration = yaml.safe_load((project.path / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repository in configuration["repos"] for hook in repository["hooks"]]
    (hook,) = [hook for hook in hooks if hook["id"] == "db-check"]
    for changed in ("alembic/versions/x.py", "alembic/latest_revision.txt", "app/models/user.py"):
        assert re.search(hook["files"], f"backend/{changed}")
    script = project.write(".git/hooks/pre-commit", f"#!/bin/sh\nexec {hook['entry']}\n")
    script.chmod(0o755)
    linked = tmp_path / "linked"
    git(project, "worktree", "add", "--quiet", "-b", "other", str(linked)).ok()
    path = linked / "backend/alembic/versions/2026-12-01_bbbb.py"
    path.write_text(path.read_text() + "# harmless\n")
    refused = project.run("git", "commit", "--all", "--message", "Edit", cwd=linked)
    assert refused.code == 1
    assert "was edited" in refused.text


@pytest.mark.parametrize(
    ("parent", "parts"),
    [
        ('"gone"', ["follows revision gone, which has no file", "git fetch --all"]),
        ("None", ["2 first revisions", "by hand"]),
        ('"dddd"', ["follow each other in a circle: dddd"]),
        ("(", ["SyntaxError", "2026-12-01_dddd.py, line"]),
    ],
)
def test_a_history_that_is_not_one_line(project: Project, parent: str, parts: list[str]) -> None:
    path = add_revision(project, "dddd", "cccc")
    path.write_text(path.read_text().replace('down_revision = "cccc"', f"down_revision = {parent}"))
    result = assert_fails(project, "history", *parts)
    assert "replay     not run, because history failed" in result.out


def test_an_empty_history(project: Project) -> None:
    shutil.rmtree(project.path / ".git")
    for path in project.revisions():
        path.unlink()
    with project.connect() as connection:
        connection.execute("DELETE FROM alembic_version")
    project.just("db-check").refused(f"{LATEST} has cccc", "is none", "just db-migrate")
    (project.path / LATEST).unlink()
    result = assert_fails(project, "drift", "add table users", "just db-migrate")
    assert "no revisions yet" in result.out
    with project.connect() as connection:
        connection.execute(f"INSERT INTO alembic_version VALUES ('{INITIAL}')")


def test_models_that_are_broken_or_not_registered(project: Project) -> None:
    widget = project.write("backend/app/models/widget.py", "class Widget(\n")
    result = assert_fails(project, "models", "app/models/widget.py, line 1: SyntaxError")
    assert marks(result)["drift"] == "skipped"
    assert marks(result)["replay"] == "ok"
    widget.unlink()
    (project.backend / "app/models/shop").mkdir()
    project.write("backend/app/models/shop/__init__.py", "")
    project.write(
        "backend/app/models/shop/item.py",
        "from sqlmodel import Field, SQLModel\n\n\nclass Item(SQLModel, table=True):\n"
        "    id: int | None = Field(default=None, primary_key=True)\n",
    )
    line = "from app.models.shop.item import Item  # noqa: F401"
    assert_fails(project, "models", "Item (app/models/shop/item.py) is not registered", line)
    # Half-registered: app/models exports it, app/db/base.py does not have it.
    exports = "backend/app/models/__init__.py"
    project.replace(exports, "# Your models\n", "# Your models\nfrom .shop.item import Item\n")
    assert_fails(project, "models", "is not registered", line)


def test_a_downgrade_that_fails(project: Project) -> None:
    path = add_revision(project, "dddd", "cccc", down="DROP TABLE nowhere")
    result = assert_fails(
        project,
        "replay",
        "The downgrade of revision dddd failed",
        path.name,
        'table "nowhere" does not exist',
        'irreversible = "the reason"',
    )
    assert "just db-downgrade" not in result.out
    assert "Running" not in result.text


def test_a_downgrade_that_leaves_something_behind(project: Project) -> None:
    add_revision(project, "dddd", "cccc", down="SELECT 1")
    assert_fails(
        project,
        "replay",
        "At base there still is: CREATE FUNCTION f_dddd()",
        "The downgrade() of revision dddd (2026-12-01_dddd.py) does not lead back",
    )


def test_each_downgrade_alone_undoes_its_upgrade(project: Project) -> None:
    add_revision(project, "dddd", "cccc", up="CREATE TABLE t (id int)", down="DROP TABLE t")
    path = add_revision(
        project, "eeee", "dddd", up="ALTER TABLE t ADD COLUMN size int", down="SELECT 1"
    )
    add_revision(project, "ffff", "eeee")
    fails = project.just("db-check").refused(
        f"The downgrade() of revision eeee ({path.name}) does not lead back", "column t.size"
    )
    assert marks(fails)["replay"] == "FAILED"
    path.write_text(path.read_text().replace("SELECT 1", "ALTER TABLE t DROP COLUMN size"))
    assert marks(project.just("db-check"))["replay"] == "ok"
    # Those before are not tried again: the new one leaves a function that it never made.
    up = "CREATE FUNCTION g() RETURNS int LANGUAGE sql RETURN 1"
    path = add_revision(project, "aabb", "ffff", up=up, down="ALTER FUNCTION g RENAME TO h")
    project.just("db-check").refused(f"revision aabb ({path.name}) does not lead back", "h()")


def irreversible(path: Path) -> None:
    path.write_text(f'{path.read_text()}\n\nirreversible = "rows are gone"\n')


def test_where_there_is_no_way_back_the_revisions_before_are_left_alone(project: Project) -> None:
    irreversible(add_revision(project, "dddd", "cccc", down="SELECT 1/0"))
    add_revision(project, "eeee", "dddd")
    said = assert_passes(project).out
    assert "down to dddd and up again; it has no way back: rows are gone" in said


def test_a_second_way_up_that_fails(project: Project) -> None:
    irreversible(add_revision(project, "dddd", "cccc"))
    path = add_revision(project, "eeee", "dddd", down="SELECT 1")
    assert_fails(
        project, "replay", "The upgrade of revision eeee failed", path.name, "already exists"
    )


def test_a_schema_that_is_another_one_afterwards(project: Project) -> None:
    irreversible(add_revision(project, "dddd", "cccc"))
    function = "CREATE OR REPLACE FUNCTION f_dddd() RETURNS int LANGUAGE sql"
    up = f"DO $$ BEGIN IF f_dddd() = 1 THEN {function} RETURN 2; END IF; END $$"
    add_revision(project, "eeee", "dddd", up=up, down=f"{function} RETURN 3")
    assert_fails(project, "replay", "-     RETURN 3", "+     RETURN 2", "undo")


def test_a_history_that_can_not_be_applied(project: Project) -> None:
    path = add_revision(project, "dddd", "cccc", up="SELECT 1/0")
    result = assert_fails(project, "replay", "upgrade of revision dddd", path.name, "by zero")
    assert marks(result)["drift"] == "skipped"


def test_a_deleted_revision_that_others_follow_is_got_back(project: Project) -> None:
    next(project.versions.glob("*bbbb.py")).unlink()
    for deleted in ("not committed", "committed"):
        refused = project.just("db-check").refused("follows revision bbbb, which has no file")
        back = re.search(r"Get it back with: (git checkout \S+ -- \S+bbbb.py)", refused.out)
        assert back is not None, deleted
        assert "db-rebase" not in refused.out
        for command in (["history"], ["heads"], ["show", "head"], ["revision", "-m", "x"]):
            answer = project.alembic(*command)
            assert answer.code != 0
            assert back[1] in answer.text.replace("HEAD", back[1].split()[2])
            assert "Traceback" not in answer.text
        for recipe in ("db-history", "db-rebase", "db-migrate"):
            project.just(recipe).refused(back[1])
        if deleted == "not committed":
            commit(project, "Delete it")
    assert back is not None
    assert back
    project.run("bash", "-euc", back[1], cwd=project.path / "docs").ok()
    assert marks(project.just("db-check").ok())["history"] == "ok"


def test_merges_that_main_has_are_a_fact_and_new_ones_a_finding(project: Project) -> None:
    add_revision(project, "dddd", "bbbb")
    path = add_revision(project, "eeee", "cccc")
    path.write_text(path.read_text().replace('= "cccc"', '= ("cccc", "dddd")'))
    root = add_revision(project, "rrrr")
    root.write_text(root.read_text().replace(f'= "{INITIAL}"', "= None"))
    joined = add_revision(project, "ffff", "eeee")
    joined.write_text(joined.read_text().replace('= "eeee"', '= ("eeee", "rrrr")'))
    assert_fails(
        project, "history", f"{path.name} is a merge revision", "2 first revisions", "db-rebase"
    )
    commit(project, "Old merges")
    git(project, "branch", "--force", "main").ok()
    assert_passes(project)
    project.just("db-upgrade").ok()
    project.just("db-downgrade").ok()
    assert "eeee" in project.just("db-current").ok().out
    project.just("db-downgrade").refused("beside each other", "just db-downgrade REVISION")
    project.just("db-upgrade").ok()
    project.just("db-downgrade", "--", "-3").refused("merge revision", "ways down")
    mine = add_revision(project, "abab", "ffff")
    commit(project, "Mine")
    git(project, "checkout", "--quiet", "main").ok()
    add_revision(project, "cdcd", "ffff")
    commit(project, "Theirs")
    git(project, "checkout", "--quiet", "feature").ok()
    assert git(project, "merge", "main").code == 1
    assert f"{mine.name} follows cdcd now" in project.just("db-rebase").ok().out
    commit(project, "Merge")
    assert_passes(project)
    project.just("db-downgrade", "base").ok()  # another first revision stays otherwise
    project.just("db-upgrade", INITIAL).ok()


def test_what_only_revisions_have_is_told_as_that(project: Project) -> None:
    up, down = ("ALTER TABLE roles ADD COLUMN size int", "ALTER TABLE roles DROP COLUMN size")
    add_revision(project, "dddd", "cccc", up=up, down=down)
    assert_fails(
        project,
        "drift",
        "The revisions add the column roles.size, but no model has it",
        "Add it to the models",
    )


TOUCHES_MODELS = """

def upgrade() -> None:
    import app.models
    from app.db.metadata import metadata
    from sqlmodel import Field, Session, SQLModel

    class Old(SQLModel, table=True):
        __tablename__ = "roles_old"
        id: int | None = Field(default=None, primary_key=True)

    assert "users" in metadata.tables
    metadata.reflect(op.get_bind())
    sa.Table("junk", app.models.User.__table__.metadata, sa.Column("x", sa.Integer))
    with Session(op.get_bind()) as session:
        session.get(app.models.User, 1)
    try:
        with op.get_bind().begin_nested():
            op.execute("SELECT * FROM nowhere")
    except sa.exc.DBAPIError:
        op.execute("CREATE TABLE new (id int)")


def downgrade() -> None:
    op.execute("DROP TABLE new")
"""


def test_revisions_do_not_touch_the_models_and_may_use_savepoints(project: Project) -> None:
    path = add_revision(project, "dddd", "cccc")
    path.write_text(path.read_text().partition("\n\ndef upgrade")[0] + TOUCHES_MODELS)
    model = "from sqlalchemy import Column, Integer, Table\nfrom sqlmodel import SQLModel\n\n"
    project.write(
        "backend/app/models/new.py",
        f'{model}Table("new", SQLModel.metadata, Column("id", Integer))\n',
    )
    assert_passes(project)
    assert_passes(project)
    project.just("db-upgrade").ok()
    project.just("db-downgrade").ok()
