"""The server that shadow databases are on."""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from alembic.util import CommandError
from psycopg import Connection
from pydantic import SecretStr

from app.core.config import Settings, get_settings
from app.migrate.connection import explain_connection_failure
from app.migrate.databases import connect_to_server, create_missing_database
from app.migrate.development import is_development
from app.migrate.marks import mark
from app.migrate.revision_file import VERSIONS

MAKES_ROLE = re.compile(rb"\bCREATE\s+(ROLE|USER|GROUP)\b(?!\s+MAPPING)", re.IGNORECASE)
_configured: list[Settings] = []


@contextmanager
def shadow_server(settings: Settings) -> Iterator[tuple[Settings, Connection]]:
    """The server for databases that come and go, and a connection.

    It is the configured one where that has a marked development database, else a throwaway one:
    nothing answers, or it is not for trying things out. Nor is one that is reached by TLS only,
    which the programs that dump schemas don't have, nor one where a shadow's roles would stay.

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
            if _is_for_shadows(settings, connection):
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
        _configured.append(get_settings())
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
            _configured.pop()


def configured_settings() -> Settings:
    """The settings, also while a throwaway server is in place of the one that they name."""
    return _configured[0] if _configured else get_settings()


def _is_for_shadows(settings: Settings, connection: Connection) -> bool:
    has_programs = not connection.pgconn.ssl_in_use or bool(os.environ.get("POSTGRES_BIN_DIR"))
    leaves_roles = not _configured and makes_roles()
    return has_programs and not leaves_roles and is_development(settings, connection)


def makes_roles() -> bool:
    """Whether a revision makes a role that the server must not have yet."""
    texts = (path.read_bytes() for path in VERSIONS.glob("*.py"))
    return any(MAKES_ROLE.search(text) and b"duplicate_object" not in text for text in texts)


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
            "postgres_sslmode": "disable",
            "app_env": "development",
        }
    )
    with throwaway_server(server):
        # What runs in one_server() meets it as the configured server, with its database.
        with connect_to_server(server) as connection:
            if not create_missing_database(connection, server.postgres_db):
                mark(connection, server.postgres_db)
        yield server


def overrides(server: Settings) -> dict[str, str]:
    """What leads another process to a server that is not the configured one."""
    if server == get_settings():
        return {}  # it reads the secret's file itself
    return {
        "POSTGRES_HOST": server.postgres_host,
        "POSTGRES_PORT": str(server.postgres_port),
        "POSTGRES_PASSWORD": server.postgres_password.get_secret_value(),
        "POSTGRES_SSLMODE": server.postgres_sslmode or "prefer",
        "APP_ENV": server.app_env,
    }
