"""Reaches the configured server, and creates and drops whole databases on it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import Connection
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from app.core.config import Settings
from app.migrate.marks import mark

CONNECT_TIMEOUT_S = 10


def connect_to_server(
    settings: Settings, database: str = "postgres", options: str = ""
) -> Connection:
    """An autocommitting connection, to the maintenance database unless told otherwise.

    Args:
        options: Settings of the session, as `-c NAME=VALUE`.

    Raises:
        psycopg.OperationalError: no connection.
    """
    return psycopg.connect(
        make_conninfo(**settings.tls),
        host=settings.postgres_host,
        port=settings.postgres_port,
        user=settings.postgres_user,
        password=settings.postgres_password.get_secret_value(),
        dbname=database,
        options=options,
        autocommit=True,
        connect_timeout=CONNECT_TIMEOUT_S,
    )


@contextmanager
def connection_file(settings: Settings) -> Iterator[str]:
    """libpq's way to the database, with the password in a file: others may see arguments."""
    password = settings.postgres_password.get_secret_value()
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as password_file:
        escaped = password.replace("\\", "\\\\").replace(":", "\\:")
        password_file.write(f"*:*:*:*:{escaped}\n")
        password_file.flush()
        yield make_conninfo(
            host=settings.postgres_host,
            port=settings.postgres_port,
            user=settings.postgres_user,
            dbname=settings.postgres_db,
            passfile=password_file.name,
            **settings.tls,
        )


def create_missing_database(server: Connection, name: str, marked: bool = True) -> bool:
    """Creates a database and tells whether it had to.

    Args:
        marked: As a development database, see marks.py.
    """
    if server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
        return False
    server.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
    if marked:
        mark(server, name)
    return True


def clone_database(server: Connection, template: str, name: str, marked: bool = True) -> None:
    """Copies a database that nobody is connected to, but for its comment."""
    server.execute(
        SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), Identifier(template))
    )
    if marked:
        mark(server, name)


def drop_database(server: Connection, name: str) -> None:
    """Drops a database if it exists and ends the connections to it."""
    server.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))
