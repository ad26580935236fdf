"""Talks to the development database, wherever it runs."""

import os
import signal
from typing import NoReturn

import psycopg
from alembic.util import CommandError
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

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


def psql(*arguments: str) -> NoReturn:
    """Becomes psql on the database; further arguments are psql's.

    Raises:
        CommandError: there is no connection to be had, or no psql.
    """
    settings = get_settings()
    _connect(settings).close()
    program = str(bin_dir() / "psql")
    with connection_file(settings) as conninfo:
        # Not as an argument: psql would take a database that is named after it for a role.
        # Without PGPASSWORD and its like: they would win over the password file.
        env = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        env.update(_as_variables(conninfo))
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and psql would, too
        os.execve(program, [program, *arguments], env)  # noqa: S606 - so that signals reach psql


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
