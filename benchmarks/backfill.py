"""Times ways to fill in a column of a large table, and how long others wait for a row meanwhile."""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path

from benchmarks.plot import plot_backfill
from benchmarks.project import Project, load

ROWS = 1_000_000
# The loop takes minutes for more.
LOOP_ROWS = 100_000
QUICK_SHARE = 20
# Rows that are probed all the time, each by a session of its own, spread over the table.
PROBES = 8
PROBE_PAUSE_S = 0.02
# What an UPDATE waits for, without moving the row to the table's end.
PROBE = "SELECT FROM people WHERE id = {key} FOR NO KEY UPDATE"
PARENT = "572de137043f"

LOOP = """\
    for row in op.get_bind().execute(sa.text("SELECT id, first_name, last_name FROM people")):
        op.get_bind().execute(
            sa.text("UPDATE people SET full_name = :full_name WHERE id = :id"),
            {"full_name": f"{row.first_name} {row.last_name}", "id": row.id},
        )
"""
EXECUTEMANY = """\
    rows = op.get_bind().execute(sa.text("SELECT id, first_name, last_name FROM people")).all()
    op.get_bind().execute(
        sa.text("UPDATE people SET full_name = :full_name WHERE id = :id"),
        [{"full_name": f"{row.first_name} {row.last_name}", "id": row.id} for row in rows],
    )
"""
UPDATE = """\
    op.execute("UPDATE people SET full_name = first_name || ' ' || last_name")
"""
EXPRESSION = """\
    backfill("people", "full_name = first_name || ' ' || last_name", where="full_name IS NULL")
"""
FUNCTION = """\
    backfill("people", full_names, where="full_name IS NULL", read=["first_name", "last_name"])
"""
SINGLE = "one UPDATE"
METHODS = {
    "loop, one UPDATE per row": LOOP,
    "executemany": EXECUTEMANY,
    SINGLE: UPDATE,
    "backfill(), SQL expression": EXPRESSION,
    "backfill(), Python function": FUNCTION,
}
REVISION = """\
import sqlalchemy as sa
from alembic import op
from app.migrate.backfill import backfill

revision = "{revision}"
down_revision = "{parent}"


def full_names(rows):
    return {{row.id: {{"full_name": f"{{row.first_name}} {{row.last_name}}"}} for row in rows}}


def upgrade():
{body}

def downgrade():
    pass
"""


def run(project: Project, output: Path, quick: bool, rounds: int) -> str:
    """Measures, draws the plot and returns the results as Markdown."""
    project.run("just", "db-upgrade")
    share = QUICK_SHARE if quick else 1
    sizes = {name: (LOOP_ROWS if body is LOOP else ROWS) // share for name, body in METHODS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    waits: dict[str, float] = {}
    for number in range(rounds):
        for name, body in METHODS.items():
            print(f"round {number + 1}: {name}", file=sys.stderr)
            make_table(project, sizes[name])
            seconds[name].append(apply(project, body))
    for name, body in METHODS.items():
        print(f"probed: {name}", file=sys.stderr)
        make_table(project, sizes[name])
        with load(project, probes(sizes[name]), PROBE_PAUSE_S) as longest:
            apply(project, body)
        waits[name] = max(longest.values())
    make_table(project, ROWS // share)
    with load(project, probes(ROWS // share), PROBE_PAUSE_S) as longest:
        time.sleep(5)
    per_100_000 = [min(seconds[name]) * 100_000 / sizes[name] for name in METHODS]
    labels = [f"{name} ({sizes[name]:,})" for name in METHODS]
    plot_backfill(labels, per_100_000, [*waits.values()], output / "backfill.svg")
    return report(
        sizes, {name: min(times) for name, times in seconds.items()}, waits, max(longest.values())
    )


def make_table(project: Project, rows: int) -> None:
    """The same table as ever, freshly vacuumed."""
    for sql in (
        "DROP TABLE IF EXISTS people",
        "CREATE TABLE people (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
        "email text NOT NULL UNIQUE, first_name text NOT NULL, last_name text NOT NULL, "
        "full_name text)",
        "INSERT INTO people (email, first_name, last_name) "
        "SELECT 'reader' || i || '@example.org', 'Ada ' || i, 'Lovelace ' || i "
        f"FROM generate_series(1, {rows}) AS i",
        "VACUUM ANALYZE people",
        "CHECKPOINT",
    ):
        project.execute(sql)


def apply(project: Project, body: str) -> float:
    """Applies a revision; returns the seconds that its ledger row has."""
    versions = project.backend / "alembic" / "versions"
    number = len(list(versions.glob("*.py")))
    parent = f"{number - 1:012}" if number > 1 else PARENT
    text = REVISION.format(revision=f"{number:012}", parent=parent, body=body)
    (versions / f"2026-12-01_fill_{number:012}.py").write_text(text)
    project.run("uv", "run", "python", "-m", "app.migrate", "upgrade")
    assert project.execute("SELECT count(*) FROM people WHERE full_name IS NULL") == [(0,)]
    sql = "SELECT duration_ms FROM migration_ledger ORDER BY id DESC LIMIT 1"
    ((milliseconds,),) = project.execute(sql)
    return float(milliseconds) / 1000


def probes(rows: int) -> dict[str, str]:
    """Requests that lock single rows, spread over the table."""
    keys = [rows * (2 * number + 1) // (2 * PROBES) for number in range(PROBES)]
    return {f"row {key}": PROBE.format(key=key) for key in keys}


def report(
    sizes: dict[str, int], seconds: dict[str, float], waits: dict[str, float], idle: float
) -> str:
    """The results as Markdown."""
    single = seconds[SINGLE] / sizes[SINGLE]
    lines = [
        "# Filling in a column",
        "",
        "Ways to set `full_name` from `first_name` and `last_name` in a revision: seconds by the "
        "ledger, the least of all rounds; and, in a run of its own, the longest time that another "
        f"session waited for a row to update ({PROBES} sessions, each at one row of its own, every "
        f"{PROBE_PAUSE_S * 1000:.0f} ms; without a migration {idle * 1000:.0f} ms). Made by `just "
        f"bench backfill` with Python {platform.python_version()} on {os.cpu_count()} cores, the "
        "server on the same machine.",
        "",
        "The loop ran on fewer rows, because it takes minutes; the ratio is that of the seconds "
        "per row.",
        "",
        "![Seconds and the longest wait](backfill.svg)",
        "",
        "| method | rows | seconds | to one UPDATE | longest wait, ms |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, size in sizes.items():
        ratio = seconds[name] / size / single
        wait = f"{waits[name] * 1000:,.0f}"
        lines.append(f"| {name} | {size:,} | {seconds[name]:.1f} | {ratio:.1f} | {wait} |")
    return "\n".join(lines) + "\n"
