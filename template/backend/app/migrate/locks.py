"""One migrator at a time on a database."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from alembic.util import CommandError
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from app.core.config import Settings
from app.migrate.connection import POOLED, driver_connection
from app.migrate.pauses import backoff
from app.migrate.progress import Progress
from app.migrate.sessions import describe_sessions, read_sessions

# Locks of this kind belong to one database. Other programs derive their keys differently.
KEY = "SELECT hashtextextended('migration of ' || current_database(), 0)"
HOLDER = """
    SELECT pid FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (classid::bigint << 32) + objid::bigint = %s
"""


@contextmanager
def one_migrator(
    connection: Connection, settings: Settings, progress: Progress, is_done: Callable[[], bool]
) -> Iterator[bool]:
    """Waits until no other migrator works on the database, and keeps others away.

    The lock belongs to the session that the migration runs on, so it lasts as long as that works,
    also through transactions of its own, and ends with it however it ends. It is tried for: waiting
    for it inside PostgreSQL would hold a snapshot, which CREATE INDEX CONCURRENTLY waits for, and
    both would wait for ever.

    Args:
        is_done: Whether there is nothing to do (any more). Then nothing is locked.

    Yields:
        Whether the lock is held; False if there is nothing to do.

    Raises:
        CommandError: somebody else had it all the time, or a pooler makes it worthless.
    """
    if is_done():
        yield False
        return
    refuse_pooler(connection)
    pauses = backoff(settings.migration_wait_s)
    key = _scalar(connection, KEY)
    while not _scalar(connection, "SELECT pg_try_advisory_lock(%s)", key):
        pids = connection.exec_driver_sql(HOLDER, (key,)).scalars().all()
        holders = read_sessions(driver_connection(connection), pids)
        connection.commit()
        progress.waits("another migration", holders)
        try:
            time.sleep(next(pauses))
        except StopIteration:
            raise CommandError(
                f"Another migration has been running on this database for all of the "
                f"{settings.migration_wait_s} s that this one waited (MIGRATION_WAIT_S): "
                f"{describe_sessions(holders)}. Nothing was run here. Wait for it and try again."
            ) from None
        if is_done():
            yield False
            return
    try:
        yield True
    finally:
        # A lost connection has taken the lock with it.
        with suppress(SQLAlchemyError):
            connection.rollback()
            _scalar(connection, "SELECT pg_advisory_unlock(%s)", key)


def refuse_pooler(connection: Connection) -> None:
    """Refuses a connection pooler: it may give the next transaction another session.

    Raises:
        CommandError: names the setting to use instead.
    """
    # A pooler makes up the process id that clients are told when they connect.
    told = driver_connection(connection).info.backend_pid
    if told != _scalar(connection, "SELECT pg_backend_pid()"):
        raise CommandError(POOLED)


def _scalar(connection: Connection, sql: str, *parameters: object) -> object:
    value: object = connection.exec_driver_sql(sql, parameters or None).scalar()
    connection.commit()
    return value
