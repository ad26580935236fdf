"""A database's schema and rows as a revision: pg_dump's SQL, statement by statement."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from app.core.config import Settings
from app.migrate.dump import run_pg_dump

TOKEN = re.compile(
    r"""
      (?P<comment> --[^\n]*\n | ^\\(?:un)?restrict\ [^\n]*\n )
    | (?P<end> ; )
    | \bE'(?:[^'\\]|\\.)*' | '[^']*' | "[^"]*"
    | \$(?P<tag>[^\W\d]\w*|)\$ .*? \$(?P=tag)\$
    | \bBEGIN\ ATOMIC\b .*? ^END\b
    """,
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)
# How pg_dump sets its session up, and what the others do by themselves.
NOISE = re.compile(
    r"SET \w+ = |SELECT pg_catalog\.set_config\(|COMMENT ON EXTENSION "
    r"|SELECT pg_catalog\.setval\('.*', 1, false\)$"
)
# Dropped with its table; a partition's can't even be dropped otherwise.
GOES_ALONG = re.compile(r"ALTER TABLE (IF EXISTS )?(ONLY )?.* DROP CONSTRAINT |DROP INDEX ")
# A body may name what is created after it.
NO_BODY_CHECK = "SET LOCAL check_function_bodies = false"

REVISION = '''\
"""squashed {count} revisions

Revision ID: {revision}
Revises:
Create Date: {created}
"""

# ruff: noqa
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "{revision}"
down_revision: str | Sequence[str] | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# What was squashed, with the checksums of the files: a database whose ledger has the same is here.
replaces: dict[str, str] = {replaces}


# In sa.DDL the only special character is the per cent sign, which is written twice.
def upgrade() -> None:
{upgrade}


def downgrade() -> None:
{downgrade}
'''


@dataclass(frozen=True)
class Baseline:
    """The statements that make what a database holds, and those that remove it."""

    create: list[str]
    drop: list[str]


def read_baseline(settings: Settings) -> Baseline:
    """Reads a database, without the tables that migrations keep for themselves.

    Raises:
        CommandError: pg_dump failed.
    """
    create = dumped_statements(settings, "--no-owner")
    cleaning = dumped_statements(settings, "--no-owner", "--clean")
    drop = [
        _cascading(s) for s in cleaning[: len(cleaning) - len(create)] if not GOES_ALONG.match(s)
    ]
    if any(re.match("CREATE (FUNCTION|PROCEDURE) ", statement) for statement in create):
        create = [NO_BODY_CHECK, *create]
    return Baseline(create, drop)


def dumped_statements(settings: Settings, *options: str) -> list[str]:
    """What pg_dump prints of a database, rows included.

    Raises:
        CommandError: pg_dump failed.
    """
    return split_statements(run_pg_dump(settings, "--column-inserts", *options))


def split_statements(dump: str) -> list[str]:
    """The statements of a dump without comments and those that only set a session up."""
    statements, text, position = [], "", 0
    for token in TOKEN.finditer(dump):
        if token["comment"] or token["end"]:
            text += dump[position : token.start()]
            position = token.end()
        if token["end"]:
            statements.append(text.strip())
            text = ""
    return [statement for statement in statements if not NOISE.match(statement)]


def render_revision(
    revision: str, replaces: Mapping[str, str], baseline: Baseline, created: datetime
) -> str:
    """The text of a revision without a parent that stands for others."""
    pairs = [f'    "{name}": "{value}",' for name, value in replaces.items()]
    return REVISION.format(
        count=len(replaces),
        revision=revision,
        created=f"{created:%Y-%m-%d %H:%M:%S}",
        replaces="\n".join(["{", *pairs, "}"]),
        upgrade=_render_body(baseline.create),
        downgrade=_render_body(baseline.drop),
    )


def _cascading(statement: str) -> str:
    return f"{statement} CASCADE" if statement.startswith("DROP TABLE ") else statement


def _render_body(statements: list[str]) -> str:
    return "\n".join(map(_render_statement, statements)) or "    pass"


def _render_statement(sql: str) -> str:
    # Python would read a carriage return in its source as a line feed.
    for character, written in (("\\", "\\\\"), ("\r", "\\r"), ('"""', '\\"\\"\\"'), ("%", "%%")):
        sql = sql.replace(character, written)
    return f'    op.execute(sa.DDL("""\n{sql}\n"""))'
