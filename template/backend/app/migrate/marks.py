"""The mark that tells a development database, which may be deleted, from all others.

It is a line in the database's comment. No dump of a database and no copy has that (CREATE DATABASE …
TEMPLATE, pg_restore), and an owner may write it; a setting of one's own (ALTER DATABASE … SET) takes
a superuser. pg_dumpall carries comments along, so the line names the database and its server by
numbers that are others elsewhere.
"""

from psycopg import Connection
from psycopg.sql import SQL, Identifier, Literal

MARK = "liveschema.development"
# pg_control_system() may be forbidden on a server of somebody else.
IDENTITY = """
    SELECT oid, has_function_privilege('pg_control_system()', 'EXECUTE'),
        coalesce(shobj_description(oid, 'pg_database'), '')
    FROM pg_database WHERE datname = %s
"""
SYSTEM = "SELECT system_identifier FROM pg_control_system()"


def is_marked(connection: Connection, database: str) -> bool:
    """Whether a database of the connection's server is marked as a development database."""
    mark, comment = _look(connection, database)
    return bool(mark) and mark in comment.splitlines()


def mark(connection: Connection, database: str) -> None:
    """Marks a database, and keeps what else its comment says.

    Raises:
        psycopg.errors.InsufficientPrivilege: the role does not own it.
    """
    line, comment = _look(connection, database)
    lines = [other for other in comment.splitlines() if not other.startswith(f"{MARK} ")]
    connection.execute(
        SQL("COMMENT ON DATABASE {} IS {}").format(
            Identifier(database), Literal("\n".join([*lines, line]))
        )
    )


def _look(connection: Connection, database: str) -> tuple[str, str]:
    """The line that would mark a database, empty if there is none of that name; its comment."""
    row = connection.execute(IDENTITY, [database]).fetchone()
    if row is None:
        return "", ""
    oid, may_ask, comment = row
    system = connection.execute(SYSTEM).fetchone() if may_ask else None
    return f"{MARK} {oid} {system[0] if system else '-'}", comment
