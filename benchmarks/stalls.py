"""Measures how long a steady load stands still while a migration changes the table it is on."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import psycopg

from benchmarks.plot import plot_stalls
from benchmarks.project import Project, load
from benchmarks.upgrades import WITHOUT_MODELS, plain_alembic

SIZES = [1_000_000, 5_000_000]
QUICK = [100_000]
PAUSE_S = 0.002
READER_S = 8
PARENT = "572de137043f"
ANY_ROW = "(SELECT 1 + (random() * {rows})::bigint)"
LOAD = {
    "read": f"SELECT id, email FROM accounts WHERE id = {ANY_ROW}",
    "update": f"UPDATE accounts SET amount = amount + 1 WHERE id = {ANY_ROW}",
    "insert": "INSERT INTO accounts (owner_id, number, email, amount) "
    "SELECT 1, max(number) + 1, 'x', 0 FROM accounts",
}


@dataclass(frozen=True)
class Operation:
    """One change of the table, as plain autogenerate writes it and as the template does."""

    name: str
    plain: str
    ours: tuple[str, ...]  # one revision each
    undo: str
    behind_a_reader: bool = False


OPERATIONS = [
    Operation(
        "new column, NULL allowed",
        'op.add_column("accounts", sa.Column("x", sa.Text(), nullable=True))',
        ('op.add_column("accounts", sa.Column("x", sa.Text(), nullable=True))',),
        "ALTER TABLE accounts DROP COLUMN x",
    ),
    Operation(
        "new column, default gen_random_uuid()",
        'op.add_column("accounts", sa.Column("x", sa.Uuid(), '
        'server_default=sa.text("gen_random_uuid()"), nullable=False))',
        (
            'op.add_column("accounts", sa.Column("x", sa.Uuid(), nullable=True)); '
            'op.alter_column("accounts", "x", server_default=sa.text("gen_random_uuid()"))',
            'backfill("accounts", "x = gen_random_uuid()", where="x IS NULL")',
            'set_not_null("accounts", "x")',
        ),
        "ALTER TABLE accounts DROP COLUMN x",
    ),
    Operation(
        "NOT NULL",
        'op.alter_column("accounts", "email", nullable=False)',
        ('set_not_null("accounts", "email")',),
        "ALTER TABLE accounts ALTER COLUMN email DROP NOT NULL",
    ),
    Operation(
        "index",
        'op.create_index("ix", "accounts", ["email"])',
        ('create_index_concurrently("ix", "accounts", "(email)")',),
        "DROP INDEX ix",
    ),
    Operation(
        "unique constraint",
        'op.create_unique_constraint("uq", "accounts", ["number"])',
        ('create_unique_constraint("uq", "accounts", "(number)")',),
        "ALTER TABLE accounts DROP CONSTRAINT uq",
    ),
    Operation(
        "check",
        'op.create_check_constraint("ck", "accounts", sa.text("amount >= 0"))',
        ('create_check_constraint("ck", "accounts", "amount >= 0")',),
        "ALTER TABLE accounts DROP CONSTRAINT ck",
    ),
    Operation(
        "foreign key",
        'op.create_foreign_key("fk", "accounts", "owners", ["owner_id"], ["id"])',
        ('create_foreign_key("fk", "accounts", "(owner_id) REFERENCES owners (id)")',),
        "ALTER TABLE accounts DROP CONSTRAINT fk",
    ),
    Operation(
        f"new column behind a reader of {READER_S} s",
        'op.add_column("accounts", sa.Column("x", sa.Text(), nullable=True))',
        ('op.add_column("accounts", sa.Column("x", sa.Text(), nullable=True))',),
        "ALTER TABLE accounts DROP COLUMN x",
        behind_a_reader=True,
    ),
]
REVISION = '''\
"""{name}"""

import sqlalchemy as sa
from alembic import op
from app.migrate.backfill import backfill
from app.migrate.operations import (
    create_check_constraint,
    create_foreign_key,
    create_index_concurrently,
    create_unique_constraint,
    set_not_null,
)

revision = "{revision}"
down_revision = "{parent}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    {body}


def downgrade() -> None:
    pass
'''


def run(project: Project, output: Path, quick: bool, rounds: int) -> str:
    """Measures once, draws the plot and returns the results as Markdown."""
    del rounds  # the longest of many requests is what counts
    python = f"{project.env['UV_PROJECT_ENVIRONMENT']}/bin/python"
    ours = [python, "-m", "app.migrate", "upgrade"]
    plain = [*plain_alembic(project, "plain", WITHOUT_MODELS), "upgrade", "head"]
    project.run(*ours)
    sizes = QUICK if quick else SIZES
    stalls: dict[int, dict[str, tuple[float, float]]] = {}
    idle: dict[int, float] = {}
    for size in sizes:
        make_tables(project, size)
        with load(project, requests(size), PAUSE_S) as longest:
            time.sleep(10)
        idle[size] = max(longest.values())
        stalls[size] = {}
        for operation in OPERATIONS:
            both = (
                stall(project, size, operation, plain, (operation.plain,)),
                stall(project, size, operation, ours, operation.ours),
            )
            stalls[size][operation.name] = both
            print(f"{size:,} rows, {operation.name}: {both}", file=sys.stderr)
    plot_stalls(stalls, output / "stalls.svg")
    return report(stalls, idle)


def requests(rows: int) -> dict[str, str]:
    return {name: sql.format(rows=rows) for name, sql in LOAD.items()}


def make_tables(project: Project, rows: int) -> None:
    for sql in (
        "DROP TABLE IF EXISTS accounts, owners",
        "CREATE TABLE owners (id bigint PRIMARY KEY)",
        "INSERT INTO owners SELECT generate_series(1, 1000)",
        "CREATE TABLE accounts (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
        "owner_id bigint NOT NULL, number bigint NOT NULL, email text, amount int NOT NULL)",
        "INSERT INTO accounts (owner_id, number, email, amount) SELECT 1 + i % 1000, i, "
        f"'reader' || i || '@example.org', 0 FROM generate_series(1, {rows}) AS i",
        "CREATE INDEX ON accounts (number)",
        "VACUUM ANALYZE accounts",
        "CHECKPOINT",
    ):
        project.execute(sql)


def stall(
    project: Project, size: int, operation: Operation, command: list[str], bodies: tuple[str, ...]
) -> float:
    """Applies the revisions under load; returns the seconds that the slowest request took."""
    for body in bodies:
        write_revision(project, operation.name, body)
    with (
        load(project, requests(size), PAUSE_S) as longest,
        reader(project) if operation.behind_a_reader else nullcontext(),
    ):
        time.sleep(0.5)
        migrate(project, command)
    project.execute(operation.undo)
    return max(longest.values())


def migrate(project: Project, command: list[str]) -> None:
    done = subprocess.run(
        command, cwd=project.backend, env=project.env, capture_output=True, text=True
    )
    if done.returncode != 0:
        sys.exit(done.stdout + done.stderr)


def write_revision(project: Project, name: str, body: str) -> None:
    versions = project.backend / "alembic" / "versions"
    number = len(list(versions.glob("*.py")))
    parent = f"{number - 1:012}" if number > 1 else PARENT
    lines = "\n    ".join(body.split("; "))
    text = REVISION.format(name=name, revision=f"{number:012}", parent=parent, body=lines)
    (versions / f"2026-12-01_stall_{number:012}.py").write_text(text)


@contextmanager
def reader(project: Project) -> Iterator[None]:
    """A long transaction that has read the table."""

    def read(connection: psycopg.Connection) -> None:
        connection.execute("SELECT count(*) FROM owners, LATERAL (SELECT FROM accounts LIMIT 1) a")
        time.sleep(READER_S)
        connection.rollback()

    with project.connect() as connection:
        connection.autocommit = False
        thread = threading.Thread(target=read, args=[connection])
        thread.start()
        try:
            yield
        finally:
            thread.join()


def report(stalls: dict[int, dict[str, tuple[float, float]]], idle: dict[int, float]) -> str:
    """The results as Markdown."""
    lines = [
        "# How long the traffic stands still",
        "",
        "The slowest of all requests, in milliseconds, while a migration changes the table that "
        f"they read and write: {', '.join(LOAD)}, each in a session of its own, one every "
        f"{PAUSE_S * 1000:.0f} ms. Plain is what autogenerate writes, run by Alembic with the "
        "env.py of `alembic init`; ours is what `just db-migrate` writes, run by `just "
        f"db-upgrade`. Made by `just bench stalls` with Python {platform.python_version()} on "
        f"{os.cpu_count()} cores, the server and the load on the same machine; once, so compare "
        "orders of magnitude.",
        "",
        "![The slowest request](stalls.svg)",
        "",
        "| change | " + " | ".join(f"{size:,} rows: plain | ours" for size in stalls) + " |",
        "| --- |" + " ---: | ---: |" * len(stalls),
        "| (no migration) | "
        + " | ".join(f"{idle[size] * 1000:,.0f} | {idle[size] * 1000:,.0f}" for size in stalls)
        + " |",
    ]
    for operation in OPERATIONS:
        cells = []
        for seconds in stalls.values():
            plain, ours = seconds[operation.name]
            cells.append(f"{plain * 1000:,.0f} | {ours * 1000:,.0f}")
        lines.append(f"| {operation.name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
