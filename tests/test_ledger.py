"""The ledger: what was applied is recorded in the database, and what changed since is refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Project
from tests.test_history import commit, git

INITIAL = "572de137043f"
REVISION = '''\
"""{name}

Revision ID: {revision}
Revises: {parent}
"""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{parent}"


def upgrade() -> None:
    {upgrade}


def downgrade() -> None:
    {downgrade}
'''


def append(project: Project, name: str, upgrade: str = "", downgrade: str = "") -> str:
    """Adds a revision that makes a table, unless told otherwise; returns its identifier."""
    latest = project.backend / "alembic" / "latest_revision.txt"
    revision = name.encode().hex().zfill(12)[:12]
    text = REVISION.format(
        name=name,
        revision=revision,
        parent=latest.read_text().strip(),
        upgrade=upgrade or f'op.execute("CREATE TABLE {name} (id int)")',
        downgrade=downgrade or f'op.execute("DROP TABLE {name}")',
    )
    (project.versions / f"2026-11-22_{name}_{revision}.py").write_text(text, encoding="utf-8")
    latest.write_text(f"{revision}\n")
    return revision


def file_of(project: Project, revision: str) -> Path:
    (path,) = project.versions.glob(f"*{revision}.py")
    return path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def rows(project: Project, columns: str = "revision, action") -> list[tuple[Any, ...]]:
    with project.connect() as connection:
        return connection.execute(f"SELECT {columns} FROM migration_ledger ORDER BY id").fetchall()


@pytest.fixture
def line(generate: Callable[..., Project]) -> tuple[Project, str, str]:
    """Two revisions after the first one, applied and in git."""
    project = generate()
    names = append(project, "second"), append(project, "third")
    project.just("db-upgrade").ok()
    git(project, "init", "--quiet", "--initial-branch=main").ok()
    commit(project, "Start")
    return project, *names


def test_every_move_is_recorded_with_its_circumstances(generate: Callable[..., Project]) -> None:
    project = generate()
    second = append(project, "second")
    project.just("db-upgrade", APP_VERSION="1.2.3").ok()
    project.just("db-downgrade").ok()
    project.alembic("stamp", second).ok()
    project.alembic("stamp", "base").ok()
    project.alembic("stamp", "head").ok()
    moves = [(INITIAL, "upgrade"), (second, "upgrade"), (second, "downgrade")]
    stamps = [(second, "stamp"), (INITIAL, "unstamp"), (second, "unstamp")]
    assert rows(project) == [*moves, *stamps, (INITIAL, "stamp"), (second, "stamp")]
    with project.connect() as connection:
        found = connection.execute(
            "SELECT parent, app_version, role, by LIKE '%@%', duration_ms BETWEEN 0 AND 60000, "
            "now() - at < interval '5 min', length(checksum), note FROM migration_ledger WHERE id = 2"
        ).fetchone()
    assert found == (INITIAL, "1.2.3", "app", True, True, True, 64, None)
    assert rows(project, "app_version, duration_ms")[-1] == ("0.1.0", None)


def test_a_revision_that_fails_leaves_no_row(generate: Callable[..., Project]) -> None:
    project = generate()
    append(project, "second")
    append(project, "failing", 'op.execute("SELECT 1/0")')
    project.just("db-upgrade").refused("division by zero")
    assert [action for _, action in rows(project)] == ["upgrade", "upgrade"]


def test_an_edited_applied_revision_is_refused(line: tuple[Project, str, str]) -> None:
    project, second, third = line
    path = file_of(project, second)
    source = path.read_bytes()
    # Two faults at once are both named; a comment is enough.
    path.write_bytes(source + b"# only a comment\n")
    edit(file_of(project, third), "CREATE TABLE third", "CREATE TABLE fourth")
    append(project, "pending")
    for command in (["just", "db-upgrade"], ["just", "db-downgrade", "base"]):
        refused = project.run(*command).refused(
            f"Revision {second}, applied on", f"Revision {third}", "was edited", path.name
        )
        assert f"just db-repair {second}" in refused.text
        assert "Running" not in refused.text
    assert "was edited" in project.alembic("stamp", "base").text
    for answer in refused.text.splitlines():
        if "git restore" in answer:
            restore = answer.partition(": ")[2]
            project.run("bash", "-ec", restore, cwd=project.path / "docs").ok()
    assert path.read_bytes() == source
    project.just("db-upgrade").ok()
    # Where git can't help it says so, and reading never refuses.
    path.write_bytes(source + b"# again\n")
    project.run("rm", "-rf", ".git").ok()
    assert "git restore" not in project.just("db-upgrade").refused("was edited").text
    project.just("db-history").ok()


def test_an_accepted_edit_is_recorded_with_who_and_why(line: tuple[Project, str, str]) -> None:
    project, second, _ = line
    assert "Nothing to repair" in project.just("db-repair", second).ok().out
    edit(file_of(project, second), "(id int)", "(id bigint)")
    git(project, "config", "user.name", "Grace").ok()
    said = project.just("db-repair", second, "it's", "the same", "100%").ok().out
    assert "Grace" in said
    assert second in said
    (found,) = rows(project, "revision, action, by, note")[-1:]
    assert found[:2] == (second, "repair")
    assert found[2].startswith("Grace, ")
    assert found[3] == "it's the same 100%"
    assert "Nothing to repair" in project.just("db-repair", second).ok().out
    project.just("db-downgrade", INITIAL).ok()
    project.just("db-repair", second).refused("not applied")
    project.just("db-repair", "nonsense").refused("nonsense", "just db-history")


def test_a_deleted_applied_revision_is_refused(line: tuple[Project, str, str]) -> None:
    project, second, third = line
    name = file_of(project, second).name
    file_of(project, second).unlink()
    restore = project.just("db-upgrade").refused(second, "has no file", "git restore").text
    assert name in restore
    # Alembic can't read such a history at all.
    for command in ("db-current", "db-sql"):
        project.just(command).refused(f"third_{third}.py follows {second}", "git")
    assert f"follows {second}, which has no file" in project.alembic("current").text
    project.just("db-repair", second).refused(f"third_{third}.py", "its file is needed")
    # Taken out of the line: one finding for each of the two files.
    edit(file_of(project, third), f'down_revision = "{second}"', f'down_revision = "{INITIAL}"')
    project.just("db-upgrade").refused(f"followed {second} then and follows {INITIAL} now", second)
    project.just("db-repair", second).ok()
    assert rows(project, "revision, action, checksum")[-1] == (second, "repair", None)
    project.just("db-upgrade").refused(third)
    project.just("db-repair", third).ok()
    assert "Nothing to apply" in project.just("db-upgrade").ok().out
    # The revision that the database is at is not to be spared.
    file_of(project, third).unlink()
    refused = project.just("db-downgrade").refused(third, "has no file", "just db-reset")
    assert "db-repair" not in refused.text
    project.just("db-repair", third).refused("is at revision", "just db-reset")


def test_a_revision_put_in_between_applied_ones_is_refused(line: tuple[Project, str, str]) -> None:
    project, second, third = line
    between = append(project, "between")
    edit(file_of(project, between), f'down_revision = "{third}"', f'down_revision = "{second}"')
    edit(file_of(project, third), f'down_revision = "{second}"', f'down_revision = "{between}"')
    project.just("db-upgrade").refused(f"followed {second} then and follows {between} now")
    # Accepted, it would count as applied and never run.
    project.just("db-repair", third).refused(between, "never run", second)


def test_a_database_from_before_the_ledger_is_adopted(line: tuple[Project, str, str]) -> None:
    project, second, third = line
    with project.connect() as connection:
        connection.execute("DROP TABLE migration_ledger")
        project.just("db-history").ok()
        project.alembic("current").ok()
        found = connection.execute("SELECT to_regclass('migration_ledger')").fetchone()
        assert found == (None,)
    project.just("db-upgrade").ok()
    assert set(rows(project)) == {(name, "adopt") for name in (INITIAL, second, third)}
    edit(file_of(project, second), "(id int)", "(id bigint)")
    project.just("db-upgrade").refused(second, "found applied on")


def test_printed_sql_keeps_the_ledger_right(project: Project) -> None:
    second = append(project, "second")
    script = project.write("pending.sql", project.just("db-sql").ok().out)
    project.just("db-shell", "-qv", "ON_ERROR_STOP=1", "-f", str(script)).ok()
    assert rows(project, "revision, action, note")[-1] == (second, "upgrade", "from printed SQL")
    assert "Nothing to apply" in project.just("db-upgrade").ok().out
    assert len(rows(project)) == 2
    script.write_text(project.alembic("downgrade", f"{second}:base", "--sql").ok().out)
    project.just("db-shell", "-qv", "ON_ERROR_STOP=1", "-f", str(script)).ok()
    assert rows(project)[-2:] == [(second, "downgrade"), (INITIAL, "downgrade")]


@pytest.fixture
def owner(generate: Callable[..., Project]) -> Iterator[Project]:
    """A project as a role that owns the database and may do nothing else."""
    project = generate()
    role, database = f"owner_{os.getpid()}", project.env["POSTGRES_DB"]
    with project.connect(dbname="postgres") as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x' NOCREATEDB")
        connection.execute(f"DROP DATABASE {database}")
        connection.execute(f"CREATE DATABASE {database} OWNER {role}")
    project.env |= {"POSTGRES_USER": role, "POSTGRES_PASSWORD": "x"}
    yield project
    with project.connect(dbname="postgres", user="app", password=project.shared_password) as admin:
        admin.execute(f"DROP DATABASE {database} WITH (FORCE)")
        admin.execute(f"DROP ROLE {role}")


def test_a_role_with_no_more_than_its_database_is_enough(owner: Project) -> None:
    owner.just("db-upgrade").ok()
    owner.just("db-downgrade").ok()
    assert rows(owner, "DISTINCT id, role")[0][1] == owner.env["POSTGRES_USER"]


def test_neither_line_endings_nor_the_formatter_edit_a_revision(
    line: tuple[Project, str, str],
) -> None:
    project, second, _ = line
    path = file_of(project, second)
    path.write_text(path.read_text() + "\n\nimport   os\nx = { 'a':1 }\n")
    before = path.read_bytes()
    project.just("fmt").ok()
    assert path.read_bytes() == before
    # New ones come formatted.
    project.alembic("revision", "-m", "fourth").ok()
    (fourth,) = project.versions.glob("*fourth*")
    project.run("uv", "run", "ruff", "format", "--check", str(fourth), cwd=project.backend).ok()
    git(project, "checkout", "--quiet", str(path)).ok()
    for file in project.revisions():
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    project.just("db-downgrade").ok()


def test_an_older_release_has_nothing_to_do(line: tuple[Project, str, str], tmp_path: Path) -> None:
    project, second, third = line
    latest = project.backend / "alembic" / "latest_revision.txt"
    newer = file_of(project, third).rename(tmp_path / file_of(project, third).name)
    # The file is only missing as long as latest_revision.txt names it.
    project.just("db-upgrade").refused(third, "has no file")
    latest.write_text(f"{second}\n")
    before = rows(project)
    quick, long = project.just("db-upgrade").ok(), project.just("db-upgrade", second).ok()
    for said in (quick.out, long.out, project.just("db-current").ok().out):
        assert f"ahead by 1 revision: {third}" in said
        assert f"{second} the newest" in said
    assert "Nothing to apply" in quick.out
    assert "Nothing to apply" in long.out
    project.alembic("upgrade", "head").ok()
    project.just("db-downgrade").refused("Nothing was run", f"ahead by 1 revision: {third}")
    assert "ahead by 1 revision" in project.alembic("stamp", INITIAL).text
    assert rows(project) == before
    # What this release should have is still to be there, as it was.
    source = file_of(project, second).read_bytes()
    file_of(project, second).write_bytes(source + b"# edited\n")
    project.just("db-upgrade").refused(second, "was edited")
    kept = file_of(project, second).rename(tmp_path / file_of(project, second).name)
    project.just("db-upgrade").refused(second, "has no file")
    kept.rename(project.versions / kept.name).write_bytes(source)
    # Another revision where the newer release went on: neither is ahead of the other.
    other = append(project, "other")
    project.just("db-upgrade").refused(third, "has no file")
    file_of(project, other).unlink()
    latest.write_text(f"{third}\n")
    newer.rename(project.versions / newer.name)
    assert "the newest" in project.just("db-upgrade").ok().out


def test_a_target_is_what_it_says(line: tuple[Project, str, str]) -> None:
    project, second, third = line
    before = rows(project)
    targets = [("downgrade", t) for t in ("0", "1", "-0", "+1", "head", third[:3], f"{third}-1")]
    targets += [("upgrade", t) for t in ("0", "-1", "base", "+0", "head-1", third[:3])]
    code = "".join(f"print(main([{way!r}, '--', {target!r}]));" for way, target in targets)
    answer = project.python(f"from app.migrate.cli import main;{code}").ok()
    assert answer.out.split() == ["1"] * len(targets), answer.text
    assert answer.err.count("Nothing was run") == len(targets)
    assert "is no target" in project.alembic("downgrade", "0").text
    assert rows(project) == before
    project.just("db-downgrade", second[-12:][:12]).ok()
    project.just("db-upgrade", "+1").ok()
    project.just("db-downgrade", "-2").ok()


def test_a_revision_without_a_way_back_is_not_rolled_back(
    generate: Callable[..., Project],
) -> None:
    project = generate()
    second = append(project, "second")
    edit(file_of(project, second), "\n\n\ndef upgrade", '\nirreversible = "gone"\n\n\ndef upgrade')
    third = append(project, "third")
    project.just("db-upgrade").ok()
    before = rows(project)
    for target in ("base", "-2"):
        project.just("db-downgrade", target).refused("Nothing was rolled back", second, "gone")
    assert "no way back" in project.alembic("downgrade", "base").text
    assert rows(project) == before
    project.just("db-downgrade").ok()
    assert rows(project)[-1] == (third, "downgrade")


def test_a_purge_is_in_the_ledger(line: tuple[Project, str, str]) -> None:
    project, second, third = line
    project.alembic("stamp", "--purge", "base").ok()
    unstamped = {(name, "unstamp") for name in (INITIAL, second, third)}
    assert set(rows(project)[-3:]) == unstamped
    project.alembic("stamp", "head").ok()
    project.alembic("stamp", "--purge", second).ok()
    assert rows(project)[-1] == (third, "unstamp")


def test_revisions_elsewhere_and_another_version_table_are_refused(
    line: tuple[Project, str, str],
) -> None:
    project, second, _ = line
    append(project, "pending")
    folder = project.versions / "2027"
    folder.mkdir()
    (folder / "more.py").write_bytes(file_of(project, second).read_bytes())
    for command in ("db-upgrade", "db-current", "db-migrate"):
        project.just(command).refused("alembic/versions/2027/more.py", "Move it")
    (folder / "more.py").unlink()
    location = "[alembic]\nscript_location"
    for setting in ("recursive_version_locations = true", "version_locations = %(here)s/more"):
        project.replace("backend/alembic.ini", location, f"[alembic]\n{setting}\nscript_location")
        project.just("db-upgrade").refused("version_locations", "Move them")
        project.replace("backend/alembic.ini", f"{setting}\n", "")
    project.replace("backend/alembic/env.py", "Any] = {\n", 'Any] = {\n"version_table": "mine",\n')
    project.just("db-upgrade").refused("Nothing was run", "version_table", "RENAME TO")
