"""Tables that the models no longer have, but that have rows in the development database.

A model is gone by mistake, or because a feature of the template was switched off, sooner than
because nobody wants its rows.
"""

from collections.abc import Collection

import psycopg
from alembic.util import CommandError
from psycopg import Connection
from psycopg.sql import SQL, Identifier

from app.migrate.databases import connect_to_server
from app.migrate.shadow_server import configured_settings


def refuse_lost_rows(tables: Collection[tuple[str, str]]) -> None:
    """Refuses to drop tables that are not empty.

    Args:
        tables: By schema and name, those that nobody said to drop.

    Raises:
        CommandError: a table has rows; says how to name it.
    """
    settings = configured_settings()
    try:
        with connect_to_server(settings, settings.postgres_db) as connection:
            full = [table for table in sorted(tables) if _has_rows(connection, *table)]
    except psycopg.OperationalError:
        return  # It does not run. What drops a table is refused by the linter all the same.
    if full:
        names = [name if schema == "public" else f"{schema}.{name}" for schema, name in full]
        raise CommandError(
            f"No model has the table {' or '.join(names)} any more, and there are rows in it in "
            "the development database: the revision would drop it, here and in production.\n"
            "To keep it, bring the model back. To drop it with its rows:\n"
            f"    just db-migrate --drop-tables {' '.join(names)}"
        )


def _has_rows(connection: Connection, schema: str, name: str) -> bool:
    table = Identifier(schema, name)
    known = connection.execute("SELECT to_regclass(%s)", [table.as_string()]).fetchone()
    if known == (None,):
        return False
    return connection.execute(SQL("SELECT FROM {} LIMIT 1").format(table)).fetchone() is not None
