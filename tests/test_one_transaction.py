"""A revision is one transaction, the one that records it, and begins in a fresh session."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Project, Result
from tests.test_history import revision
from tests.test_ledger import append
from tests.test_runner import add_revision, count, sql

MAKE = sql("CREATE TABLE made (id int)")
ORM = "from sqlalchemy.orm import Session; "


def upgrade(project: Project, target: str = "head", *options: str) -> Result:
    python = f"{project.env['UV_PROJECT_ENVIRONMENT']}/bin/python"
    command = [python, "-m", "app.migrate", "upgrade", target, *options]
    return project.run(*command, cwd=project.backend)


def body(path: Path, *lines: str, function: str = "upgrade") -> None:
    """Replaces what a revision does."""
    head, _, rest = path.read_text().partition(f"def {function}() -> None:\n")
    _, separator, tail = rest.partition("\n\n\ndef downgrade")
    code = "".join(f"    {line}\n" for line in lines).rstrip("\n")
    end = f"{separator}{tail}" if function == "upgrade" else "\n"
    path.write_text(f"{head}def {function}() -> None:\n{code}{end}")


# What is tried to end it, and nothing of the revision is there.
UNDONE = [
    "op.get_bind().commit()",
    "op.get_bind().rollback()",
    "op.get_context().connection.commit()",
    sql("COMMIT"),
    sql(" rollback and no chain ; "),
    ORM + "s = Session(op.get_bind()); s.execute(sa.text('SELECT 1')); s.rollback()",
    "op.get_bind().get_transaction().commit()",
    "op.get_bind().close()",
]
# What can't be prevented: the message says what may be there.
DONE = [
    sql("CREATE TABLE kept (id int); COMMIT"),
    sql("CREATE TABLE kept (id int); COMMIT; BEGIN"),
    sql("CREATE TABLE kept (id int)") + "; op.get_bind().connection.commit()",
    sql("CREATE TABLE kept (id int)") + "; op.get_bind().connection.cursor().execute('COMMIT')",
]


def test_a_revision_that_ends_its_transaction_is_refused(project: Project) -> None:
    path = add_revision(project, "pass")
    add_revision(project, sql("CREATE TABLE later (id int)"))
    with project.connect() as connection:
        for end in UNDONE:
            # Alone, and with something after it that would begin another transaction.
            body(path, MAKE, end, *([sql("CREATE TABLE more (id int)")] * (end != UNDONE[1])))
            said = upgrade(project).refused(f"The upgrade of revision {revision(path)}").text
            assert "was rolled back, the revisions before it stay" in said, end
            left = "SELECT count(*) FROM pg_class WHERE relname IN ('made', 'more', 'later')"
            assert count(connection, left) == 0, end
        for end in DONE:
            body(path, end)
            said = upgrade(project).refused("ends its own transaction", "by hand").text
            assert "be in the database" in said or "is in the database" in said, end
            connection.execute("DROP TABLE kept")
        assert count(connection, "SELECT count(*) FROM migration_ledger") == 1
        body(path, MAKE)
        assert "Applied 2 revisions" in upgrade(project).ok().out


def test_what_ends_no_transaction_is_legal(project: Project) -> None:
    block = "    with op.get_context().autocommit_block():"
    add_revision(
        project,
        "\n    ".join(
            [
                "bind = op.get_bind()",
                MAKE,
                "with bind.begin_nested():",
                "    " + sql("INSERT INTO made VALUES (1)"),
                "with bind.begin_nested() as savepoint:",
                "    " + sql("INSERT INTO made VALUES (2)"),
                "    savepoint.rollback()",
                sql("SAVEPOINT x; INSERT INTO made VALUES (3); ROLLBACK TO SAVEPOINT x"),
                ORM + "session = Session(bind)",
                "session.execute(sa.text('INSERT INTO made VALUES (4)'))",
                "session.commit()",
                "session.execute(sa.text('SELECT 1'))",
                "session.close()",
                block.strip(),
                "    " + sql("INSERT INTO made VALUES (5)"),
                "    " + sql("VACUUM made"),
                sql("INSERT INTO made VALUES (6)"),
                block.strip(),
                "    " + sql("INSERT INTO made VALUES (7)"),
                "with bind.connection.driver_connection.transaction():",
                "    " + sql("INSERT INTO made VALUES (8)"),
            ]
        ),
    )
    upgrade(project).ok()
    with project.connect() as connection:
        rows = connection.execute("SELECT array_agg(id ORDER BY id) FROM made").fetchone()
        assert rows == ([1, 4, 5, 6, 7, 8],)
        assert count(connection, "SELECT count(*) FROM migration_ledger") == 2


def test_a_commit_after_a_legal_block_is_refused(project: Project) -> None:
    block = "with op.get_context().autocommit_block(): op.execute('CREATE TABLE kept (id int)')"
    path = add_revision(project, f"{block}\n    {MAKE}\n    op.get_bind().commit()")
    refused = upgrade(project).refused("What it had committed stays", revision(path))
    with project.connect() as connection:
        assert count(connection, "SELECT count(*) FROM pg_class WHERE relname = 'made'") == 0
        assert count(connection, "SELECT count(*) FROM kept") == 0, refused.text


def test_a_downgrade_that_ends_its_transaction_is_refused_and_can_be_mended(
    project: Project,
) -> None:
    path = add_revision(project, MAKE, sql("DROP TABLE made") + "; op.get_bind().commit()")
    project.just("db-upgrade").ok()
    for end in ("op.get_bind().commit()", "op.get_bind().rollback()"):
        body(path, sql("DROP TABLE made"), end, function="downgrade")
        project.just("db-repair", revision(path)).ok()
        advice = project.just("db-downgrade").refused(f"just db-repair {revision(path)}").text
        with project.connect() as connection:
            assert count(connection, "SELECT count(*) FROM made") == 0
        assert revision(path) in project.just("db-current").ok().out
    # As the message says.
    body(path, sql("DROP TABLE made"), function="downgrade")
    project.just("db-repair", revision(path)).ok()
    assert "just db-downgrade 572de137043f" in advice
    project.just("db-downgrade", "572de137043f").ok()


LEAKS = [
    sql("SET search_path TO other, public"),
    sql("SELECT set_config('search_path', 'other, public', false)"),
    sql("SET timezone TO 'Asia/Tokyo'"),
    sql("SET lock_timeout TO 7"),
    sql("SET app.tenant TO 'one'"),
    sql("CREATE TEMPORARY TABLE real_table (other text)"),
    sql("PREPARE kept AS SELECT 1"),
    sql("SELECT nextval('numbers')"),
    sql("SET ROLE other_role"),
    sql("SET SESSION AUTHORIZATION other_role"),
    sql("LISTEN kept; DECLARE kept CURSOR WITH HOLD FOR SELECT 1"),
    "with op.get_context().autocommit_block(): op.execute('SET search_path TO other, public')",
]
STATE = (
    "INSERT INTO seen SELECT jsonb_build_array(current_schemas(false), current_user, session_user,"
    " (SELECT jsonb_object_agg(name, setting) FROM pg_settings WHERE name IN"
    " ('TimeZone', 'lock_timeout', 'statement_timeout', 'transaction_timeout', 'search_path')),"
    " nullif(current_setting('app.tenant', true), ''),"
    " (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_cursors),"
    " (SELECT count(*) FROM pg_listening_channels()), 'real_table'::regclass::oid)"
)


def test_every_revision_begins_in_the_same_session_state(project: Project) -> None:
    role = f"other_{project.env['POSTGRES_DB']}"
    with project.connect() as connection:
        connection.execute(f"CREATE ROLE {role}; GRANT ALL ON SCHEMA public TO {role}".encode())
        try:
            connection.execute("CREATE SCHEMA other; CREATE TABLE real_table (id int)")
            connection.execute("CREATE SEQUENCE numbers; CREATE TABLE seen (state jsonb)")
            look = sql(STATE.replace("'", "\\'"))
            append(project, "look", look)
            for number, leak in enumerate(LEAKS, 10):
                append(project, f"leak{number}", leak.replace("other_role", role))
                append(project, f"look{number}", look)
            upgrade(project).ok()
            states = connection.execute("SELECT DISTINCT state FROM seen").fetchall()
            assert len(states) == 1, states
            assert count(connection, "SELECT count(*) FROM seen") == 1 + len(LEAKS)
            rows = "SELECT count(*) FROM migration_ledger WHERE role <> 'app'"
            assert count(connection, rows) == 0
        finally:
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


def test_what_a_revision_defers_is_checked_before_it_is_recorded(project: Project) -> None:
    lines = (
        "CREATE TABLE made (id int PRIMARY KEY, up int REFERENCES made DEFERRABLE "
        "INITIALLY DEFERRED); INSERT INTO made VALUES (1, 2)"
    )
    add_revision(project, sql(lines))
    refused = upgrade(project, "head", "--json").refused("violates foreign key constraint")
    assert '"finished"' not in refused.out
