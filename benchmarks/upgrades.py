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
    op.create_table("bench_{number}", sa.Column("id", sa.BigInteger(), primary_key=True))


def downgrade() -> None:
    op.drop_table("bench_{number}")
'''
# What `alembic init` writes, without its comments.
PLAIN_ENV = """\
import os

from alembic import context
from sqlalchemy import create_engine, pool

with create_engine(os.environ["PLAIN_URL"], poolclass=pool.NullPool).connect() as connection:
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        context.run_migrations()
"""
OURS, PLAIN, PSQL = "ours", "plain Alembic", "psql -f of the same SQL"
PARTS = {
    "start Python": "pass",
    "and import psycopg": "import psycopg",
    "and import SQLAlchemy": "import psycopg, sqlalchemy",
    "and import Alembic": "import psycopg, sqlalchemy, alembic.command",
}


def run(project: Project, output: Path, quick: bool, rounds: int) -> str:
    """Measures, draws the plot and returns the results as Markdown."""
    python = f"{project.env['UV_PROJECT_ENVIRONMENT']}/bin/python"
    ours = [python, "-m", "app.migrate", "upgrade"]
    plain = [python, "-m", "alembic", "-c", make_plain(project)]
    sizes = QUICK if quick else REVISIONS
    with_work: dict[int, dict[str, float]] = {}
    without: dict[int, dict[str, float]] = {}
    for size in sizes:
        write_history(project, size)
        sql = project.backend / "history.sql"
        sql.write_text(output_of(project, [*plain, "upgrade", "head", "--sql"]))
        psql = [python, "-m", "devdb", "psql", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(sql)]
        commands = {OURS: ours, PLAIN: [*plain, "upgrade", "head"], PSQL: psql}
        with_work[size] = least(rounds, commands, project, lambda: empty(project))
        project.run(*ours)
        del commands[PSQL]
        without[size] = least(2 * rounds, commands, project, lambda: None)
        print(
            f"{size} revisions: {with_work[size]}, without work: {without[size]}", file=sys.stderr
        )
    together = {
        count: {
            name: min(start_together(project, command, count) for _ in range(rounds))
            for name, command in {OURS: ours, PLAIN: [*plain, "upgrade", "head"]}.items()
        }
        for count in REPLICAS
    }
    parts = {
        name: min(project.run(python, "-c", code) for _ in range(3 * rounds))
        for name, code in PARTS.items()
    }
    plot_upgrades(with_work, without, together, output / "upgrades.svg")
    return report(with_work, without, together, parts)


def make_plain(project: Project) -> str:
    """A stock environment of Alembic for the project's revisions; returns its settings' file."""
    folder = project.backend / "plain"
    folder.mkdir()
    (folder / "env.py").write_text(PLAIN_ENV)
    shutil.copy(project.backend / "alembic" / "script.py.mako", folder)
    versions = project.backend / "alembic" / "versions"
    (folder / "alembic.ini").write_text(
        f"[alembic]\nscript_location = {folder}\nversion_locations = {versions}\n"
        "path_separator = newline\n"
    )
    password = (project.path / "secrets" / "postgres_password.txt").read_text().strip()
    project.env["PLAIN_URL"] = (
        f"postgresql+psycopg://app:{password}@127.0.0.1:{project.env['POSTGRES_PORT']}"
        f"/{project.env['POSTGRES_DB']}"
    )
    return str(folder / "alembic.ini")


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
    project.execute("DROP SCHEMA public CASCADE")
    project.execute("CREATE SCHEMA public")


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
        "`just db-upgrade` runs; plain Alembic is `alembic upgrade head` on the same revisions, "
        "with the env.py that `alembic init` writes. Every revision creates a table. Made by `just "
        f"bench upgrades` with Python {platform.python_version()} on {os.cpu_count()} cores, the "
        "server on the same machine.",
        "",
        "![Seconds by revisions and by replicas](upgrades.svg)",
        "",
        "## From an empty database",
        "",
        f"| revisions | {OURS} | {PLAIN} | ours to plain | {PSQL} |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for size, seconds in with_work.items():
        ratio = seconds[OURS] / seconds[PLAIN]
        lines.append(
            f"| {size:,} | {seconds[OURS]:.2f} | {seconds[PLAIN]:.2f} | {ratio:.2f} "
            f"| {seconds[PSQL]:.2f} |"
        )
    lines += ["", "## With nothing to do", ""]
    lines += [f"| revisions | {OURS} | {PLAIN} | ours to plain |", "| ---: | ---: | ---: | ---: |"]
    for size, seconds in without.items():
        ratio = seconds[OURS] / seconds[PLAIN]
        lines.append(f"| {size:,} | {seconds[OURS]:.2f} | {seconds[PLAIN]:.2f} | {ratio:.2f} |")
    lines += ["", "Where the time goes: seconds to", ""]
    lines += [f"- {name}: {seconds:.2f}" for name, seconds in parts.items()]
    lines += ["", "## Replicas that start at once, with nothing to do", ""]
    lines += [f"| replicas | {OURS} | {PLAIN} | ours to plain |", "| ---: | ---: | ---: | ---: |"]
    for count, seconds in together.items():
        ratio = seconds[OURS] / seconds[PLAIN]
        lines.append(f"| {count} | {seconds[OURS]:.2f} | {seconds[PLAIN]:.2f} | {ratio:.2f} |")
    return "\n".join(lines) + "\n"
