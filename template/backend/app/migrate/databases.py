"""Reaches the configured server, and creates and drops whole databases on it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import psycopg
from psycopg import Connection
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from app.core.config import Settings
from app.core.files import unnamed_file
from app.db.password import with_password
from app.migrate.marks import mark
from app.migrate.starting_up import once_it_accepts

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
    connect = partial(
        with_password,
        psycopg.connect,
        settings.postgres_password,
        conninfo=make_conninfo(**settings.tls),
        host=settings.postgres_host,
        port=settings.postgres_port,
        user=settings.postgres_user,
        dbname=database,
        options=options,
        autocommit=True,
        connect_timeout=CONNECT_TIMEOUT_S,
    )
    connection: Connection = once_it_accepts(settings, connect, psycopg.OperationalError)
    return connection


@contextmanager
def connection_file(settings: Settings) -> Iterator[str]:
    """libpq's way to the database, with the password in a file: others may see arguments.

    The file has no name: start the program with close_fds=False.
    """
    with unnamed_file(_password_line(settings)) as descriptor:
        os.set_inheritable(descriptor, True)
        yield make_conninfo(
            host=settings.postgres_host,
            port=settings.postgres_port,
            user=settings.postgres_user,
            dbname=settings.postgres_db,
            passfile=f"/dev/fd/{descriptor}",
            **settings.tls,
        )


def _password_line(settings: Settings) -> str:
    """The line of a password file (PostgreSQL manual, 34.16): the role's password, anywhere."""
    user, password = (
        text.replace("\\", "\\\\").replace(":", "\\:")
        for text in (settings.postgres_user, settings.postgres_password.get_secret_value())
    )
    return f"*:*:*:{user}:{password}\n"


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
