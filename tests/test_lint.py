"""New revisions that would stop or break what uses the database are refused, or accepted on purpose."""

from __future__ import annotations

import ast
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Project, mark_database, render
from tests.test_check import INITIAL
from tests.test_history import LATEST, commit, git
from tests.test_shadow import databases

ROLE = "backend/app/models/role.py"
DESCRIPTION = "    description: str | None = Field(default=None, max_length=500)\n"
# What main has: tables that are in use, and models of some of them.
EXISTING = """\
    op.execute(
        "CREATE TABLE items (id int PRIMARY KEY, a int, b int, c int, code varchar(90), "
        "day date, kind text, sold int, size int NOT NULL, gone int)"
    )
    op.execute("CREATE TABLE parts (id int PRIMARY KEY, item int, CHECK (item IS NOT NULL))")
    op.execute("CREATE TABLE olds (id int PRIMARY KEY); CREATE TABLE older (a int, b int)")
    op.execute("CREATE INDEX ix_items_a ON items (a); CREATE INDEX ix_older ON older (a)")
    op.execute("CREATE DOMAIN short AS text; CREATE SCHEMA s; CREATE SCHEMA empty")
    op.execute("CREATE TABLE logs (day date) PARTITION BY RANGE (day)")
    op.execute(
        "CREATE TABLE logs_26 PARTITION OF logs FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')"
    )
"""
MODELS = """\
from sqlalchemy import Column, Integer
from sqlmodel import Field, SQLModel


class WithSold(SQLModel):
    sold: int | None


class Items(WithSold, table=True):
    id: int = Field(primary_key=True)
    kind_: str = Field(sa_column_kwargs={"name": "kind"})
    size_: int = Field(sa_column=Column("size", Integer))


class Older(SQLModel, table=True):
    __tablename__ = "olds"
    id: int = Field(primary_key=True)
"""
# The rule, the statement that breaks it, and what the message names.
UNSAFE = [
    (
        "adding-field-with-default",
        "ALTER TABLE items ADD u uuid DEFAULT gen_random_uuid()",
        "items.u",
    ),
    (
        "adding-foreign-key-constraint",
        "ALTER TABLE items ADD FOREIGN KEY (a) REFERENCES olds",
        "olds",
    ),
    (
        "adding-not-nullable-field",
        "ALTER TABLE items ALTER b SET NOT NULL",
        'set_not_null("items", "b")',
    ),
    ("adding-required-field", 'ALTER TABLE items ADD COLUMN "new" int NOT NULL', "items.new is"),
    ("adding-serial-primary-key-field", "ALTER TABLE older ADD PRIMARY KEY (a)", "older gets"),
    ("ban-alter-domain-with-add-constraint", "ALTER DOMAIN short ADD CHECK (value <> '')", "short"),
    ("ban-drop-column", "ALTER TABLE public.items DROP COLUMN gone", "items.gone is dropped"),
    ("ban-drop-schema", "DROP SCHEMA empty", "DROP SCHEMA empty"),
    ("ban-drop-table", "DROP TABLE older", "older is dropped"),
    ("ban-set-schema", "ALTER TABLE parts SET SCHEMA s", "parts gets another schema"),
    ("ban-truncate", "TRUNCATE parts", "TRUNCATE parts: the rows are gone"),
    ("change-in-batches", "UPDATE items SET a = 1", "UPDATE items SET a = 1: it locks"),
    ("changing-column-type", "ALTER TABLE items ALTER a TYPE bigint", "items.a gets another type"),
    ("constraint-missing-not-valid", "ALTER TABLE items ADD CHECK (a > 1)", "CHECK (a > 1): reads"),
    ("disallowed-unique-constraint", "ALTER TABLE items ADD UNIQUE (c)", '"items", "(c)")'),
    ("renaming-column", "ALTER TABLE items RENAME c TO d", "items.c is renamed"),
    ("renaming-table", "ALTER TABLE older RENAME TO oldest", "older is renamed"),
    (
        "require-concurrent-index-creation",
        "CREATE INDEX ix_b ON items (b)",
        'create_index_concurrently("ix_b", "items", "(b)")',
    ),
    ("require-concurrent-index-deletion", "DROP INDEX ix_items_a", "ix_items_a is dropped"),
    ("require-concurrent-partition-detach", "ALTER TABLE logs DETACH PARTITION logs_26", "of logs"),
    ("require-concurrent-reindex", "REINDEX TABLE items", "REINDEX TABLE items: writes"),
    ("rewriting-table", "ALTER TABLE items SET UNLOGGED", "items is rewritten"),
    ("still-in-use", "ALTER TABLE items DROP sold", "items.sold is dropped"),
    ("still-in-use", "ALTER TABLE items RENAME kind TO sort", "items.kind is renamed"),
    ("still-in-use", "ALTER TABLE items DROP size", "items.size is dropped"),
    ("still-in-use", "DROP TABLE olds", 'Table("olds", SQLModel.metadata'),
]
# Changes of types that may lose values, each beside a rewrite, and what the message names.
LOSING = [
    (
        "ALTER TABLE items ALTER code TYPE varchar(9) USING code::varchar(9)",
        "SELECT count(*) FROM items WHERE char_length(code) > 9",
    ),
    (
        "ALTER TABLE items ALTER COLUMN code SET DATA TYPE text USING left(code, 3)",
        "SELECT count(*) FROM items WHERE (left(code, 3))::text IS DISTINCT FROM code::text",
    ),
    (
        "ALTER TABLE items ALTER code TYPE varchar(95) USING CAST(code AS varchar(3))",
        "WHERE (CAST(code AS varchar(3)))::text IS DISTINCT FROM code::text",
    ),
    (
        "DO $$ BEGIN EXECUTE 'ALTER TABLE items ALTER kind TYPE char(3)'; END $$",
        "SELECT count(*) FROM items WHERE kind IS NOT NULL AND",
    ),
    ("ALTER TABLE items ALTER day TYPE timestamptz", "items.day becomes"),
]
SAFE = """\
    op.execute("ALTER TABLE items ADD e int DEFAULT 1 NOT NULL, ADD f text, ALTER code TYPE text")
    op.execute("ALTER TABLE items ALTER code TYPE varchar USING code::text::varchar")
    op.execute("ALTER TABLE items ADD at timestamptz DEFAULT now() NOT NULL")
    op.execute("ALTER TABLE items ADD CONSTRAINT ck CHECK (a > 1) NOT VALID")
    op.execute("ALTER TABLE items ADD CONSTRAINT fk FOREIGN KEY (a) REFERENCES olds NOT VALID")
    op.execute("ALTER TABLE items ADD CONSTRAINT nn CHECK (b IS NOT NULL) NOT VALID")
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE items VALIDATE CONSTRAINT ck")
        op.execute("ALTER TABLE items VALIDATE CONSTRAINT fk")
        op.execute("ALTER TABLE items VALIDATE CONSTRAINT nn")
        op.execute("CREATE UNIQUE INDEX CONCURRENTLY uq ON items (c)")
        op.execute("DROP INDEX CONCURRENTLY ix_items_a")
    op.execute("ALTER TABLE items ADD CONSTRAINT uq UNIQUE USING INDEX uq")
    op.execute("ALTER TABLE items ALTER b SET NOT NULL, DROP CONSTRAINT nn")
    op.execute("ALTER TABLE parts ALTER item SET NOT NULL")
    op.execute("UPDATE items SET a = 1 WHERE id > 5 AND id <= 9")
    op.execute("CREATE TABLE news (id int, old_id int REFERENCES olds, u uuid)")
    op.execute("CREATE INDEX ix_news ON news (old_id); INSERT INTO news VALUES (1, NULL)")
    op.execute("ALTER TABLE news ALTER id TYPE bigint, ALTER id SET NOT NULL, DROP u")
    op.execute("UPDATE news SET id = 2; DROP INDEX ix_news; TRUNCATE news")
"""


