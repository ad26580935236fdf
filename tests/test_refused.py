"""What `just db-migrate` refused stays refused until it is answered, accepted or taken back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from psycopg.sql import SQL, Identifier

from tests.conftest import Project, accept, free_port
from tests.test_commands import write_revision
from tests.test_history import LATEST, commit, git, latest, revision

ROLE = "backend/app/models/role.py"
DESCRIPTION = "    description: str | None = Field(default=None, max_length=500)\n"
REFUSED = "ban-drop-column: roles.description is dropped with its values"


def other_database(project: Project, purpose: str, like: Project | None = None) -> str:
    """A database beside the project's: an empty one, or a copy."""
    name = f"{project.env['POSTGRES_DB']}_{purpose}"
    with project.connect(dbname="postgres") as connection:
        template = Identifier(like.env["POSTGRES_DB"] if like else "template1")
        connection.execute(SQL("DROP DATABASE IF EXISTS {}").format(Identifier(name)))
        create = SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), template)
        connection.execute(create)
    return name


def add_row(project: Project) -> None:
    with project.connect() as connection:
        connection.execute("INSERT INTO roles (name, description) VALUES ('a', 'kept')")


def has_description(project: Project, database: str) -> bool:
    with project.connect(dbname=database) as connection:
        rows = connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'roles'::regclass"
        )
        return "description" in {name for (name,) in rows}


@pytest.fixture
def refused(project: Project) -> tuple[Project, Path]:
    """A project with rows, and a revision that was refused: it drops a column."""
    add_row(project)
    before = project.revisions()
    project.replace(ROLE, DESCRIPTION, "")
    project.just("db-migrate").refused("not safe", f"    {REFUSED}", "just db-migrate --undo")
    (path,) = project.revisions() - before
    return project, path


def test_a_refused_revision_waits_for_an_answer_where_there_are_rows(
    refused: tuple[Project, Path],
) -> None:
    project, path = refused
    own = project.env["POSTGRES_DB"]

    def is_refused() -> None:
        project.just("db-upgrade").refused("Nothing was run", "rows (roles)", path.name, REFUSED)
        plain = project.alembic("upgrade", "head")
        assert plain.code != 0
        assert REFUSED in plain.text
        assert "Traceback" not in plain.text
        assert has_description(project, own)

    is_refused()
    again = project.just("db-migrate").refused("Not answered", f"    {REFUSED}", "--undo")
    assert "Nothing to do" not in again.text
    assert f"refused {REFUSED}" in project.just("db-history").ok().out
    # An empty database has nothing to lose: a new one, or CI's.
    empty = other_database(project, "empty")
    project.just("db-upgrade", POSTGRES_DB=empty).ok()
    assert not has_description(project, empty)
    # In an emergency, and the ledger has the reason.
    copy = other_database(project, "copy", like=project)
    assert project.just("db-upgrade", "--accept", " ", POSTGRES_DB=copy).code == 2
    # (The copy is not marked as a development database.)
    given = ("--accept", "we're down", "--database", copy)
    project.just("db-upgrade", *given, POSTGRES_DB=copy).ok()
    with project.connect(dbname=copy) as connection:
        notes = connection.execute("SELECT note FROM migration_ledger ORDER BY id DESC LIMIT 1")
        assert notes.fetchone() == ("accepted ban-drop-column: we're down",)
    # Neither a reason that says nothing nor one for another rule is an answer.
    text = path.read_text()
    for useless in ('{"ban-drop-column": " "}', '{"ban-drop-table": "Nobody reads it."}'):
        path.write_text(text.replace("refused = {", f"accepted = {useless}\nrefused = {{"))
        is_refused()
    path.write_text(text)
    accept(project, project.just("db-migrate")).ok()
    assert "Nothing to do" in project.just("db-migrate").ok().out
    project.just("db-upgrade").ok()
    assert not has_description(project, own)


