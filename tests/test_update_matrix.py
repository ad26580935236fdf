"""Every release updates to the working tree, whatever its users have done with it.

A release is found by its tag or commit; a new one needs no edit here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from copier.errors import UnsafeTemplateError
from psycopg.sql import SQL, Identifier

from tests.conftest import REPOSITORY, Home, Project
from tests.updates import (
    WORKING_TREE,
    Template,
    commit,
    contents,
    git,
    releases,
    start_history,
)

RELEASES = releases()
OLDEST = next(iter(RELEASES))
NEWEST = list(RELEASES)[-1]
PEOPLE = """
INSERT INTO users (email, first_name, last_name)
SELECT 'user' || n || '@example.org', 'First ' || n, 'Last ' || n FROM generate_series(1, 50) n;
INSERT INTO roles (name) VALUES ('reader'), ('writer');
INSERT INTO user_roles SELECT users.id, roles.id FROM users, roles
"""
LLM = "INSERT INTO llm_settings (owner_id, provider, model_name) SELECT id, 'p', 'm' FROM users"
OWN_RECIPE = "\n# Say hello\n[group('own')]\nhello:\n    @echo hello\n"


@dataclass(frozen=True)
class Story:
    """What the users of a release have done before they update."""

    live: Callable[[Project], None]
    answers: dict[str, Any] = field(default_factory=dict)
    update: dict[str, Any] = field(default_factory=dict)


def untouched(project: Project) -> None:
    pass


def own_models(project: Project) -> None:
    """A table of theirs, and a column more in it later."""
    project.just("db-model", "Widget").ok()
    project.migrate()
    project.replace(
        "backend/app/models/widget.py",
        "    name: str",
        "    size: int | None = None\n    name: str",
    )
    project.migrate()
    project.just("db-upgrade").ok()
    execute(project, "INSERT INTO widget (name, size) SELECT n, n FROM generate_series(1, 20) n")


def edited_files(project: Project) -> None:
    """A column in a model of the template, and lines in its other files."""
    project.replace(
        "backend/app/models/user.py",
        "    last_name: str",
        "    nickname: str | None = None\n    last_name: str",
    )
    project.migrate()
    project.just("db-upgrade").ok()
    execute(project, "UPDATE users SET nickname = 'Nick ' || id")
    for path, text in EDITS.items():
        file = project.path / path
        file.write_text(file.read_text() + text)
    (project.backend / "app/api/health.py").chmod(0o755)
    (project.path / "LICENSE").write_text("Ours alone.\n")
    (project.path / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n\0mine")


EDITS = {
    "README.md": "\n## Our rules\n\nBe kind.\n",
    ".gitignore": "/ours/\n",
    "justfile": OWN_RECIPE,
    "secrets/README.md": "\nOurs are in the vault.\n",
    "backend/app/api/schemas.py": "\n\nOURS = 1\n",
}


def squashed(project: Project) -> None:
    own_models(project)
    commit(project.path, "Live")
    if "db-squash" in (project.path / "justfile").read_text():
        project.just("db-squash").ok()
    else:
        squash_by_hand(project)


def squash_by_hand(project: Project) -> None:
    """One revision in place of all, under the newest one's name, so that databases go on."""
    latest = project.backend / "alembic/latest_revision.txt"
    newest = latest.read_text().strip()
    for path in project.revisions():
        path.unlink()
    latest.unlink()
    project.just("db-migrate", "everything").ok()
    (path,) = project.revisions()
    written = latest.read_text().strip()
    path.write_text(path.read_text().replace(written, newest))
    path.rename(path.with_name(path.name.replace(written, newest)))
    latest.write_text(f"{newest}\n")