NO_WAY_BACK = 'irreversible = "the rows are gone"\n'


def write(
    project: Project, revision: str, upgrade: str, parent: str = "base0", top: str = NO_WAY_BACK
) -> Path:
    """A revision that does this, and nothing on its way back."""
    (first,) = project.versions.glob(f"*_{INITIAL}.py")
    head = first.read_text().partition("def upgrade")[0]
    head = head.replace(
        "down_revision: str | Sequence[str] | None = None", f'down_revision = "{parent}"\n{top}'
    )
    path = project.versions / f"2026-12-01_{revision}.py"
    path.write_text(
        head.replace(f'"{INITIAL}"\ndown', f'"{revision}"\ndown')
        + f"def upgrade() -> None:\n{upgrade}\n\ndef downgrade() -> None:\n    pass\n"
    )
    project.write(LATEST, f"{revision}\n")
    return path


def executing(*statements: str) -> str:
    return "".join(f"    op.execute({statement!r})\n" for statement in statements)


def lint(project: Project) -> dict[str, Any]:
    """What `just db-check --json` says of its check `lint`."""
    answer = json.loads(project.just("db-check", "--json").out)
    (found,) = (check for check in answer["checks"] if check["name"] == "lint")
    assert isinstance(found, dict)
    return found


def messages(found: dict[str, Any]) -> list[str]:
    return [finding["message"] for finding in found["findings"]]


