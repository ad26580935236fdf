"""`just db-squash`: one first revision instead of many, and what databases make of it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import Project, free_port, mark_database
from tests.test_history import commit, git, latest
from tests.test_ledger import INITIAL, append

LEDGER = "SELECT revision, action FROM migration_ledger ORDER BY id"
# Of most kinds of objects one, with everything in their text that may be mistaken for SQL's syntax.
OBJECTS = r"""
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $f$
    BEGIN NEW.updated_at := now(); -- ';
    RETURN NEW; END $f$;
CREATE FUNCTION atomic(a int) RETURNS int LANGUAGE sql
    BEGIN ATOMIC SELECT 1; SELECT CASE WHEN $1 > 0 THEN $1 ELSE 2 END; END;
CREATE TRIGGER touching BEFORE UPDATE ON roles FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TYPE mood AS ENUM ('a;b', 'it''s');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE SCHEMA other;
CREATE TABLE other."We; ird" (
    m mood DEFAULT 'a;b', x text CHECK (x ~ E'\\d;'), twice int GENERATED ALWAYS AS (1 + 1) STORED);
INSERT INTO other."We; ird" (x) VALUES ('5;');
CREATE TABLE zebra (id int PRIMARY KEY, other int REFERENCES zebra, CHECK (id % 2 = 0));
CREATE FUNCTION later_table() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.zebra';
CREATE VIEW names AS SELECT name FROM roles;
CREATE MATERIALIZED VIEW kept AS SELECT name FROM roles;
COMMENT ON TABLE roles IS '-- a; "comment" ""\" :x 100%% \';
CREATE SEQUENCE numbers START 5;
SELECT nextval('numbers');
CREATE TABLE part (a int PRIMARY KEY, b text) PARTITION BY RANGE (a);
CREATE TABLE part_one PARTITION OF part FOR VALUES FROM (1) TO (9);
CREATE INDEX ON part (b);
CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int);
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON users USING (email = current_user);
GRANT SELECT ON roles TO PUBLIC
"""
UNDO = """
DROP POLICY own ON users; ALTER TABLE users DISABLE ROW LEVEL SECURITY;
REVOKE SELECT ON roles FROM PUBLIC; COMMENT ON TABLE roles IS NULL;
DROP AGGREGATE total(int); DROP TABLE part, zebra; DROP SEQUENCE numbers;
DROP MATERIALIZED VIEW kept; DROP VIEW names; DROP SCHEMA other CASCADE; DROP TYPE mood;
DROP DOMAIN positive; DROP TRIGGER touching ON roles; DROP FUNCTION touch, atomic, later_table
"""
ALPHABET = [
    "'",
    '"',
    '"""',
    "\\",
    "%",
    "%(x)s",
    ":",
    ":x",
    "\r",
    "\n",
    "\t",
    ";",
    "--",
    "$",
    "$a$",
    "ü",
    "/*",
    "\\restrict x\n",
    "\n-- Name: x; Type: TABLE; Schema: public; Owner: -\n",
    "E",
    "\nEND",
    "{",
    "}",
]
_random = random.Random(20261122)
SEEDS = sorted(
    {"".join(_random.choices(ALPHABET, k=_random.randrange(1, 9)))[:100] for _ in range(300)}
)


def execute(sql: str) -> str:
    """A line of a revision that sends SQL as it is."""
    return f"op.get_bind().exec_driver_sql({sql.replace('%', '%%')!r})"


def ledger(project: Project, **other: Any) -> list[tuple[Any, ...]]:
    with project.connect(**other) as connection:
        return connection.execute(LEDGER).fetchall()


@pytest.fixture
def history(generate: Callable[..., Project]) -> tuple[Project, list[str]]:
    """Four revisions in git: the first, seeds, all kinds of objects, one more table; all applied."""
    project = generate()
    rows = ", ".join("('{}')".format(seed.replace("'", "''")) for seed in SEEDS)
    insert = f"INSERT INTO roles (name) VALUES {rows}"
    names = [
        append(project, "seeds", execute(insert), 'op.execute("DELETE FROM roles")'),
        append(project, "objects", execute(OBJECTS), execute(UNDO)),
        append(project, "later"),
    ]
    git(project, "init", "--quiet", "--initial-branch=main").ok()
    commit(project, "Start")
    project.just("db-upgrade").ok()
    return project, [INITIAL, *names]


