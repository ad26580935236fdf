"""Tells a development database from all others, where what loses rows wants the database's name.

An address says nothing: 127.0.0.1 may be the end of a tunnel. A yes says too little, and coding
agents say it, too.
"""

import sys

import psycopg
from alembic.util import CommandError
from psycopg import Connection

from app.core.config import Settings, get_settings
from app.migrate.databases import connect_to_server
from app.migrate.marks import is_marked


def is_development(settings: Settings, connection: Connection | None = None) -> bool:
    """Whether the settings' database is marked, and this is not production.

    Args:
        connection: One to its server; without one it is connected to, and no answer means no.
    """
    if settings.is_production:
        return False
    if connection is not None:
        return is_marked(connection, settings.postgres_db)
    try:
        with connect_to_server(settings, settings.postgres_db) as own:
            return is_marked(own, settings.postgres_db)
    except psycopg.Error:
        return False


def in_development(advice: str) -> str:
    """Advice that loses rows or accepts what was not reviewed; empty for any other database."""
    return advice if is_development(get_settings().for_migrations()) else ""


def describe(settings: Settings) -> str:
    """Which database it is, and why it is not taken for a development database."""
    reason = "APP_ENV says production" if settings.is_production else "it is not marked as one"
    address = f"{settings.postgres_host}:{settings.postgres_port}"
    return f"{settings.postgres_db} on {address} is no development database ({reason})"


def is_named(settings: Settings, name: str) -> bool:
    """Whether the name that was given is the database's; False if none was.

    Raises:
        CommandError: it is another one's.
    """
    if name and name != settings.postgres_db:
        raise CommandError(
            f"Nothing was run: {name} was named, and the settings lead to the database "
            f"{settings.postgres_db} on {settings.postgres_host}:{settings.postgres_port}."
        )
    return bool(name)


def is_typed(name: str, question: str) -> bool:
    """Asks for the database's name, on a terminal only."""
    if not sys.stdin.isatty():
        return False
    print(f"{question} Type its name, {name}: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() == name
