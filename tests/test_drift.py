"""The judge: what only pg_dump sees is written or named, and what is made by hand stays."""

from __future__ import annotations

import os
import pty
import random
import re
import subprocess
from collections.abc import Callable
from contextlib import suppress

import psutil
import pytest

from tests.conftest import Project
from tests.test_autogenerate import migrate, register

BOOKING = """\
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlmodel import Field, SQLModel


class Booking(SQLModel, table=True):
    __table_args__ = (ExcludeConstraint(("room", "="), name="one_at_a_time", using="gist"),)

    id: int | None = Field(default=None, primary_key=True)
    room: int = Field(sa_column_kwargs={"server_default": text("lobby()")})
"""

BY_HAND = (
    "CREATE EXTENSION btree_gist",
    "CREATE FUNCTION lobby() RETURNS int LANGUAGE sql AS 'SELECT 100 % 7'",
    "CREATE VIEW names AS SELECT first_name FROM users",
    "CREATE TRIGGER still BEFORE UPDATE ON users FOR EACH ROW"
    " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "ALTER TABLE users ENABLE ROW LEVEL SECURITY",
    "COMMENT ON VIEW names IS 'by hand'",
)


ODD_BY_HAND = (
    "CREATE TABLE events (id int NOT NULL, day date NOT NULL,"
    " CONSTRAINT pk_events PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
    "CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
    "CREATE MATERIALIZED VIEW counts AS SELECT count(*) AS n FROM users",
    "CREATE UNIQUE INDEX counts_n ON counts (n)",
    "CREATE VIEW names AS SELECT first_name FROM users",
    "COMMENT ON COLUMN names.first_name IS 'by hand'",
)

ODD = r"""\
import enum
from datetime import date

from sqlalchemy import CheckConstraint, Column, Enum, ForeignKey, Index, Integer, text
from sqlmodel import Field, SQLModel


class Kind(enum.Enum):
    a = "a"
    b = "b"


class Event(SQLModel, table=True):
    __tablename__ = "events"
    __table_args__ = {"postgresql_partition_by": "RANGE (day)"}

    id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    day: date = Field(primary_key=True)


class Job(SQLModel, table=True):
    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_coll", text('name COLLATE "C"')),
        CheckConstraint("kind = 'a' OR name <> ''", name="kinds"),
    )

    id: int = Field(primary_key=True)
    name: str
    kind: Kind = Field(
        sa_column=Column("kind", Enum(Kind, name="kind"), nullable=False, server_default="a")
    )
    hue: Kind = Field(sa_column=Column("Colour", Enum(Kind, name="colour"), nullable=False))
    parent_id: int | None = Field(sa_column=Column(Integer, ForeignKey("jobs.id")))


class Pub(SQLModel, table=True):
    __tablename__ = "pubs"
    __table_args__ = {"schema": "public"}

    id: int = Field(primary_key=True)
    parent_id: int | None = Field(default=None, foreign_key="public.pubs.id")
"""


def write_by_hand(project: Project, *statements: str) -> None:
    project.alembic("revision", "-m", "by hand").ok()
    (path,) = project.versions.glob("*by_hand*")
    body = "\n    ".join(f'op.execute("{statement}")' for statement in statements)
    path.write_text(path.read_text().replace("    pass", f"    {body}", 1))


def test_what_revisions_make_by_hand_stays_and_models_may_use_it(project: Project) -> None:
    write_by_hand(project, *BY_HAND)
    project.just("db-upgrade").ok()
    assert "Nothing to do" in project.just("db-migrate").ok().out
    register(project, BOOKING, "Booking", module="booking")
    migrate(project)
    with project.connect() as connection:
        row = connection.execute("INSERT INTO booking DEFAULT VALUES RETURNING room").fetchone()
    assert row == (2,)


def test_oddities_are_written_once_and_left_alone(project: Project) -> None:
    """The default schema by name, a collation in an index, partitions, what belongs to views."""
    write_by_hand(project, *ODD_BY_HAND)
    register(project, ODD, "Event", "Job", "Pub", module="odd")
    project.just("db-migrate").ok()
    project.just("db-upgrade").ok()
    assert "Nothing to do" in project.just("db-migrate").ok().out
    before = project.revisions()
    project.replace(
        "backend/app/models/odd.py", "    name: str\n", "    name: str\n    x: int | None\n"
    )
    project.just("db-migrate").ok()
    (path,) = project.revisions() - before
    assert "jobs_add_x" in path.name
    assert path.read_text().count("op.") == 2