@pytest.fixture(scope="module")
def rendered(
    tmp_path_factory: pytest.TempPathFactory,
    base_environment: dict[str, str],
    shared: dict[str, str],
) -> Iterator[Project]:
    """A project on the branch `feature` of a main with the tables above."""
    project = Project(
        render(tmp_path_factory.mktemp("lint") / "project", llm_settings=False),
        {
            **base_environment,
            "POSTGRES_HOST": "127.0.0.1",
            "POSTGRES_PORT": shared["port"],
            "POSTGRES_USER": "app",
            "POSTGRES_PASSWORD": shared["password"],
            "POSTGRES_DB": f"lint_{os.getpid()}",
        },
    )
    database = project.env["POSTGRES_DB"]
    with project.connect(dbname="postgres") as server:
        server.execute(f"CREATE DATABASE {database}")
        mark_database(server, database)
    write(project, "base0", EXISTING, INITIAL)
    project.write("backend/app/models/items.py", MODELS)
    git(project, "init", "--quiet", "--initial-branch=main").ok()
    commit(project, "Start")
    git(project, "checkout", "--quiet", "-b", "feature").ok()
    # A model of the branch has none of it any more.
    (project.backend / "app/models/items.py").unlink()
    commit(project, "No items")
    yield project
    with project.connect(dbname="postgres") as server:
        for name in [database, *databases(project)]:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def project(rendered: Project) -> Project:
    git(rendered, "checkout", "--quiet", "--force", "feature").ok()
    git(rendered, "clean", "--quiet", "-d", "--force").ok()
    shutil.rmtree(rendered.versions / "__pycache__", ignore_errors=True)
    return Project(rendered.path, dict(rendered.env))


def each_by_itself(statements: list[str]) -> str:
    """After some of them another one could not run."""
    return "".join(
        "    nested = op.get_bind().begin_nested()\n"
        f"    op.execute({statement!r})\n    nested.rollback()\n"
        for statement in statements
    )


def test_casts_by_hand_that_may_lose_values_are_named_with_a_query(project: Project) -> None:
    body = each_by_itself([statement for statement, _ in LOSING])
    top = f'{NO_WAY_BACK}accepted = {{"changing-column-type": "few rows", "rewriting-table": "few"}}\n'
    found = lint_of(write(project, "losing", body, top=top), project)
    assert len(found) == len(LOSING), "\n".join(found)
    for (_, part), message in zip(LOSING, found, strict=True):
        assert message.startswith("loses-values: items.")
        assert part in message


def test_what_is_unsafe_is_named_with_what_it_does(
    project: Project, subtests: pytest.Subtests
) -> None:
    body = each_by_itself([statement for _, statement, _ in UNSAFE])
    found = lint_of(write(project, "unsafe", body, top=""), project)
    for rule, statement, part in UNSAFE:
        with subtests.test(statement):
            said = [text for text in found if text.startswith(f"{rule}: ") and part in text]
            assert len(said) == 1, "\n".join(found)
    assert len(found) == len(UNSAFE), "\n".join(found)


def lint_of(path: Path, project: Project) -> list[str]:
    found = lint(project)
    assert found["outcome"] == "failed", project.just("db-check").text
    assert all(path.name in finding["fix"] for finding in found["findings"])
    return messages(found)