def schema(project: Project) -> str:
    """The database's schema and rows as pg_dump shows them, without what migrations keep."""
    found = project.python(
        "from app.core.config import get_settings\n"
        "from app.migrate.baseline import dumped_statements\n"
        "print(*dumped_statements(get_settings()), sep=';;\\n')"
    )
    return found.ok().out


def test_a_squashed_history_makes_the_same_and_running_databases_go_on(
    history: tuple[Project, list[str]],
) -> None:
    project, (first, seeds, objects, later) = history
    before = schema(project)
    unchanged = latest(project)
    said = project.just("db-squash", objects).ok().out
    assert "in place of 3 files" in said
    (written,) = project.versions.glob(f"*_squashed_{objects}.py")
    assert {path.stem[-12:] for path in project.revisions()} == {objects, later}
    assert latest(project) == unchanged
    assert re.findall(r'^    "(\w+)": "[0-9a-f]{64}",$', written.read_text(), re.M) == [
        first,
        seeds,
        objects,
    ]
    commit(project, "Squash")

    # A database past it has nothing to run, and the ledger says why, once.
    assert "Nothing to apply" in project.just("db-upgrade").ok().out
    project.just("db-upgrade").ok()
    assert ledger(project)[-2:] == [(later, "upgrade"), (objects, "squash")]
    assert project.just("db-history").ok().out.count("applied ") == 2
    project.run("uv", "run", "ruff", "check", cwd=project.backend).ok()

    # An empty one gets the same from it, and loses all of it again.
    project.just("db-downgrade", "base").ok()
    assert schema(project).strip() == ""
    project.just("db-upgrade").ok()
    old, new = (
        re.sub(r"\d{4}-\d\d-\d\d \d\d:[\d:.+]+", "", text) for text in (before, schema(project))
    )
    assert new == old
    with project.connect() as connection:
        rows = connection.execute("SELECT name FROM roles ORDER BY id").fetchall()
        assert [name for (name,) in rows] == SEEDS
        assert connection.execute("SELECT nextval('numbers')").fetchone() == (6,)
        connection.execute("INSERT INTO roles (name) VALUES ('its id comes after the seeds')")

    # And once more, over the squashed one.
    project.just("db-squash").ok()
    commit(project, "Squash again")
    assert {path.stem[-12:] for path in project.revisions()} == {later}
    assert "Nothing to apply" in project.just("db-upgrade").ok().out
    assert ledger(project)[-1] == (later, "squash")
    assert "squashed" in project.just("db-current").ok().out


@pytest.fixture
def small(generate: Callable[..., Project]) -> tuple[Project, list[str]]:
    """Three revisions in git, the last two of one line each; none is applied."""
    project = generate()
    names = [append(project, "second"), append(project, "third")]
    git(project, "init", "--quiet", "--initial-branch=main").ok()
    commit(project, "Start")
    return project, [INITIAL, *names]


@pytest.fixture
def another(small: tuple[Project, list[str]]) -> Iterator[Callable[[str], str]]:
    """Makes more databases for the project."""
    project, _ = small
    made: list[str] = []

    def make(purpose: str) -> str:
        name = f"{project.env['POSTGRES_DB']}_{purpose}"
        with project.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}")
            mark_database(connection, name)
        made.append(name)
        return name

    yield make
    with project.connect() as connection:
        for name in made:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_databases_at_before_and_beside_a_squashed_revision(
    small: tuple[Project, list[str]], another: Callable[[str], str]
) -> None:
    project, (first, second, third) = small
    there, edited, unrecorded = another("there"), another("edited"), another("unrecorded")
    project.just("db-upgrade", first).ok()
    project.just("db-upgrade", second, POSTGRES_DB=there).ok()
    project.just("db-upgrade", second, POSTGRES_DB=unrecorded).ok()
    with project.connect(dbname=unrecorded) as connection:
        connection.execute("DROP TABLE migration_ledger")
    (path,) = project.versions.glob(f"*{second}.py")
    text = path.read_text()
    path.write_text(text.replace("(id int)", "(id bigint)"))
    project.just("db-upgrade", POSTGRES_DB=edited).ok()
    path.write_text(text)
    project.just("db-squash", second).ok()
    commit(project, "Squash")

    # There: nothing but the next revision runs.
    assert project.just("db-upgrade", POSTGRES_DB=there).ok().err.count("Running") == 1
    assert ledger(project, dbname=there) == [
        (first, "upgrade"),
        (second, "upgrade"),
        (second, "squash"),
        (third, "upgrade"),
    ]
    # There without a ledger: adopted.
    project.just("db-upgrade", POSTGRES_DB=unrecorded).ok()
    assert ledger(project, dbname=unrecorded) == [(second, "adopt"), (third, "upgrade")]
    # Before it, with and without a ledger.
    project.just("db-upgrade").refused(first, f"squashed into {second}", "release from before")
    project.just("db-current").refused(f"squashed into {second}")
    with project.connect() as connection:
        connection.execute("DROP TABLE migration_ledger")
    project.just("db-upgrade").refused(f"squashed into {second}")
    # Beside it, until somebody has reviewed that.
    project.just("db-upgrade", POSTGRES_DB=edited).refused(
        f"Revision {second}, applied on", "squashed", f"just db-repair {second}"
    )
    project.just("db-repair", second, POSTGRES_DB=edited).ok()
    project.just("db-upgrade", POSTGRES_DB=edited).ok()
    # The release from before still works where the squashed one was.
    git(project, "checkout", "--quiet", "HEAD~1").ok()
    assert "Nothing to apply" in project.just("db-upgrade", POSTGRES_DB=there).ok().out


