"""Talks to the development database, wherever it runs."""

import os
import signal
import subprocess

import psycopg
from alembic.util import CommandError

from app.core.config import Settings, get_settings
from app.migrate.connection import explain_connection_failure
from app.migrate.databases import connect_to_server, connection_file
from devdb.binaries import bin_dir


def check() -> int:
    """Says what answers, or why nothing does.

    Raises:
        CommandError: there is no connection to be had; says why and what to do.
    """
    settings = get_settings()
    try:
        with _connect(settings) as connection:
            version = connection.execute("SHOW server_version").fetchone()
    except psycopg.OperationalError:  # stopped right after it had answered
        raise CommandError(explain_connection_failure(settings, "refused")) from None
    assert version is not None
    print(
        f"PostgreSQL {version[0]} accepts connections on "
        f"{settings.postgres_host}:{settings.postgres_port}, database {settings.postgres_db}."
    )
    return 0


def psql(*arguments: str) -> int:
    """Opens psql on the database; further arguments are psql's."""
    settings = get_settings()
    _connect(settings).close()
    program = bin_dir() / "psql"
    with connection_file(settings) as conninfo:
        # Ctrl-C cancels a query in psql; here it would end us and leave psql behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # PGPASSWORD and its like would win over the password file.
        env = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return subprocess.run([program, conninfo, *arguments], env=env).returncode


def _connect(settings: Settings) -> psycopg.Connection:
    try:
        return connect_to_server(settings, settings.postgres_db)
    except psycopg.OperationalError as error:
        raise CommandError(explain_connection_failure(settings, str(error))) from None
