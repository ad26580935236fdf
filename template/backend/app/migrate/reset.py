"""`just db-reset`: the database anew, at the newest revision.

The new one is whole before the old one goes: what can't be made deletes nothing.
"""

import os
import sys
from collections.abc import Callable

import psycopg
from alembic.util import CommandError
from psycopg import Connection
from psycopg.sql import SQL, Identifier

from app.core.config import Settings
from app.migrate.connection import explain_connection_failure
from app.migrate.databases import connect_to_server, create_missing_database, drop_database
from app.migrate.development import describe, is_named, is_typed
from app.migrate.marks import is_marked

# With what is put behind it an identifier of at most 63 bytes.
MAX_PREFIX_BYTES = 40


def reset_database(settings: Settings, named: str, build: Callable[[Settings], None]) -> None:
    """Puts a database without rows in the place of the configured one.

    Args:
        named: The name that was given, to delete what is no development database.
        build: Applies all revisions to a database.

    Raises:
        CommandError: it may not be deleted, or the new one can't be made; nothing was deleted.
    """
    try:
        with connect_to_server(settings) as server:
            marked = _may_be_deleted(server, settings, named)
            print(
                f"Deleting {settings.postgres_db} on "
                f"{settings.postgres_host}:{settings.postgres_port} …",
                file=sys.stderr,
            )
            _replace(server, settings, build, marked)
    except psycopg.OperationalError as error:
        raise CommandError(explain_connection_failure(settings, str(error))) from None
    except psycopg.errors.InsufficientPrivilege as error:
        raise CommandError(
            f"Nothing was deleted: the role {settings.postgres_user} may not do this: "
            f"{error.diag.message_primary}. A database is deleted by its owner, and created by a "
            "role that was granted it: ALTER ROLE … CREATEDB"
        ) from None


def _may_be_deleted(server: Connection, settings: Settings, named: str) -> bool:
    """Whether the database is marked; refuses one that is no development database unless named."""
    name = settings.postgres_db
    there = server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
    marked = is_marked(server, name)
    allowed = is_named(settings, named) or there is None or (marked and not settings.is_production)
    if not allowed and not is_typed(name, f"{describe(settings)}. Delete it with all its rows?"):
        raise CommandError(
            f"Nothing was deleted: {describe(settings)}. To delete it with all its rows, name it:\n"
            f"    just db-reset --database {name}"
        )
    return marked


def _replace(
    server: Connection, settings: Settings, build: Callable[[Settings], None], marked: bool
) -> None:
    name = settings.postgres_db
    prefix = name.encode()[:MAX_PREFIX_BYTES].decode(errors="ignore")
    new = f"{prefix}_reset_{os.getpid()}"
    try:
        create_missing_database(server, new, marked=marked)
        try:
            build(settings.model_copy(update={"postgres_db": new}))
        except CommandError as error:
            raise CommandError(
                f"Nothing was deleted: the new database can't be made.\n{error}"
            ) from None
        drop_database(server, name)
    except BaseException:
        drop_database(server, new)
        raise
    server.execute(SQL("ALTER DATABASE {} RENAME TO {}").format(Identifier(new), Identifier(name)))