def test_what_has_no_way_back_by_itself_is_marked_there(project: Project) -> None:
    """PostgreSQL does not give a value of an enum up while a CHECK uses the column."""
    register(project, ODD, "Event", "Job", "Pub", module="odd")
    project.just("db-migrate").ok()
    project.just("db-upgrade").ok()
    before = project.revisions()
    project.replace("backend/app/models/odd.py", '    b = "b"\n', '    b = "b"\n    c = "c"\n')
    project.replace("backend/app/models/odd.py", 'server_default="a"', 'server_default="b"')
    project.just("db-migrate").refused("Fill in", "enum kind", "operator")
    (path,) = project.revisions() - before
    upgrade, _, downgrade = path.read_text().partition("def downgrade()")
    assert "NotImplementedError" not in upgrade
    assert "jobs_alter_kind_and_2_more" in path.name
    assert 'raise NotImplementedError("Fill in: enum kind")' in downgrade


def test_what_is_filled_in_one_way_is_marked_the_other_way_too(project: Project) -> None:
    project.replace(
        "backend/app/models/user.py",
        "    is_active",
        "    price: int = Field(sa_column_kwargs={'server_default': '0'})\n"
        "    gross: int = Field(sa_column_args=[Computed('price * 2', persisted=True)])\n"
        "    is_active",
    )
    project.replace(
        "backend/app/models/user.py", "import true", "import BigInteger, Computed, true"
    )
    migrate(project)
    before = project.revisions()
    project.replace(
        "backend/app/models/user.py",
        "    price: int = Field(",
        "    price: int = Field(sa_type=BigInteger, ",
    )
    project.just("db-migrate").refused("used by a generated column", "column users.price")
    (path,) = project.revisions() - before
    assert path.read_text().count('raise NotImplementedError("Fill in: column users.price")') == 2


def test_a_colon_in_a_default_reaches_the_rows(project: Project) -> None:
    with project.connect() as connection:
        connection.execute(
            "INSERT INTO users (email, first_name, last_name) VALUES ('a@b.c', 'Ada', 'L')"
        )
    default = r"""Field(sa_column_kwargs={"server_default": text("'at \:x'")})"""
    project.replace(
        "backend/app/models/user.py", "    is_active", f"    place: str = {default}\n    is_active"
    )
    project.replace("backend/app/models/user.py", "import true", "import text, true")
    migrate(project)
    with project.connect() as connection:
        assert connection.execute("SELECT place FROM users").fetchone() == ("at :x",)


def test_a_function_that_only_the_models_make_is_named(project: Project) -> None:
    path = project.backend / "app/models/user.py"
    path.write_text(
        path.read_text()
        + "\n\nfrom sqlalchemy import DDL, event\n\n"
        + "event.listen(User.__table__, 'after_create', DDL(\n"
        + "    \"CREATE FUNCTION seven() RETURNS int LANGUAGE sql AS 'SELECT 7'\"))\n"
    )
    refused = project.just("db-migrate").refused("CREATE FUNCTION seven()", "Fill in")
    assert "AS $$SELECT 7$$" in refused.text or "AS 'SELECT 7'" in refused.text
    project.just("db-upgrade").refused("NotImplementedError", "Fill in")


def test_models_that_postgresql_refuses_are_explained(project: Project) -> None:
    path = project.backend / "app/models/user.py"
    text = path.read_text().replace(
        '__tablename__ = "users"',
        '__tablename__ = "users"\n    __table_args__ = (CheckConstraint("nosuch > 0", name="x"),)',
    )
    path.write_text("from sqlalchemy import CheckConstraint\n" + text)
    before = project.revisions()
    project.just("db-migrate").refused("can't be created", 'column "nosuch" does not exist')
    assert project.revisions() == before


def test_a_revision_that_does_not_run_is_told_at_once(project: Project) -> None:
    """Autogenerate's downgrade of this one fails; the revision is written, and said to be wrong."""
    path = project.versions / "2026-11-22_initial_schema_572de137043f.py"
    assert path.exists()
    project.replace(
        "backend/app/models/user.py", "    is_active", "    age: int | None\n    is_active"
    )
    project.replace(
        "backend/alembic/script.py.mako",
        '    ${downgrades if downgrades else "pass"}',
        "    pass",
    )
    project.just("db-migrate").refused("After the downgrade", "column users.age")


