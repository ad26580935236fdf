"""Tries again what did not get a lock in time, so that traffic never queues behind a migration."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import psycopg
from alembic.util import CommandError
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from app.core.config import Settings
from app.migrate.connection import driver_connection
from app.migrate.databases import connect_to_server
from app.migrate.pauses import backoff
from app.migrate.progress import Progress
from app.migrate.sessions import Session, describe_sessions, read_sessions

# lock_not_available, deadlock_detected, serialization_failure (PostgreSQL manual, appendix A).
RETRIED = {"55P03", "40P01", "40001"}
WATCH_S = 0.02


class NoLockError(CommandError):
    """A lock was not to be had in all the time that there was for it."""


def retrying(
    action: Callable[[], None],
    connection: Connection,
    settings: Settings,
    progress: Progress,
    may_repeat: Callable[[], bool] = lambda: True,
) -> None:
    """Runs something until its locks come within the lock timeout, each time in a new transaction.

    For each revision there is `migration_wait_s` of time.

    Raises:
        NoLockError: the time is over; says who was in the way.
    """
    revision, pauses = "", backoff(settings.migration_wait_s)
    blockers: list[Session] | None = None
    with ExitStack() as stack:
        while True:
            try:
                return action()
            except DBAPIError as error:
                connection.rollback()
                if not is_retried(error) or not may_repeat():
                    raise
            if progress.revision != revision:
                revision, pauses = progress.revision, backoff(settings.migration_wait_s)
            if blockers is None:  # most locks are there at the first try
                pid = driver_connection(connection).info.backend_pid
                blockers = stack.enter_context(_seen_blocking(pid, settings))
            progress.waits("a lock", blockers)
            pause = next(pauses, None)
            if pause is None:
                raise NoLockError(
                    f"Revision {revision} got no lock in {settings.migration_wait_s} s "
                    f"(MIGRATION_WAIT_S), each time waiting {settings.migration_lock_timeout_ms} "
                    f"ms for it: {describe_sessions(blockers)}.\nIt was rolled back, the "
                    "revisions before it stay. Wait for that session or end it, with SELECT "
                    f"pg_terminate_backend({blockers[0].pid if blockers else 'PID'}), "
                    "then try again."
                )
            time.sleep(pause)


def is_retried(error: DBAPIError) -> bool:
    """Whether somebody else was in the way, and all is as before."""
    return getattr(error.orig, "sqlstate", None) in RETRIED


@contextmanager
def _seen_blocking(pid: int, settings: Settings) -> Iterator[list[Session]]:
    """Who was last seen in the way of a session; looks on a connection of its own."""
    found: list[Session] = []
    is_over = threading.Event()

    def look() -> None:
        with suppress(psycopg.Error), connect_to_server(settings, settings.postgres_db) as own:
            while not is_over.wait(WATCH_S):
                row = own.execute("SELECT pg_blocking_pids(%s)", [pid]).fetchone()
                found[:] = (read_sessions(own, row[0]) if row else []) or found

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        is_over.set()
        thread.join()
