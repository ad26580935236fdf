"""The shadow database: the history applied to nothing, for comparing the models with.

What somebody's development database looks like plays no part in it. It is built once per content
of the history and kept on the server under a name that holds the checksum.
"""

import glob
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from alembic.config import Config
from alembic.util import CommandError
from psycopg import Connection
from psycopg.sql import SQL, Identifier, Literal

from app.core.config import Settings, get_settings
from app.core.files import BACKEND_DIR
from app.db.naming import REVISIONS_CONVENTION
from app.migrate.databases import (
    clone_database,
    connect_to_server,
    create_missing_database,
    drop_database,
)
from app.migrate.history import read_revision
from app.migrate.metadata import compares_models
from app.migrate.revision_file import LATEST, VERSIONS, content
from app.migrate.shadow_server import overrides, shadow_server

# With what is put behind it an identifier of at most 63 bytes.
MAX_PREFIX_BYTES = 34
CHECKSUM_LENGTH = 12
# How many a command may have added since the shadow database was built; more build it anew.
MAX_NEW_REVISIONS = 20
# What is remembered of revisions that went down and up again: it holds whatever comes after them.
REPLAYED = "replayed"
LOCK_POLL_S = 0.1
LOCK_TIMEOUT_S = 600


@contextmanager
def database_for(config: Config) -> Iterator[Settings]:
    """The database that Alembic's running command works on: comparisons get a shadow's copy."""
    if "settings" in config.attributes:
        yield config.attributes["settings"]
    elif compares_models(config):
        with shadow_copy() as settings:
            yield settings
    else:
        yield get_settings().for_migrations()


@contextmanager
def shadow_copy() -> Iterator[Settings]:
    """A database at the newest revision to do anything with, dropped afterwards.

    Raises:
        CommandError: see shadow_database().
    """
    with (
        shadow_database(get_settings()) as shadow,
        temporary_database(shadow, "copy", template=shadow.postgres_db) as copy,
    ):
        yield copy


@contextmanager
def borrowed_shadow() -> Iterator[Settings]:
    """The shadow database itself, to be at the newest revision again at the end of the block.

    Under another name meanwhile: one that is left half-way is never taken for a shadow database.

    Raises:
        CommandError: see shadow_database().
    """
    with shadow_database(get_settings()) as shadow, itself(shadow) as database:
        yield database


@contextmanager
def itself(shadow: Settings) -> Iterator[Settings]:
    """A shadow database to do something with that leads back to the newest revision."""
    with connect_to_server(shadow) as connection:
        name = f"{_prefix(get_settings())}copy"
        drop_database(connection, name)
        _rename(connection, shadow.postgres_db, name)
        try:
            yield shadow.model_copy(update={"postgres_db": name})
        except BaseException:
            drop_database(connection, name)
            raise
        _rename(connection, name, shadow.postgres_db)


@contextmanager
def shadow_database(settings: Settings, without: Collection[Path] = ()) -> Iterator[Settings]:
    """The settings of a database that is at the newest revision. Only read from it.

    It is on the configured server, or on a throwaway one when that does not answer. One process at
    a time has it.

    Args:
        without: Files that were written since it was last used: it is without them.

    Raises:
        CommandError: the history can't be applied, or the role may not create databases.
    """
    with shadow_server(settings) as (server, connection):
        name = f"{_prefix(server)}{history_checksum(without)}"
        with _one_builder(connection, _prefix(server)):
            if not _exists(connection, name):
                _build(connection, server, name)
            # Still under the lock: the next builder drops what nobody is connected to.
            yield server.model_copy(update={"postgres_db": name})


@contextmanager
def temporary_database(beside: Settings, purpose: str, template: str = "") -> Iterator[Settings]:
    """A database on the server of the shadow database, while one has that; dropped afterwards.

    Args:
        template: The database to copy; empty for one without tables.
    """
    name = f"{_prefix(get_settings())}{purpose}"
    with connect_to_server(beside) as connection:
        drop_database(connection, name)  # what a crash left
        try:
            with _explained(beside):
                if template:
                    clone_database(connection, template, name, marked=False)
                else:
                    create_missing_database(connection, name, marked=False)
            yield beside.model_copy(update={"postgres_db": name})
        finally:
            drop_database(connection, name)


def remembered(connection: Connection, shadow: str) -> dict[str, str]:
    """What checks have found of a shadow database, by check."""
    found = _value(
        connection,
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s",
        shadow,
    )
    with suppress(ValueError):  # a former release left one sentence
        if isinstance(found, str):
            return dict(json.loads(found))
    return {}


def remember(connection: Connection, shadow: str, found: dict[str, str]) -> None:
    """Keeps what checks have found until the history changes."""
    connection.execute(
        SQL("COMMENT ON DATABASE {} IS {}").format(Identifier(shadow), Literal(json.dumps(found)))
    )