def test_a_refused_revision_that_was_made_safe_is_looked_at_again(
    refused: tuple[Project, Path],
) -> None:
    project, path = refused
    git(project, "init", "--quiet", "--initial-branch=main").ok()
    git(project, "commit", "--quiet", "--allow-empty", "--message", "Start").ok()
    project.replace(ROLE, "    created_at", f"{DESCRIPTION}    created_at")
    top = path.read_text().partition("def upgrade")[0]
    safe = f"{top}def upgrade() -> None:\n    pass\n\n\ndef downgrade() -> None:\n    pass\n"
    path.write_text(safe)
    project.just("db-upgrade").refused("just db-migrate")
    project.just("db-check").ok()
    assert path.read_text() == re.sub(r"refused = \{\n.*\n\}\n", "", safe)
    project.just("db-upgrade").ok()
    # Committed, others may look at it: CI must not pass what production refuses.
    project.just("db-downgrade").ok()
    path.write_text(safe)
    git(project, "checkout", "--quiet", "-b", "feature").ok()
    commit(project, "Refused")
    project.just("db-check").refused("it says that it is refused", "just db-migrate")
    assert path.read_text() == safe
    assert "Nothing to do" in project.just("db-migrate").ok().out
    assert "refused" not in path.read_text()


def test_places_to_fill_in_and_what_is_unsafe_beside_them(project: Project) -> None:
    add_row(project)
    before = project.revisions()
    project.replace(ROLE, DESCRIPTION, "    rank: int\n")
    said = project.just("db-migrate", "--drop", "roles.description").refused(f"    {REFUSED}")
    files = {path.name.partition("_")[2][:-16]: path for path in project.revisions() - before}
    main, place = files["roles_add_rank_and_1_more"], files["roles_backfill_rank"]
    lines = place.read_text().splitlines()
    number = next(n for n, line in enumerate(lines, 1) if "NotImplementedError" in line)
    assert (
        f"{place.name}, line {number}, in upgrade(): the values of column roles.rank in the rows "
        "that are there\n" in said.err
    )
    project.just("db-migrate").refused("Fill in what is marked", place.name)
    project.just("db-upgrade").refused(main.name, REFUSED, place.name, "Fill in: column roles.rank")
    text = place.read_text().replace("# backfill(", "backfill(").replace("…", "7")
    place.write_text(re.sub(" *raise NotImplementedError.*\n", "", text))
    # What was refused besides is not answered by that.
    project.just("db-upgrade").refused(main.name, REFUSED)
    accept(project, said)
    project.just("db-upgrade").ok()
    with project.connect() as connection:
        assert connection.execute("SELECT rank FROM roles").fetchone() == (7,)


def test_a_place_on_the_way_down_keeps_the_way_up_closed(project: Project) -> None:
    path = write_revision(
        project,
        "no way back",
        'op.execute("SELECT 1")',
        'raise NotImplementedError("Fill in: table t")',
    )
    add_row(project)
    project.just("db-upgrade").refused("Nothing was run", path.name, "Fill in: table t")
    project.just("db-migrate").refused(path.name)
    with project.connect() as connection:
        connection.execute("DELETE FROM roles")
    project.just("db-upgrade").ok()


def test_a_revision_that_could_not_be_tried_is_refused(project: Project) -> None:
    """Somebody presses Ctrl-C."""
    before = project.revisions()
    add_row(project)
    project.replace(ROLE, DESCRIPTION, f"{DESCRIPTION}    rank: int | None\n")
    proof = project.backend / "app/migrate/proof.py"
    source = proof.read_text()
    proof.write_text(
        source.replace(
            "        _run(command.downgrade",
            "        os.kill(os.getpid(), 2)\n        _run(command.downgrade",
        ).replace('"""\n\n', '"""\n\nimport os\n', 1)
    )
    assert project.just("db-migrate").code == 130
    proof.write_text(source)
    (path,) = project.revisions() - before
    project.just("db-upgrade").refused(path.name, "unproved: ")
    assert "Nothing to do" in project.just("db-migrate").ok().out
    project.just("db-upgrade").ok()


def test_undo_takes_back_what_was_written_together(project: Project) -> None:
    git(project, "init", "--quiet", "--initial-branch=main").ok()
    commit(project, "Start")
    newest, before = latest(project), project.revisions()
    project.replace(ROLE, DESCRIPTION, "    rank: int = Field(index=True)\n")
    project.just("db-migrate", "--drop", "roles.description").refused("Fill in")
    written = project.revisions() - before
    assert len(written) > 2
    assert git(project, "status", "--porcelain").out.count("??") == len(written)
    said = project.just("db-migrate", "--undo").ok()
    assert all(path.name in said.out for path in written)
    assert (project.revisions(), latest(project)) == (before, newest)
    assert git(project, "status", "--porcelain").ok().out == f" M {ROLE}\n"
    # There is no more that nobody else has.
    project.just("db-migrate", "--undo").refused("Nothing was undone", "the base branch has")