def test_the_safe_forms_and_new_tables_give_no_finding(project: Project) -> None:
    write(project, "safe", SAFE)
    found = lint(project)
    assert (found["outcome"], found["findings"]) == ("passed", [])
    assert "1 new revision" in found["detail"]
    assert "unchanged since" in lint(project)["detail"]


def test_values_are_filled_in_and_the_file_s_other_transactions_do_not_count(
    project: Project,
) -> None:
    body = (
        "    rows = op.get_bind().execute(sa.text('SELECT id FROM items')).all()\n"
        '    for name in rows or ["50 % o\'clock"]:\n'
        "        change = sa.text('UPDATE items SET code = :name')\n"
        "        op.get_bind().execute(change, {'name': name})\n"
        # squawk can't read this form of it.
        "    op.execute(\"CREATE PROCEDURE p() LANGUAGE sql AS 'SELECT 1'\")\n"
        "    op.execute('ALTER TABLE parts ADD CONSTRAINT c CHECK (id > 1) NOT VALID')\n"
        "    op.execute('ALTER TABLE parts VALIDATE CONSTRAINT c')\n"
    )
    said = lint_of(write(project, "rows", body), project)
    assert len(said) == 2, said
    assert "SET code = '50 % o''clock'" in said[1]
    assert said[0].startswith("constraint-missing-not-valid: ALTER TABLE parts VALIDATE")


def test_a_reason_in_the_file_accepts_a_finding(project: Project) -> None:
    body = executing("ALTER TABLE items DROP sold, DROP gone")
    path = write(project, "drops", body)
    refused = project.just("db-check").refused("still-in-use", "ban-drop-column")
    (line,) = (text.strip() for text in refused.out.splitlines() if "accepted = " in text)
    assert line == 'accepted = {"ban-drop-column": "", "still-in-use": ""}'

    # As it is to be pasted it has no reason yet.
    write(project, "drops", body, top=f"{NO_WAY_BACK}{line}\n")
    assert [text.partition(":")[0] for text in messages(lint(project))] == [
        "still-in-use",
        "ban-drop-column",
    ]
    reason = "Nothing has read it since release 41."
    line = line.replace('"ban-drop-column": ""', f'"ban-drop-column": "{reason}"')
    write(project, "drops", body, top=f"{NO_WAY_BACK}{line}\n")
    found = lint(project)
    assert [text.partition(":")[0] for text in messages(found)] == ["still-in-use"]
    assert f"    {line}" in found["findings"][0]["fix"]
    # Whoever knows of the models that use it knows that values are dropped.
    write(
        project,
        "drops",
        body,
        top=f'{NO_WAY_BACK}accepted = {{"still-in-use": "No release yet."}}\n',
    )
    assert lint(project)["outcome"] == "passed"
    listed = project.just("db-history").ok().out.splitlines()
    place = next(number for number, text in enumerate(listed) if path.name in text)
    assert listed[place + 1].strip() == "accepted still-in-use: No release yet."
    write(project, "drops", body, top="accepted = {'still-in-use'}\n")
    project.just("db-check").refused("drops.py can't be read", "accepted is not of this form")


def test_what_main_has_is_not_linted_and_without_it_what_is_committed(project: Project) -> None:
    assert "every revision is shared" in lint(project)["detail"]
    path = write(project, "mine", executing("UPDATE items SET a = 1"), top="")
    write(project, "mine2", executing("UPDATE items SET b = 1"), "mine", NO_WAY_BACK)
    write(project, "empty", "    pass\n", "mine2")
    # There is no way back from the second: all run in a database of their own.
    assert len(messages(lint(project))) == 2
    git(project, "stash", "--quiet", "--include-untracked").ok()
    git(project, "checkout", "--quiet", "main").ok()
    git(project, "checkout", "--quiet", "stash@{0}^3", "--", str(path)).ok()
    project.write(LATEST, "mine\n")
    start = git(project, "rev-parse", "HEAD").ok().out.strip()
    commit(project, "Theirs")
    try:
        write(project, "mine2", executing("UPDATE items SET b = 1"), "mine")
        (said,) = messages(lint(project))
        assert "SET b" in said
        git(project, "branch", "--quiet", "--move", "main", "trunk").ok()
        # What is in no commit is nobody else's, whatever the base branch is.
        assert "SET b" in "".join(messages(lint(project)))
        commit(project, "Mine")
        found = lint(project)
        assert found["outcome"] == "skipped"
        assert "There is no branch main" in found["detail"]
    finally:
        git(project, "branch", "--quiet", "--move", "trunk", "main")
        git(project, "reset", "--quiet", "--hard", start).ok()