def test_without_a_running_database(small: tuple[Project, list[str]]) -> None:
    project, (_, second, third) = small
    nowhere: dict[str, Any] = {"POSTGRES_PORT": str(free_port())}
    project.just("db-squash", second, **nowhere).ok()
    assert {path.stem[-12:] for path in project.revisions()} == {second, third}


def test_what_can_not_be_squashed_is_refused_and_changes_nothing(
    small: tuple[Project, list[str]],
) -> None:
    project, (first, second, third) = small

    def refused(*parts: str, revision: str = "") -> None:
        before = {path: path.read_bytes() for path in project.revisions()}
        project.just("db-squash", revision).refused(*parts)
        assert before == {path: path.read_bytes() for path in project.revisions()}

    refused("nonsense", "just db-history", revision="nonsense")
    refused("Nothing to squash", first, revision=first)
    (path,) = project.versions.glob(f"*{third}.py")
    text = path.read_text()

    path.write_text(text + "# not committed\n")
    refused("Commit them first", path.name)
    # Not in git's last commit, whatever `git status` is told to show.
    path.write_text(text)
    git(project, "rm", "--quiet", "--cached", str(path)).ok()
    git(project, "commit", "--quiet", "--message", "Without the newest").ok()
    git(project, "config", "status.showUntrackedFiles", "no").ok()
    refused("Commit them first", path.name)
    (project.path / ".git/info/exclude").write_text("*.py\n")
    refused("Commit them first", path.name)
    (project.path / ".git/info/exclude").write_text("")
    (project.path / ".git").rename(project.path / "git")
    refused("only git could give them back", "git init")
    (project.path / "git").rename(project.path / ".git")
    commit(project, "With it")

    path.write_text(text.replace(f'= "{second}"', "= None"))
    refused("2 heads")
    path.write_text(text.replace(f'= "{second}"', f'= ("{first}", "{second}")'))
    refused(f"follows {first}", revision=second)

    path.write_text(text.replace("CREATE TABLE third (id int)", "SELECT 1/0"))
    commit(project, "A revision that fails")
    refused("empty database", path.name)


def test_what_pg_dump_can_not_say_is_refused(small: tuple[Project, list[str]]) -> None:
    project, (_, second, _) = small
    (path,) = project.versions.glob(f"*{second}.py")
    role = f"owner_{project.env['POSTGRES_DB']}"
    path.write_text(
        path.read_text().replace("(id int)", f"(id int); ALTER TABLE second OWNER TO {role}")
    )
    commit(project, "An owner of its own")
    with project.connect() as connection:
        connection.execute(f"CREATE ROLE {role}")
    try:
        before = project.revisions()
        project.just("db-squash").refused("something else", f"OWNER TO {role}")
        assert project.revisions() == before
    finally:
        with project.connect() as connection:
            for (name,) in connection.execute(
                "SELECT datname FROM pg_database WHERE starts_with(datname, %s)",
                [f"{project.env['POSTGRES_DB']}_shadow_"],
            ).fetchall():
                connection.execute(f"DROP DATABASE {name}")
            connection.execute(f"DROP ROLE {role}")