def test_undo_keeps_what_git_does_not_have(project: Project) -> None:
    project.replace(ROLE, DESCRIPTION, f"{DESCRIPTION}    rank: int | None\n")
    before = project.revisions()
    newest = latest(project)
    project.just("db-migrate").ok()
    (path,) = project.revisions() - before
    nowhere = str(free_port())
    project.just("db-migrate", "--undo", POSTGRES_PORT=nowhere).refused("it can't be told", "start")
    project.just("db-upgrade").ok()
    project.just("db-migrate", "--undo").refused(
        "has applied", f"Roll back first: just db-downgrade {newest}"
    )
    assert path.exists()
    project.just("db-downgrade").ok()
    path.write_text(path.read_text() + "# Mine\n")
    said = project.just("db-migrate", "--undo").ok().out
    assert f"it is kept as {path.name}.undone" in said
    assert path.with_name(f"{path.name}.undone").read_text().endswith("# Mine\n")
    assert (project.revisions(), latest(project)) == (before, newest)
    # Written by hand.
    by_hand = write_revision(project, "mine", "pass")
    project.just("db-migrate", "--undo").refused("Nothing was undone", by_hand.name)
    assert by_hand.exists()
    git(project, "init", "--quiet", "--initial-branch=main").ok()
    by_hand.rename(project.path / by_hand.name)
    project.write(LATEST, f"{newest}\n")
    commit(project, "Start")
    git(project, "checkout", "--quiet", "-b", "feature").ok()
    (project.path / by_hand.name).rename(by_hand)
    project.write(LATEST, f"{revision(by_hand)}\n")
    commit(project, "Mine")
    remote = project.path.parent / "remote.git"
    git(project, "init", "--quiet", "--bare", str(remote)).ok()
    git(project, "remote", "add", "origin", str(remote)).ok()
    git(project, "push", "--quiet", "origin", "feature").ok()
    project.just("db-migrate", "--undo").refused("was pushed (commit ", by_hand.name)
    git(project, "push", "--quiet", "--delete", "origin", "feature").ok()
    project.just("db-migrate", "--undo").ok()
    assert (project.revisions(), latest(project)) == (before, newest)
    assert git(project, "show", f"HEAD:{by_hand.relative_to(project.path)}").ok()


def test_a_wrong_option_is_never_taken_for_a_name(
    project: Project, subtests: pytest.Subtests
) -> None:
    before = project.revisions()
    git(project, "init", "--quiet").ok()
    git(project, "add", "--all").ok()
    for typed in (
        "db-migrate --renam users.name:x",
        "db-migrate --drop-table users",
        "db-model --foo",
        "db-model",
        "db-rebase --foo",
        "db-repair --foo",
        "db-repair",
        "db-squash --foo",
        "db-upgrade --jso",
        "db-current --foo",
        "db-history now",
        "db-sql --json",
    ):
        with subtests.test(typed):
            recipe = typed.split()[0]
            wrong = project.just(*typed.split())
            assert wrong.code == 2
            assert f"usage: just {recipe} [-h]" in wrong.err
    assert project.revisions() == before
    assert git(project, "status", "--porcelain").ok().out.count("??") == 0
    helped = project.just("db-upgrade", "--help").ok().out
    assert "usage: just db-upgrade" in helped
    assert "--accept REASON" in helped
    command = ["uv", "run", "python", "-m", "app.migrate", "upgrade", "--help"]
    plain = project.run(*command, cwd=project.backend).ok().out
    assert "usage: python -m app.migrate upgrade" in plain


def test_an_extension_that_the_server_lacks_is_named(project: Project) -> None:
    for upgrade, parts in {
        """op.execute('CREATE EXTENSION "uuid-ossp"')""": (
            "does not have the extension uuid-ossp",
            "gen_random_uuid()",
            "POSTGRES_BIN_DIR",
        ),
        'op.execute("CREATE EXTENSION pgcrypto")': ("does not have the extension pgcrypto",),
        'op.execute("SELECT uuid_generate_v4()")': ("is part of the extension uuid-ossp",),
        "op.execute(\"SELECT crypt('a', 'b')\")": ("is part of the extension pgcrypto",),
    }.items():
        path = write_revision(project, "needs an extension", upgrade)
        refused = project.just("db-upgrade").refused(path.name, *parts, "Then run: just db-upgrade")
        assert "Correct the file" not in refused.err
        path.unlink()
    path = write_revision(project, "a typo", 'op.execute("SELECT nosuch()")')
    refused = project.just("db-upgrade").refused("Correct the file")
    assert "extension" not in refused.err
