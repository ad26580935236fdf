"""Times `just db-migrate` and `just db-check` against plain Alembic, side by side in one run."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.plot import plot_commands
from benchmarks.project import Project

TABLES = [(10, 1), (100, 1), (500, 1)]
REVISIONS = [(10, 10), (10, 100), (10, 1000)]
QUICK = [(10, 1), (50, 1), (10, 10), (10, 50)]
OWN_TABLES = 3  # the template's models

# What is timed, and what of plain Alembic it stands beside.
MEASURES = {
    "db-migrate, nothing to do": "revision, nothing to do",
    "db-migrate, one change": "revision, one change",
    "db-check": "check",
    "db-check, first run": "check",
}
MODEL = """\
from sqlmodel import Field, SQLModel


class Bench{number}(SQLModel, table=True):
    __tablename__ = "bench_{number}"

    id: int | None = Field(default=None, primary_key=True)
    role_id: int | None = Field(default=None, foreign_key="roles.id", index=True)
    name: str = Field(max_length=200)
    price: int = Field(default=0)
"""
STEP = """\
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{parent}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("bench_0", "name", type_=sa.String({after}), existing_nullable=False)


def downgrade() -> None:
    op.alter_column("bench_0", "name", type_=sa.String({before}), existing_nullable=False)
"""


@dataclass
class Case(Project):
    """A project of a size, and the least seconds that each command took."""

    tables: int
    revisions: int
    seconds: dict[str, float] = field(default_factory=dict)

    def alembic(self, *arguments: str) -> float:
        return self.run("uv", "run", "alembic", "-c", "plain.ini", *arguments)

    def record(self, name: str, seconds: float) -> None:
        self.seconds[name] = min(seconds, self.seconds.get(name, seconds))


def build(template: Project, tables: int, revisions: int) -> Case:
    """A project with so many tables and revisions, and plain Alembic in it for the same models."""
    name = f"bench_{tables}_{revisions}"
    path = template.path.with_name(name)
    shutil.copytree(template.path, path, ignore=shutil.ignore_patterns(".postgres"))
    template.execute(f"CREATE DATABASE {name}")
    case = Case(path, {**template.env, "POSTGRES_DB": name}, tables, revisions)
    case.run("uv", "run", "python", "-m", "devdb", "mark", "--mark", name)
    lines = []
    for number in range(tables - OWN_TABLES):
        module = path / f"backend/app/models/bench_{number}.py"
        module.write_text(MODEL.format(number=number))
        lines.append(f"from app.models.bench_{number} import Bench{number}  # noqa: F401\n")
    registry = case.backend / "app/db/base.py"
    section = "# Your models\n"
    registry.write_text(registry.read_text().replace(section, section + "".join(lines)))
    versions = case.backend / "alembic/versions"
    for old in versions.glob("*.py"):
        old.unlink()
    case.run("just", "db-migrate", "all tables")
    (first,) = versions.glob("*.py")
    parent, length = first.stem[-12:], 200
    for number in range(1, revisions):
        revision, before = f"{number:012x}", length
        length = 200 if number == revisions - 1 else 200 + number
        step = STEP.format(revision=revision, parent=parent, before=before, after=length)
        (versions / f"2026-12-01_step_{revision}.py").write_text(step)
        parent = revision
    (case.backend / "alembic/latest_revision.txt").write_text(f"{parent}\n")
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "Start"]):
        case.run("git", *arguments)
    case.run("just", "db-upgrade")
    # Alembic's own template; only the models and the address are filled in.
    case.run("uv", "run", "alembic", "-c", "plain.ini", "init", "plain")
    environment = case.backend / "plain/env.py"
    environment.write_text(
        environment.read_text()
        .replace("target_metadata = None", "from app.db.base import metadata as target_metadata")
        .replace(
            "target_metadata=target_metadata",
            "target_metadata=target_metadata, "
            "include_name=lambda name, kind, parents: name != 'migration_ledger'",
        )
        .replace(
            "config = context.config\n",
            "config = context.config\n"
            "from app.core.config import get_settings\n"
            "url = get_settings().database_url.render_as_string(hide_password=False)\n"
            'config.set_main_option("sqlalchemy.url", url)\n',
        )
    )
    for file in versions.glob("*.py"):
        shutil.copy(file, case.backend / "plain/versions")
    case.alembic("check")
    return case


def measure(case: Case) -> None:
    """One round: each command once, ours and Alembic's in turn."""
    for (name,) in case.execute("SELECT datname FROM pg_database"):
        if name.startswith(f"{case.env['POSTGRES_DB']}_shadow_"):
            case.execute(f"DROP DATABASE {name}")
    case.record("db-check, first run", case.run("just", "db-check"))
    case.record("db-check", case.run("just", "db-check"))
    case.record("check", case.alembic("check"))
    model = case.backend / "app/models/bench_0.py"
    original = model.read_text()
    plain = ("revision", "--autogenerate", "-m", "bench")
    for change in ("nothing to do", "one change"):
        if change == "one change":
            model.write_text(original + "    size: int | None = None\n")
        case.record(f"db-migrate, {change}", undone(case, lambda: case.run("just", "db-migrate")))
        case.record(f"revision, {change}", undone(case, lambda: case.alembic(*plain)))
    model.write_text(original)