STORIES = {
    "untouched": Story(untouched),
    "own models": Story(own_models),
    "edited files": Story(edited_files),
    "squashed": Story(squashed),
    "feature on": Story(own_models, {"llm_settings": False}, {"llm_settings": True}),
    "feature off": Story(own_models, {"llm_settings": True}, {"llm_settings": False}),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return Template.with_every_release(tmp_path_factory.mktemp("releases") / "template")


@pytest.mark.parametrize(
    ("release", "story"),
    [
        pytest.param(
            release,
            story,
            # In the suite only the most that there is to merge.
            marks=[] if (release, story) == (OLDEST, "edited files") else [pytest.mark.faults],
        )
        for release in RELEASES
        for story in STORIES
    ],
)
def test_a_release_updates_to_the_working_tree(
    at_home: Home, tmp_path: Path, template: Template, release: str, story: str
) -> None:
    told = STORIES[story]
    project = at_home(tmp_path / "project")
    template.copy(project.path, release, **told.answers)
    start_history(project)
    project.just("db-upgrade").ok()
    execute(project, PEOPLE)
    if told.answers.get("llm_settings", True):
        execute(project, LLM)
    told.live(project)
    commit(project.path, "Live")
    has_ledger = (project.backend / "app/migrate/ledger.py").exists()
    before, history, latest = rows(project), contents(project.versions), latest_revision(project)

    assert template.update(project.path, **told.update) == []
    assert f"_commit: {WORKING_TREE}" in (project.path / ".copier-answers.yml").read_text()
    assert contents(project.versions) == history
    assert latest_revision(project) == latest
    # Nothing waits for the new models: the database as it is can go on.
    project.just("db-upgrade").ok()
    if story == "feature off":
        drop_a_table_with_rows(project)
    else:
        project.migrate()
    kept = contents(project.versions)
    assert {name: kept[name] for name in history} == history

    project.just("db-upgrade").ok()
    assert "Nothing to do" in project.just("db-migrate").ok().out
    assert_checked(project)
    assert_kept(before, rows(project), gone={"llm_settings"} if story == "feature off" else set())
    # A release without a ledger is adopted.
    assert ledger(project)[: len(history)] == ["upgrade" if has_ledger else "adopt"] * len(history)
    if story == "feature on":
        execute(project, LLM)
    if story == "edited files":
        assert_edits_are_there(project)
    commit(project.path, "Update")
    project.just("lint").ok()
    assert re.search(r"\d passed", project.just("test", "-q").ok().text)
    project.just("db-downgrade", "-1").ok()
    project.just("db-upgrade").ok()


def drop_a_table_with_rows(project: Project) -> None:
    """It is refused until the table is named, and until then everything else works."""
    known = project.revisions()
    project.just("db-migrate").refused("llm_settings", "--drop-tables")
    assert project.revisions() == known
    assert not (project.backend / "app/models/llm_settings.py").exists()
    execute(project, "UPDATE llm_settings SET provider = 'q'")
    project.migrate("--drop-tables", "llm_settings")


def execute(project: Project, sql: str) -> None:
    with project.connect() as connection:
        for statement in sql.split(";"):
            connection.execute(statement.encode())


def ledger(project: Project) -> list[str]:
    """What was done to the database's revisions, in order."""
    with project.connect() as connection:
        return [
            action
            for (action,) in connection.execute("SELECT action FROM migration_ledger ORDER BY id")
        ]


def rows(project: Project) -> dict[str, list[dict[str, Any]]]:
    """The rows of every table."""
    with project.connect() as connection:
        tables = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
            " AND table_name NOT IN ('alembic_version', 'migration_ledger')"
        ).fetchall()
        return {
            table: [
                row
                for (row,) in connection.execute(
                    SQL("SELECT to_jsonb(t) FROM {} t ORDER BY t").format(Identifier(table))
                )
            ]
            for (table,) in tables
        }


def assert_kept(
    before: dict[str, list[dict[str, Any]]],
    after: dict[str, list[dict[str, Any]]],
    gone: set[str],
) -> None:
    """Every row is there with its values; tables and columns may be new."""
    assert sum(map(len, before.values())) > 100
    assert before.keys() - after.keys() == gone
    for table in before.keys() - gone:
        assert len(before[table]) == len(after[table]), table
        for old, new in zip(before[table], after[table], strict=True):
            assert old.items() <= new.items(), table


