"""Upgrades a database and kills a process before the nth statement, for every n; then once more.

Started with a rendered project's Python: kill_at.py client|server TEMPLATE STEP. Writes a line of
JSON for each n. TEMPLATE is the database that each round begins with a copy of.
"""

import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy import event
from sqlalchemy.engine import Engine

sys.path.insert(0, os.getcwd())

from app.core.config import get_settings
from app.migrate.cli import main
from app.migrate.databases import connect_to_server
from app.migrate.dump import read_schema
from app.migrate.marks import mark

WHOM, TEMPLATE, STEP = sys.argv[1], sys.argv[2], int(sys.argv[3])
SAID = Path("said.txt")
settings = get_settings()


def server() -> psycopg.Connection:
    """A connection, also while the server recovers."""
    for _ in range(600):
        try:
            return connect_to_server(settings)
        except psycopg.OperationalError:
            time.sleep(0.05)
    sys.exit("the server did not come back")


def begin() -> None:
    with server() as connection:
        name = Identifier(settings.postgres_db)
        connection.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        connection.execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(name, Identifier(TEMPLATE)))
        mark(connection, settings.postgres_db)
        if WHOM == "server":
            # Until then PostgreSQL takes the copied sequences' numbers for logged: a crash loses them.
            connection.execute("CHECKPOINT")


def upgrade(kill_at: int | None = None) -> int:
    """Upgrades in a process of its own; returns how it ended, as subprocess does.

    What it says is in SAID then.
    """
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    seen = 0

    @event.listens_for(Engine, "before_cursor_execute")
    def count(connection: Any, cursor: Any, *_: object) -> None:
        nonlocal seen
        seen += 1
        if seen == kill_at:
            whom = os.getpid() if WHOM == "client" else cursor.connection.info.backend_pid
            os.kill(whom, signal.SIGKILL)

    said = os.open(SAID, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os._exit(main(["upgrade"]))


def outcome() -> dict[str, Any]:
    """The schema, and how often the rows were filled in."""
    with server(), connect_to_server(settings, settings.postgres_db) as connection:
        row = connection.execute("SELECT min(n), max(n), count(*) FROM items").fetchone()
        applied = connection.execute(
            "SELECT revision, count(*) FROM migration_ledger GROUP BY 1 ORDER BY 1"
        ).fetchall()
    return {"schema": read_schema(settings), "rows": row, "applied": applied}


begin()
assert upgrade() == 0
wanted = outcome()
kill_at = 1
while True:
    begin()
    with suppress(psycopg.OperationalError), server() as witness:
        code = upgrade(kill_at)
        while WHOM == "server" and code:  # until the others are ended, too
            witness.execute("SELECT 1")
    if code == 0:
        break  # there are not that many statements
    server().close()
    again = upgrade()
    found = {"n": kill_at, "code": code, "again": again, "same": outcome() == wanted}
    print(json.dumps({**found, "said": SAID.read_text() if again else ""}), flush=True)
    kill_at += STEP
