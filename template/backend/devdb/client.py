"""Talks to the development database, wherever it runs."""

import signal
import subprocess
import sys

import psycopg
from alembic.util import CommandError

from app.core.config import Settings, get_settings
from app.migrate.connection import explain_connection_failure
from app.migrate.databases import connect_to_server, connection_file
from devdb.binaries import NO_TLS, bin_dir, environment
from devdb.marking import make_ready

NO_CONNECTION = 2  # psql's exit code


def start(*arguments: str) -> int:
    """Checks a server that somebody else starts, and marks its database; see marking.py."""
    make_ready(*arguments)
    return check()


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
    with _connect(settings) as connection:
        is_encrypted = connection.pgconn.ssl_in_use
    program = bin_dir("psql") / "psql"
    with connection_file(settings) as conninfo:
        # Ctrl-C cancels a query in psql; here it would end us and leave psql behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        code = subprocess.run([program, conninfo, *arguments], env=environment()).returncode
    if code == NO_CONNECTION and is_encrypted:
        print(NO_TLS, file=sys.stderr)
    return code


def _connect(settings: Settings) -> psycopg.Connection:
    try:
        return connect_to_server(settings, settings.postgres_db)
    except psycopg.OperationalError as error:
        raise CommandError(explain_connection_failure(settings, str(error))) from None
