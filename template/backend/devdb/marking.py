"""Marks the development database: the project's own without a question, others by their name."""

import sys

import psycopg
from alembic.util import CommandError

from app.core.config import Settings, get_settings
from app.migrate.connection import explain_connection_failure
from app.migrate.databases import connect_to_server, create_missing_database
from app.migrate.development import is_typed
from app.migrate.marks import is_marked, mark
from devdb.own import is_own_server


def mark_database(*arguments: str) -> int:
    """Marks the database if it is there; quiet if it can't be told. For `just update`."""
    named = _named(arguments)
    settings = get_settings()
    try:
        with connect_to_server(settings, settings.postgres_db) as connection:
            _mark(connection, settings, named)
    except psycopg.OperationalError as error:
        if named:
            raise CommandError(explain_connection_failure(settings, str(error))) from None
    return 0


def make_ready(*arguments: str) -> None:
    """Creates the database on a server of the project's own, and marks it; others, if named.

    Raises:
        CommandError: no connection, a wrong name, or a role that may not do it.
    """
    named = _named(arguments)
    settings = get_settings()
    if is_own_server(settings):
        # By the address that it listens on: another name may lead elsewhere.
        settings = settings.model_copy(update={"postgres_host": "127.0.0.1"})
        try:
            with connect_to_server(settings) as connection:
                create_missing_database(connection, settings.postgres_db)
        except psycopg.OperationalError as error:
            raise CommandError(explain_connection_failure(settings, str(error))) from None
    try:
        with connect_to_server(settings, settings.postgres_db) as connection:
            _mark(connection, settings, named)
    except psycopg.OperationalError as error:
        raise CommandError(explain_connection_failure(settings, str(error))) from None


def _named(arguments: tuple[str, ...]) -> str:
    match arguments:
        case ():
            return ""
        case ("--mark", name):
            return name
    raise CommandError(f"There is no option {' '.join(arguments)}. This one there is: --mark NAME")


def _mark(connection: psycopg.Connection, settings: Settings, named: str) -> None:
    name = settings.postgres_db
    where = f"{name} on {settings.postgres_host}:{settings.postgres_port}"
    if named and named != name:
        raise CommandError(f"{named} was named, and the settings lead to {where}.")
    if settings.is_production:
        if named:
            raise CommandError(f"APP_ENV says production: {where} is not marked.")
        return
    if is_marked(connection, name):
        return
    if not named and not is_own_server(settings):
        question = f"Is {where} a development database, whose rows may be deleted without asking?"
        if not is_typed(name, question):
            print(
                f"{where} is not marked as a development database: what loses rows wants its name. "
                f"To mark it: just start --mark {name}",
                file=sys.stderr,
            )
            return
    try:
        mark(connection, name)
    except psycopg.errors.InsufficientPrivilege:
        raise CommandError(
            f"{where} can't be marked as a development database by {settings.postgres_user}: its "
            "owner can, on such a connection."
        ) from None
    print(f"Marked {name} as a development database: just db-reset asks no more than yes or no.")
