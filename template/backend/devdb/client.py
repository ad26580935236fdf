"""Talks to the development database, wherever it runs."""

import os
import signal
import subprocess
from typing import NoReturn

import psycopg
from alembic.util import CommandError
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from app.core.config import Settings, get_settings
from app.migrate.connection import explain_connection_failure
from app.migrate.databases import connect_to_server, connection_file
from devdb.binaries import NO_TLS, bin_dir, environment
from devdb.marking import make_ready


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


def psql(*arguments: str) -> NoReturn:
    """Becomes psql on the database; further arguments are psql's.

    Raises:
        CommandError: there is no connection to be had, or no psql.
    """
    settings = get_settings()
    with _connect(settings) as connection:
        is_encrypted = connection.pgconn.ssl_in_use
    program = str(bin_dir("psql") / "psql")
    with connection_file(settings) as conninfo:
        # Not as an argument: psql would take a database that is named after it for a role.
        env = {**environment(), **_as_variables(conninfo)}
        if is_encrypted:
            _refuse_without_tls(program, env)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and psql would, too
        os.execve(program, [program, *arguments], env)  # noqa: S606 - so that signals reach psql


def _refuse_without_tls(program: str, env: dict[str, str]) -> None:
    """The embedded psql can't reach a server that takes encrypted connections only."""
    command = [program, "--no-psqlrc", "--command="]
    tried = subprocess.run(command, env=env, capture_output=True, text=True, close_fds=False)
    if "no encryption" in tried.stderr or "SSL support" in tried.stderr:
        raise CommandError(f"{tried.stderr.strip()}\n{NO_TLS}")


def _as_variables(conninfo: str) -> dict[str, str]:
    """libpq's environment variables that say the same as a connection string."""
    names = {option.keyword.decode(): option.envvar for option in Conninfo.get_defaults()}
    return {
        variable.decode(): str(value)
        for keyword, value in conninfo_to_dict(conninfo).items()
        if (variable := names[keyword])
    }


def _connect(settings: Settings) -> psycopg.Connection:
    try:
        return connect_to_server(settings, settings.postgres_db)
    except psycopg.OperationalError as error:
        raise CommandError(explain_connection_failure(settings, str(error))) from None
