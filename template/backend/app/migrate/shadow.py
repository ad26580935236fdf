"""The shadow database: the history applied to nothing, for comparing the models with.

What somebody's development database looks like plays no part in it. It is built once per content
of the history and kept on the server under a name that holds the checksum.
"""

import hashlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
from alembic.config import Config
from alembic.util import CommandError
from psycopg import Connection
from psycopg.sql import SQL, Identifier
from pydantic import SecretStr

from app.core.config import BACKEND_DIR, Settings, get_settings
from app.migrate.connection import explain_connection_failure
from app.migrate.databases import connect_to_server, create_missing_database, drop_database
from app.migrate.metadata import compares_models

# With the mark and the checksum an identifier of at most 63 bytes.
MAX_PREFIX_LENGTH = 40
CHECKSUM_LENGTH = 12
LOCK_POLL_S = 0.1


@contextmanager
def database_for(config: Config) -> Iterator[Settings]:
    """The database that Alembic's running command works on: comparisons get the shadow."""
    if compares_models(config):
        with shadow_database(get_settings()) as settings:
            yield settings
    else:
        # A caller may name another one than the configured.
        yield config.attributes.get("settings") or get_settings()


@contextmanager
def shadow_database(settings: Settings) -> Iterator[Settings]:
    """The settings of a database that is at the newest revision. Only read from it.

    It is on the configured server, or on a throwaway one when that does not answer.

    Raises:
        CommandError: the history can't be applied, or the role may not create databases.
    """
    with _server(settings) as (server, connection):
        name = f"{_prefix(server)}{history_checksum()}"
        with _one_builder(connection, _prefix(server)):
            if not _exists(connection, name):
                _build(connection, server, name)
            # Still under the lock: the next builder drops what nobody is connected to.
            yield server.model_copy(update={"postgres_db": name})


def history_checksum() -> str:
    """A checksum of all revision files, the same on every platform."""
    checksum = hashlib.sha256()
    for path in sorted((BACKEND_DIR / "alembic" / "versions").glob("*.py")):
        checksum.update(path.name.encode() + b"\0")
        checksum.update(path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return checksum.hexdigest()[:CHECKSUM_LENGTH]


@contextmanager
def _server(settings: Settings) -> Iterator[tuple[Settings, Connection]]:
    try:
        connection = connect_to_server(settings)
    except psycopg.OperationalError as error:
        if "refused" not in str(error):
            raise CommandError(explain_connection_failure(settings, str(error))) from None
    else:
        with connection:
            yield settings, connection
        return
    with _throwaway(settings) as server, connect_to_server(server) as connection:
        yield server, connection


@contextmanager
def one_server() -> Iterator[None]:
    """One throwaway server for the whole block, in place of a configured one that is not running.

    Raises:
        CommandError: the configured one runs and refuses the connection.
    """
    with _server(get_settings()) as (server, _):
        replaced = {name: os.environ.get(name) for name in _overrides(server)}
        os.environ.update(_overrides(server))
        get_settings.cache_clear()
        try:
            yield
        finally:
            for name, value in replaced.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value
            get_settings.cache_clear()


@contextmanager
def _throwaway(settings: Settings) -> Iterator[Settings]:
    try:
        from devdb.server import free_port
        from devdb.throwaway import throwaway_server
    except ModuleNotFoundError:  # in the production image
        raise CommandError(explain_connection_failure(settings, "refused")) from None
    server = settings.model_copy(
        update={
            "postgres_host": "127.0.0.1",
            "postgres_port": free_port(),
            "postgres_password": SecretStr(secrets.token_hex(16)),
        }
    )
    with throwaway_server(server):
        yield server


@contextmanager
def _one_builder(connection: Connection, prefix: str) -> Iterator[None]:
    """Waits for another process that builds; a killed one frees the lock with its connection."""
    while not _value(connection, "SELECT pg_try_advisory_lock(hashtext(%s))", prefix):
        time.sleep(LOCK_POLL_S)
    try:
        yield
    finally:
        connection.execute("SELECT pg_advisory_unlock(hashtext(%s))", [prefix])


def _build(connection: Connection, server: Settings, name: str) -> None:
    building = f"{_prefix(server)}building"
    try:
        for stale in _names_like(connection, _prefix(server)):
            with suppress(psycopg.errors.ObjectInUse):
                connection.execute(SQL("DROP DATABASE {}").format(Identifier(stale)))
        drop_database(connection, building)
        create_missing_database(connection, building)
    except psycopg.errors.InsufficientPrivilege as error:
        raise CommandError(
            f"The role {server.postgres_user} may not create databases "
            f"({error.diag.message_primary}), and models are compared with a database made from "
            f"the history. Grant it with: ALTER ROLE {server.postgres_user} CREATEDB"
        ) from None
    # A process of its own: Alembic runs one environment at a time.
    done = subprocess.run(
        [sys.executable, "-m", "app.migrate", "upgrade"],
        cwd=BACKEND_DIR,
        env={**os.environ, **_overrides(server), "POSTGRES_DB": building},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        drop_database(connection, building)
        reason = [line for line in done.stderr.splitlines() if not line.startswith("Running ")]
        raise CommandError(
            "The history can't be applied to an empty database:\n" + "\n".join(reason)
        )
    connection.execute(
        SQL("ALTER DATABASE {} RENAME TO {}").format(Identifier(building), Identifier(name))
    )


def _overrides(server: Settings) -> dict[str, str]:
    """What leads another process to a server that is not the configured one."""
    if server == get_settings():
        return {}  # it reads the secret's file itself
    return {
        "POSTGRES_HOST": server.postgres_host,
        "POSTGRES_PORT": str(server.postgres_port),
        "POSTGRES_PASSWORD": server.postgres_password.get_secret_value(),
    }


def _prefix(server: Settings) -> str:
    return f"{server.postgres_db[:MAX_PREFIX_LENGTH]}_shadow_"


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
