"""The server that shadow databases are on."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from alembic.util import CommandError
from psycopg import Connection
from pydantic import SecretStr

from app.core.config import Settings, get_settings
from app.migrate.connection import explain_connection_failure
from app.migrate.databases import connect_to_server


@contextmanager
def shadow_server(settings: Settings) -> Iterator[tuple[Settings, Connection]]:
    """The configured server, or a throwaway one when nothing answers there; and a connection.

    Raises:
        CommandError: the configured one runs and refuses the connection.
    """
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
    with shadow_server(get_settings()) as (server, _):
        replaced = {name: os.environ.get(name) for name in overrides(server)}
        os.environ.update(overrides(server))
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


def overrides(server: Settings) -> dict[str, str]:
    """What leads another process to a server that is not the configured one."""
    if server == get_settings():
        return {}  # it reads the secret's file itself
    return {
        "POSTGRES_HOST": server.postgres_host,
        "POSTGRES_PORT": str(server.postgres_port),
        "POSTGRES_PASSWORD": server.postgres_password.get_secret_value(),
    }