def test_where_squawk_is_not_installed_it_is_skipped(project: Project, tmp_path: Path) -> None:
    write(project, "drops", executing("DROP TABLE olds"))
    there = Path(project.env["UV_PROJECT_ENVIRONMENT"])
    (tmp_path / "bin").mkdir()
    for path in (*there.iterdir(), *(there / "bin").iterdir()):
        if path.name not in {"bin", "squawk"}:
            (tmp_path / path.relative_to(there)).symlink_to(path)
    answer = project.run(
        tmp_path / "bin/python", "-m", "app.migrate", "check", "--json", cwd=project.backend
    )
    (found,) = (check for check in json.loads(answer.out)["checks"] if check["name"] == "lint")
    assert found["outcome"] == "skipped"
    assert "squawk is not installed" in found["detail"]


def test_db_migrate_shows_the_sql_and_refuses_what_is_unsafe(
    project: Project, tmp_path: Path
) -> None:
    known = project.revisions()
    project.replace(
        "backend/app/models/role.py", "    description", "    size: int | None\n    description"
    )
    (project.versions / "2026-12-01_base0.py").unlink()
    project.write(LATEST, f"{INITIAL}\n")
    written = project.just("db-migrate").ok()
    assert (
        "    BEGIN;\n    ALTER TABLE roles ADD COLUMN size INTEGER;\n    COMMIT;\n" in written.out
    )
    assert "alembic_version" not in written.out
    assert "pg_catalog" not in written.out

    project.replace(
        "backend/app/models/role.py", "    description: str | None", "    text: str | None"
    )
    refused = project.just("db-migrate", "--rename", "roles.description:text").refused(
        "still-in-use: roles.description is renamed",
        "The models of main still have it (app/models/role.py)",
        'accepted = {"still-in-use": ""}',
        "just db-check",
    )
    assert "RENAME description TO text" in refused.out
    assert len(project.revisions() - known) == 2
    project.just("db-migrate").refused("Not answered", "still-in-use: roles.description is renamed")


def test_a_column_that_no_code_uses_stays_in_the_table_as_documented(project: Project) -> None:
    (project.versions / "2026-12-01_base0.py").unlink()
    project.write(LATEST, f"{INITIAL}\n")
    project.replace(ROLE, DESCRIPTION, "")
    text = (project.path / ROLE).read_text()
    line = 'SQLModel.metadata.tables["roles"].append_column(Column("description", String(500)))'
    project.write(ROLE, f"from sqlalchemy import Column, String\n\n{text}\n\n{line}\n")
    assert "Nothing to do" in project.just("db-migrate").ok().out
    # Once main has this, dropping it is no longer dropping what is in use.
    commit(project, "Nothing uses it")
    git(project, "branch", "--force", "main", "HEAD").ok()
    try:
        project.replace(ROLE, line, "")
        refused = project.just("db-migrate").refused(
            "ban-drop-column: roles.description is dropped"
        )
        assert "still-in-use" not in refused.text
    finally:
        git(project, "branch", "--force", "main", "HEAD~2").ok()
        git(project, "reset", "--quiet", "--hard", "HEAD~").ok()


IN_USE = """
from app.migrate.in_use import used_columns
base = b"class Base(SQLModel):\\n    __table_args__ = {'schema': 'auth'}\\n    made: int\\n"
auth = b"class User(Base, table=True):\\n    __tablename__ = 'users'\\n    email: str\\n"
public = b"class User(SQLModel, table=True):\\n    __tablename__ = 'users'\\n    name: str\\n"
found = used_columns({"auth.py": base + auth, "public.py": public})
print(sorted((*key, path) for key, path in found.items() if key[1]))
"""


def test_what_is_in_use_is_told_by_schema_and_file(project: Project) -> None:
    found = ast.literal_eval(project.python(IN_USE).ok().out)
    assert found == [
        ("auth.users", "email", "auth.py"),
        ("auth.users", "made", "auth.py"),
        ("users", "name", "public.py"),
    ]