def assert_checked(project: Project) -> None:
    answer = json.loads(project.just("db-check", "--json").ok().out)
    assert answer["ok"]
    assert {check["outcome"] for check in answer["checks"]} == {"passed"}, answer
    assert len(project.alembic("heads").ok().out.splitlines()) == 1


def assert_edits_are_there(project: Project) -> None:
    for path, text in EDITS.items():
        assert text in (project.path / path).read_text(), path
    assert project.just("hello").ok().out == "hello\n"
    assert (project.path / "LICENSE").read_text() == "Ours alone.\n"
    assert (project.path / "logo.png").read_bytes() == b"\x89PNG\r\n\x1a\n\0mine"
    assert (project.backend / "app/api/health.py").stat().st_mode & 0o111
    assert "nickname" in (project.backend / "app/models/user.py").read_text()


def latest_revision(project: Project) -> str:
    return (project.backend / "alembic/latest_revision.txt").read_text()


def test_every_version_of_the_changelog_is_found_as_a_release() -> None:
    """A clone without history would test nothing."""
    versions = re.findall(r"^## (\d+\.\d+\.\d+)", (REPOSITORY / "CHANGELOG.md").read_text(), re.M)
    # The newest may be the one that is being made.
    assert {f"v{version}" for version in versions[1:]} <= RELEASES.keys()
    assert RELEASES.keys() <= {f"v{version}" for version in versions}
    assert len(RELEASES) >= 2


@pytest.mark.parametrize("release", RELEASES)
def test_a_file_is_renamed_or_removed_only_with_a_migration(release: str) -> None:
    """Copier would delete it with the users' edits."""
    then = git(REPOSITORY, "ls-tree", "-r", "--name-only", "-z", RELEASES[release], "template")
    now = git(
        REPOSITORY, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "template"
    )
    there = [name for name in now.split("\0") if (REPOSITORY / name).is_file()]
    gone = rendered_names(then.split("\0")) - rendered_names(there)
    migrations = str(yaml.safe_load((REPOSITORY / "copier.yml").read_text()).get("_migrations"))
    assert [name for name in gone if name not in migrations] == []


def rendered_names(files: list[str]) -> set[str]:
    """What files of the template are called in a project that has all of them."""
    names = {re.sub(r"{%.*?%}", "", name).removesuffix(".jinja") for name in files}
    return {name.removeprefix("template/") for name in names if "alembic/versions/" not in name}


def test_a_release_without_a_tag_is_found_by_its_commit(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--no-tags", str(REPOSITORY), str(clone))
    assert releases(clone).keys() <= RELEASES.keys()
    commit(clone, "Release v998.10.0")
    commit(clone, "Talk about Release v998.11.0")
    commit(clone, "Release v998.9.0")
    assert list(releases(clone))[-2:] == ["v998.9.0", "v998.10.0"]
    git(clone, "tag", "v998.9.0", "HEAD~2")
    assert releases(clone)["v998.9.0"] == git(clone, "rev-parse", "HEAD~2").strip()


def test_only_a_trusted_template_is_rendered(tmp_path: Path, template: Template) -> None:
    """The other tests trust one address and nothing else, as a user's settings would."""
    project = tmp_path / "project"
    template.copy(project, NEWEST)
    git(project, "init", "--quiet")
    commit(project, "Start")
    untrusted = Template(template.path, trusted=False)
    with pytest.raises(UnsafeTemplateError):
        untrusted.update(project)
    with pytest.raises(UnsafeTemplateError):
        untrusted.copy(tmp_path / "other", NEWEST)
    assert git(project, "status", "--porcelain") == ""
    assert not (tmp_path / "other").exists()