def test_alembic_s_own_commands_see_the_same(project: Project) -> None:
    project.replace(
        "backend/app/models/role.py",
        "class Role(SQLModel, table=True):\n",
        "class Role(SQLModel, table=True):\n"
        '    __table_args__ = (Index("i", "name", postgresql_where=text("id > 1")),)\n',
    )
    path = project.backend / "app/models/role.py"
    path.write_text("from sqlalchemy import Index, text\n" + path.read_text())
    migrate(project)
    path.write_text(path.read_text().replace("id > 1", "id > 2"))
    checked = project.alembic("check")
    assert checked.code != 0
    assert "WHERE (id > 2)" in checked.text
    before = project.revisions()
    project.alembic("revision", "--autogenerate", "-m", "by alembic").ok()
    # The old index serves until the new one is built.
    written = sorted(path.stem[len("2026-01-01_") : -13] for path in project.revisions() - before)
    assert written == ["by_alembic", "roles_add_index_i", "roles_drop_index_i_old"]
    project.just("db-upgrade").ok()
    assert "No new upgrade operations" in project.alembic("check").ok().text


@pytest.mark.parametrize(("answer", "written"), [("y", "rename"), ("", "drop")])
def test_a_rename_is_asked_about_at_a_terminal(project: Project, answer: str, written: str) -> None:
    project.replace("backend/app/models/user.py", "    last_name:", "    family_name:")
    before = project.revisions()
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["just", "db-migrate"],
        cwd=project.path,
        env=project.env,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    os.write(ours, f"{answer}\n".encode())
    output, _ = process.communicate(timeout=60)
    os.close(theirs)
    os.close(ours)
    assert process.returncode == 1, output
    # A column that is new needs values in the rows that are there.
    assert ("renaming-column: " if written == "rename" else "Fill in") in output
    assert "Was users.last_name renamed to family_name? [y/N]" in output
    text = "".join(path.read_text() for path in project.revisions() - before)
    assert ("new_column_name" in text) == (written == "rename")
    assert ('op.drop_column("users", "last_name")' in text) == (written == "drop")


def test_a_rename_keeps_the_rows_and_wrong_options_are_refused(project: Project) -> None:
    with project.connect() as connection:
        connection.execute(
            "INSERT INTO users (email, first_name, last_name) VALUES ('a@b.c', 'Ada', 'L')"
        )
    project.replace("backend/app/models/user.py", "    last_name:", "    family_name:")
    for option in ("users.last_name", "users.last_name:", ":family_name"):
        project.just("db-migrate", "--rename", option).refused("is not understood")
    project.just(
        "db-migrate", "--rename", "users.nosuch:family_name", "--drop", "users.last_name"
    ).refused("Not renamed or dropped: users.nosuch")
    project.just("db-migrate", "--rename", "users.last_name:nosuch").refused(
        "--drop users.last_name"
    )
    before = project.revisions()
    project.migrate("family names", "--rename", "users.last_name:users.family_name")
    (path,) = project.revisions() - before
    assert "family_names" in path.name
    project.just("db-upgrade").ok()
    with project.connect() as connection:
        assert connection.execute("SELECT family_name FROM users").fetchone() == ("L",)
    project.just("db-downgrade").ok()
    with project.connect() as connection:
        assert connection.execute("SELECT last_name FROM users").fetchone() == ("L",)


def test_alembic_itself_does_not_guess_either(project: Project) -> None:
    project.replace("backend/app/models/user.py", "    last_name:", "    family_name:")
    before = project.revisions()
    refused = project.alembic("revision", "--autogenerate")
    assert refused.code != 0
    assert "--rename users.last_name:family_name" in refused.text
    assert "Traceback" not in refused.text
    assert project.revisions() == before


IMPORTED = """\
import sqlalchemy as sa
import sqlmodel.sql.sqltypes
from alembic import op

revision = "e0e0e0e0e0e0"
down_revision = None


def upgrade():
    op.create_table(
        "shop",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "offer",
        sa.Column("shop_id", sa.Integer(), sa.ForeignKey("shop.id"), nullable=False),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.drop_constraint("offer_shop_id_fkey", "offer")
    op.create_foreign_key(None, "offer", "shop", ["shop_id"], ["id"], ondelete="CASCADE")


def downgrade():
    op.drop_table("offer")
    op.drop_table("shop")
"""