def undone(case: Case, command: Callable[[], float]) -> float:
    """Runs a command that may write a revision, and takes that away again."""
    latest = case.backend / "alembic/latest_revision.txt"
    recorded = latest.read_text()
    folders = [case.backend / "alembic/versions", case.backend / "plain/versions"]
    before = {path for folder in folders for path in folder.glob("*.py")}
    seconds = command()
    for path in {path for folder in folders for path in folder.glob("*.py")} - before:
        path.unlink()
    latest.write_text(recorded)
    return seconds


def report(cases: list[Case], rounds: int) -> str:
    """The results as Markdown."""
    lines = [
        "# Speed, beside plain Alembic",
        "",
        "Seconds of wall time of the whole command, as a user types it: `just db-…`, and "
        "`uv run alembic revision --autogenerate` or `alembic check` in a project with the same "
        "models, revisions and database and the `env.py` that `alembic init` writes. The least of "
        f"{rounds} rounds, in which both take turns; the ratio is ours to Alembic's. Made by "
        f"`just bench commands` with Python {platform.python_version()} on {os.cpu_count()} cores.",
        "",
        "`db-check` does more than `alembic check`: its first run applies the history, takes it "
        "down and up again, and compares what pg_dump says; later runs remember that.",
        "",
        "![Seconds by tables and by revisions](commands.svg)",
        "",
        "| tables | revisions | command | seconds | plain Alembic | ratio |",
        "| ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    for case in cases:
        for ours, theirs in MEASURES.items():
            a, b = case.seconds[ours], case.seconds[theirs]
            size = f"| {case.tables} | {case.revisions} "
            lines.append(f"{size}| {ours} | {a:.2f} | {b:.2f} | {a / b:.1f} |")
    series = [case for case in cases if case.revisions > 1]
    few, many = series[0], series[-1]
    lines += [
        "",
        f"How much longer it takes with {many.revisions} revisions than with {few.revisions}:",
        "",
    ]
    for name in ("db-migrate, nothing to do", "db-check", "revision, nothing to do", "check"):
        who = "`alembic` " if name in MEASURES.values() else "`just` "
        lines.append(f"- {who}{name}: {many.seconds[name] - few.seconds[name]:+.2f} s")
    return "\n".join(lines) + "\n"


def run(project: Project, output: Path, quick: bool, rounds: int) -> str:
    """Measures, draws the plot and returns the results as Markdown."""
    cases = []
    for tables, revisions in QUICK if quick else TABLES + REVISIONS:
        print(f"{tables} tables, {revisions} revisions: generate", file=sys.stderr)
        cases.append(build(project, tables, revisions))
    for number in range(rounds):
        for case in cases:
            print(f"round {number + 1}: {case.path.name}", file=sys.stderr)
            measure(case)
    series = [(case.tables, case.revisions, case.seconds) for case in cases]
    plot_commands(series, MEASURES, output / "commands.svg")
    return report(cases, rounds)