def history_checksum(without: Collection[Path] = ()) -> str:
    """A checksum of all revision files, or of all but some, and of what else they depend on."""
    # It gives names to what has none in a revision.
    convention = sorted((str(key), str(name)) for key, name in REVISIONS_CONVENTION.items())
    checksum = hashlib.sha256(json.dumps(convention).encode())
    for path in sorted(set(VERSIONS.glob("*.py")).difference(without)):
        checksum.update(path.name.encode() + b"\0")
        checksum.update(content(path.read_bytes()) + b"\0")
    return checksum.hexdigest()[:CHECKSUM_LENGTH]


@contextmanager
def _one_builder(connection: Connection, prefix: str) -> Iterator[None]:
    """Waits for another process that builds; a killed one frees the lock with its connection."""
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while not _value(connection, "SELECT pg_try_advisory_lock(hashtext(%s))", prefix):
        if time.monotonic() > deadline:
            raise CommandError(
                f"Another command has been using the shadow database for {LOCK_TIMEOUT_S} s. "
                "Let it finish or end it, then try again."
            )
        time.sleep(LOCK_POLL_S)
    try:
        yield
    finally:
        connection.execute("SELECT pg_advisory_unlock(hashtext(%s))", [prefix])


@contextmanager
def _explained(server: Settings) -> Iterator[None]:
    """Tells a role that may not create databases what to do."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise CommandError(
            f"The role {server.postgres_user} may not create databases "
            f"({error.diag.message_primary}), and models are compared with a database made from "
            f"the history. Grant it with: ALTER ROLE {server.postgres_user} CREATEDB"
        ) from None


def _build(connection: Connection, server: Settings, name: str) -> None:
    building = f"{_prefix(server)}building"
    with _explained(server):
        drop_database(connection, building)
        _reuse_previous(connection, _prefix(server), building)
        for stale in _names_like(connection, _prefix(server)):
            if stale == building:
                continue
            with suppress(psycopg.errors.ObjectInUse):
                connection.execute(SQL("DROP DATABASE {}").format(Identifier(stale)))
        create_missing_database(connection, building, marked=False)
    # A process of its own: Alembic runs one environment at a time. Rows are those of revisions.
    done = subprocess.run(
        [
            *(sys.executable, "-m", "app.migrate", "upgrade"),
            *("--accept", "shadow database", "--database", building),
        ],
        cwd=BACKEND_DIR,
        env={**os.environ, **overrides(server), "POSTGRES_DB": building},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        drop_database(connection, building)
        reason = [line for line in done.stderr.splitlines() if not line.startswith("Running ")]
        raise CommandError(
            "The history can't be applied to an empty database:\n" + "\n".join(reason)
        )
    _rename(connection, building, name)


def _reuse_previous(connection: Connection, prefix: str, building: str) -> None:
    """Goes on from the shadow of the same history without its newest revisions, if there is one."""
    existing = _names_like(connection, prefix)
    newest: list[Path] = []
    revision = LATEST.read_text(encoding="utf-8").strip() if LATEST.exists() else ""
    while existing and revision and len(newest) < MAX_NEW_REVISIONS:
        path = next(VERSIONS.glob(f"*{glob.escape(revision)}.py"), None)
        if path is None:
            return
        newest.append(path)
        previous = f"{prefix}{history_checksum(newest)}"
        if previous in existing:
            known = remembered(connection, previous)
            _rename(connection, previous, building)
            # What else `just db-check` found does not hold for the new one.
            remember(connection, building, {k: v for k, v in known.items() if k == REPLAYED})
            return
        revision = next(iter(read_revision(path).parents), "")


def _prefix(server: Settings) -> str:
    """What the names of its databases begin with, and no name that somebody thought of.

    A mark that is there from the first moment: a killed command leaves nothing that isn't known.
    """
    name = server.postgres_db.encode()
    number = hashlib.sha256(b"shadow of " + name).hexdigest()[:6]
    return f"{name[:MAX_PREFIX_BYTES].decode(errors='ignore')}_shadow_{number}_"


def _rename(connection: Connection, old: str, new: str) -> None:
    connection.execute(
        SQL("ALTER DATABASE {} RENAME TO {}").format(Identifier(old), Identifier(new))
    )


def _exists(connection: Connection, name: str) -> bool:
    return bool(_value(connection, "SELECT count(*) FROM pg_database WHERE datname = %s", name))


def _names_like(connection: Connection, prefix: str) -> list[str]:
    rows = connection.execute(
        "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [prefix]
    )
    return [name for (name,) in rows]


def _value(connection: Connection, sql: str, parameter: str) -> object:
    row = connection.execute(sql, [parameter]).fetchone()
    return row and row[0]