SHOP = """\
from sqlmodel import Field, SQLModel


class Shop(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    name: str


class Offer(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    shop_id: int = Field(foreign_key="shop.id", ondelete="CASCADE")
"""


def test_the_history_of_another_project_goes_on_here(generate: Callable[..., Project]) -> None:
    """It was written with SQLModel's types and the names that PostgreSQL gives."""
    project = generate(llm_settings=False)
    for path in project.revisions():
        path.unlink()
    (project.versions / "imported.py").write_text(IMPORTED)
    project.write("backend/alembic/latest_revision.txt", "e0e0e0e0e0e0\n")
    register(project, SHOP, "Shop", "Offer")
    project.just("db-upgrade").refused('"offer_shop_id_fkey" of relation "offer" does not exist')
    project.replace(
        "backend/app/db/naming.py",
        "REVISIONS_CONVENTION = NAMING_CONVENTION",
        "REVISIONS_CONVENTION: dict[str, str] = {}",
    )
    project.just("db-upgrade").ok()
    # What it gives names to now has others: a shadow database of before is not taken.
    project.replace("backend/app/db/naming.py", ": dict[str, str] = {}", " = NAMING_CONVENTION")
    project.just("db-migrate").refused('"offer_shop_id_fkey" of relation "offer" does not exist')
    project.replace(
        "backend/app/db/naming.py",
        "REVISIONS_CONVENTION = NAMING_CONVENTION",
        "REVISIONS_CONVENTION: dict[str, str] = {}",
    )
    project.replace(
        "backend/app/models/shop.py",
        "    name: str\n",
        "    name: str\n    size: int | None = Field(default=None, index=True)\n",
    )

    def names() -> list[str]:
        with project.connect() as connection:
            rows = connection.execute(
                "SELECT conname FROM pg_constraint WHERE contype <> 'n'"
                " AND conrelid IN ('offer'::regclass, 'shop'::regclass) ORDER BY 1"
            )
            return [name for (name,) in rows]

    before, revisions = names(), project.revisions()
    assert before == ["offer_pkey", "offer_shop_id_fkey", "shop_pkey"]
    said = project.just("db-migrate").ok()
    assert "offer_pkey, not pk_offer" in said.text
    project.just("db-upgrade").ok()
    assert names() == before
    written = "".join(path.read_text() for path in project.revisions() - revisions)
    assert "RENAME" not in written
    assert "_pkey" not in written
    assert "ix_shop_size" in written
    assert "Nothing to do" in project.just("db-migrate").ok().out
    project.just("db-check").ok()

    project.just("db-migrate", "--rename-constraints").ok()
    project.just("db-upgrade").ok()
    assert names() == ["fk_offer_shop_id_shop", "pk_offer", "pk_shop"]
    said = project.just("db-migrate").ok()
    assert "not pk_offer" not in said.text
    project.just("db-check").ok()
    project.just("lint").ok()


def start_migrate(project: Project) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["uv", "run", "python", "-m", "app.migrate", "migrate"],
        cwd=project.backend,
        env=project.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_at_once_write_one_revision(project: Project) -> None:
    before = project.revisions()
    project.just("db-model", "Widget").ok()
    processes = [start_migrate(project) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert len(project.revisions() - before) == 1
    assert sum("Nothing to do" in output for output in outputs) == 1


@pytest.mark.faults
def test_rounds_of_killed_commands(project: Project) -> None:
    """Wherever `just db-migrate` is killed, the next one and `just db-check` get it right."""
    rounds = int(os.environ.get("FAULT_ROUNDS", "15"))
    seed = random.randrange(2**32)
    random.seed(seed)
    for number in range(rounds):
        project.just("db-model", f"Widget{number}").ok()
        process = start_migrate(project)
        try:
            process.wait(timeout=random.uniform(0.3, 2.5))
        except subprocess.TimeoutExpired:
            for member in psutil.Process(process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    member.kill()
            process.kill()
        process.communicate()
        project.just("db-migrate").ok()
        checked = project.just("db-check")
        if "newest revision is not on record" in checked.out:
            # Killed between the file and the record; the message says what to type.
            fix = re.search(r"just (db-rebase --onto \w+)", checked.out)
            assert fix is not None, seed
            project.just(*fix[1].split()).ok()
            checked = project.just("db-check")
        assert checked.code == 0, (seed, checked.text)
