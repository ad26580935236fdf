"""Takes the history down and up again on a copy of the shadow database.

Building the shadow database was the first way up. What came out is remembered with it.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from difflib import unified_diff
from io import StringIO
from typing import Any

from alembic import command
from alembic.util import CommandError
from psycopg import Connection
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier, Literal

from app.core.config import Settings, get_settings
from app.migrate.config import alembic_config
from app.migrate.databases import (
    clone_database,
    connect_to_server,
    create_missing_database,
    drop_database,
)
from app.migrate.errors import FailedRevisionError
from app.migrate.history import Revision
from app.migrate.report import Finding, Outcome, failed, passed
from app.migrate.shadow import CHECKSUM_LENGTH, shadow_database

MAX_SHOWN = 20
FIX = (
    "Correct its upgrade() or downgrade(). If there is no way back from it, say so in the file, "
    'beside down_revision: irreversible = "the reason"'
)
LEFT = "Drop it in downgrade() of the revision that creates it."
UNDO = "Let each downgrade() undo what upgrade() of its revision does."


def replay_history(revisions: Mapping[str, Revision], head: str) -> Outcome:
    """Downgrades from the head as far as there is a way back, and upgrades again.

    Raises:
        CommandError: the history can't be applied, or there is no database to try it on.
    """
    with shadow_database(get_settings()) as shadow, connect_to_server(shadow) as server:
        remembered = _comment(server, shadow.postgres_db)
        if remembered:
            return passed(f"{remembered}; unchanged since")
        # The prefix makes the next build of a shadow remove it after a crash.
        name = f"{shadow.postgres_db[:-CHECKSUM_LENGTH]}replay"
        try:
            drop_database(server, name)
            create_missing_database(server, name)
            copy = shadow.model_copy(update={"postgres_db": name})
            empty = dump_schema(copy)
            drop_database(server, name)
            clone_database(server, shadow.postgres_db, name)
            outcome = _go_down_and_up(copy, floor(revisions, head), empty)
        finally:
            drop_database(server, name)
        if outcome.outcome == "passed":
            _set_comment(server, shadow.postgres_db, outcome.detail)
        return outcome


def floor(revisions: Mapping[str, Revision], head: str) -> Revision | None:
    """The newest revision without a way back."""
    name = head
    while name and not revisions[name].irreversible:
        name = next(iter(revisions[name].parents), "")
    return revisions[name] if name else None


def _go_down_and_up(copy: Settings, last: Revision | None, empty: list[str]) -> Outcome:
    before = dump_schema(copy)
    try:
        _run(command.downgrade, copy, last.revision if last else "base")
        left = [] if last else left_behind(dump_schema(copy), empty)
        if left:
            return failed(
                "the way down leaves something behind",
                [Finding(f"At base there still is: {thing}", LEFT) for thing in left[:MAX_SHOWN]],
            )
        _run(command.upgrade, copy, "head")
    except FailedRevisionError as error:
        return failed("not every revision goes down and up again", [Finding(error.reason, FIX)])
    difference = [*unified_diff(before, dump_schema(copy), n=0, lineterm="")][2:]
    changes = [line for line in difference if not line.startswith("@@")]
    if changes:
        shown = "\n".join(changes[:MAX_SHOWN])
        message = f"Down and up again, the schema is another one:\n{shown}"
        return failed("the way down does not undo the way up", [Finding(message, UNDO)])
    if last:
        return passed(
            f"down to {last.revision} and up again; it has no way back: {last.irreversible}"
        )
    return passed("every revision goes down and up again")


def left_behind(dump: list[str], empty: list[str]) -> list[str]:
    """The beginnings of a dump's statements that an empty database's dump has not."""
    new = [line for line in dump if line not in set(empty)]
    return [line.rstrip("(;, ") for line in new if re.match(r"[A-Z]+ ", line)]


def dump_schema(settings: Settings) -> list[str]:
    """The lines of pg_dump that say what a database has, without the record of its revision.

    Raises:
        CommandError: pg_dump is missing, or failed.
    """
    # Imported here: the production image has no development database.
    from devdb.binaries import bin_dir

    password = settings.postgres_password.get_secret_value()
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as password_file:
        escaped = password.replace("\\", "\\\\").replace(":", "\\:")
        password_file.write(f"*:*:*:*:{escaped}\n")
        password_file.flush()
        conninfo = make_conninfo(
            host=settings.postgres_host,
            port=settings.postgres_port,
            user=settings.postgres_user,
            dbname=settings.postgres_db,
            passfile=password_file.name,
        )
        done = subprocess.run(
            [
                bin_dir() / "pg_dump",
                "--schema-only",
                "--no-owner",
                "--no-privileges",
                "--exclude-table=alembic_version",
                conninfo,
            ],
            env={name: value for name, value in os.environ.items() if not name.startswith("PG")},
            capture_output=True,
            text=True,
        )
    if done.returncode != 0:
        raise CommandError(f"pg_dump failed: {done.stderr.strip()}")
    noise = ("--", "SET ", "SELECT pg_catalog.set_config(", "\\restrict ", "\\unrestrict ")
    return [line for line in done.stdout.splitlines() if line and not line.startswith(noise)]


def _run(alembic: Callable[..., None], database: Settings, target: str) -> None:
    config = alembic_config(alembic)
    config.attributes["settings"] = database
    with redirect_stderr(StringIO()):  # the progress of each revision
        alembic(config, target)


def _comment(server: Connection, database: str) -> str:
    row: Any = server.execute(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s",
        [database],
    ).fetchone()
    return row[0] or ""


def _set_comment(server: Connection, database: str, text: str) -> None:
    server.execute(SQL("COMMENT ON DATABASE {} IS {}").format(Identifier(database), Literal(text)))
