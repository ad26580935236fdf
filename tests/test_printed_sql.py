"""`just db-sql` prints what `just db-upgrade` runs, or refuses."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Project

UP = r"""
def upgrade() -> None:
    from datetime import date, datetime, timedelta, timezone
    from decimal import Decimal
    from uuid import UUID

    op.create_table(
        "t",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("a", sa.Text, server_default="a\\b\tc'%d :x", comment="c\\d 100% :y"),
        sa.Column("100%", sa.Boolean),
        sa.Column("u", sa.Uuid),
        sa.Column("long", sa.Interval),
        sa.Column("n", sa.Numeric),
        sa.Column("f", sa.Float),
        sa.Column("at", sa.DateTime(timezone=True)),
        sa.Column("list", sa.ARRAY(sa.Text)),
        sa.Column("e", sa.Enum("x", "y\\z", name="ee")),
    )
    t = sa.table("t", *[
        sa.column(name, type_) for name, type_ in (
            ("id", sa.Integer), ("a", sa.Text), ("100%", sa.Boolean), ("u", sa.Uuid),
            ("long", sa.Interval), ("n", sa.Numeric), ("f", sa.Float),
            ("at", sa.DateTime(timezone=True)), ("list", sa.ARRAY(sa.Text)),
            ("e", sa.Enum("x", "y\\z", name="ee")),
        )
    ])
    op.bulk_insert(t, [
        {"id": 1, "a": "two\nlines\ttab \\:x 100% 'q'", "100%": True, "u": UUID(int=5),
         "long": timedelta(days=1, seconds=5, microseconds=7), "n": Decimal("NaN"),
         "f": float("-inf"), "at": datetime(2020, 1, 1, tzinfo=timezone.utc),
         "list": ["a'b", "c"], "e": "y\\z"},
        {"id": 2, "a": None, "100%": None, "u": None, "long": timedelta(seconds=-1),
         "n": Decimal("1.50"), "f": 1e300, "at": None, "list": [], "e": None},
    ])
    op.execute("INSERT INTO t (id, a) VALUES (3, '{\"days\"\\:28}') -- a comment")
    bind = op.get_bind()
    bind.execute(sa.text("INSERT INTO t (id, a) VALUES (:i, :a)"), {"i": 4, "a": "back\\:slash"})
    bind.execute(sa.text("INSERT INTO t (id, a) VALUES (:i, :a)"), [{"i": 5, "a": ""}, {"i": 6, "a": None}])
    bind.execute(t.insert(), [{"id": 7, "a": "x"}, {"id": 8, "a": "%s"}])
    op.execute(sa.text("UPDATE t SET at = :at WHERE id = 8").bindparams(at=datetime(2021, 1, 1)))
    op.execute("DO $$ BEGIN PERFORM 1\\:\\:int; END $$;")


def downgrade() -> None:
    op.drop_table("t")
    op.execute("DROP TYPE ee")
"""
REFUSED = {
    """op.execute("UPDATE roles SET description = '{\\"days\\":28}'")""": r"write \:28",
    'op.execute("DO $$ BEGIN PERFORM 1 :two; END $$")': r"write \:two",
    'op.get_bind().execute(sa.text("UPDATE roles SET name = :n"))': r"write \:n",
    'op.get_bind().exec_driver_sql("UPDATE roles SET name = name")': "exec_driver_sql",
    'op.get_bind().execute(sa.table("roles", sa.column("name")).update(), {"name": "x"})': "values",
    'sa.Table("x", sa.MetaData()).create(op.get_bind(), checkfirst=True)': "asks the database",
}


def add_revision(project: Project, body: str) -> Path:
    before = project.revisions()
    project.alembic("revision", "-m", "printed").ok()
    (path,) = project.revisions() - before
    path.write_text(path.read_text().partition("\n\ndef upgrade")[0] + body)
    return path


def test_the_printed_sql_does_what_the_upgrade_does(project: Project) -> None:
    add_revision(project, UP)
    question = "SELECT t.*, col_description('t'::regclass, 2) FROM t ORDER BY id"
    script = project.write("pending.sql", project.just("db-sql").ok().out)
    project.just("db-shell", "-qv", "ON_ERROR_STOP=1", "-f", str(script)).ok()
    with project.connect() as connection:
        printed = connection.execute(question).fetchall()
    project.just("db-downgrade").ok()
    project.just("db-upgrade").ok()
    with project.connect() as connection:
        # As text: NaN does not equal itself.
        assert str(printed) == str(connection.execute(question).fetchall())
    assert len(printed) == 8
    assert printed[2][1] == '{"days":28}'


def test_sql_that_would_not_be_what_runs_is_refused(project: Project) -> None:
    path = add_revision(project, "")
    head = path.read_text()
    for statement, part in REFUSED.items():
        body = (
            f"\n\ndef upgrade() -> None:\n    {statement}\n\n\ndef downgrade() -> None:\n    pass\n"
        )
        path.write_text(head + body)
        refused = project.just("db-sql").refused("can't be shown without running it", part)
        assert "UPDATE" not in refused.out
