"""Tries again what did not get a lock in time, so that traffic never queues behind a migration."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

import psycopg
from alembic.util import CommandError
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from app.core.config import Settings
from app.migrate.databases import connect_to_server
from app.migrate.locks import backoff
from app.migrate.progress import Progress
from app.migrate.sessions import Session, describe_sessions, read_sessions

# lock_not_available and deadlock_detected (PostgreSQL manual, appendix A).
RETRIED = {"55P03", "40P01"}
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
    with _Watch(settings, _pid(connection)) as watch:
        while True:
            try:
                return action()
            except DBAPIError as error:
                connection.rollback()
                if not is_retried(error) or not may_repeat():
                    raise
                if progress.revision != revision:
                    revision, pauses = progress.revision, backoff(settings.migration_wait_s)
            # From the second try on: most locks are there at the first.
            watch.begin()
            progress.waits("a lock", watch.blockers)
            pause = next(pauses, None)
            if pause is None:
                raise NoLockError(
                    f"Revision {progress.revision} got no lock in {settings.migration_wait_s} s "
                    f"(MIGRATION_WAIT_S), each time waiting {settings.migration_lock_timeout_ms} "
                    f"ms for it: {describe_sessions(watch.blockers)}.\nIt was rolled back, the "
                    "revisions before it stay. Wait for that session or end it, with SELECT "
                    f"pg_terminate_backend({watch.blockers[0].pid if watch.blockers else 'PID'}), "
                    "then try again."
                )
            time.sleep(pause)


def is_retried(error: DBAPIError) -> bool:
    """Whether an error means that a lock was not to be had, and all is as before."""
    return getattr(error.orig, "sqlstate", None) in RETRIED


class _Watch:
    """Looks, on a connection of its own, who is in the way of another connection."""

    def __init__(self, settings: Settings, pid: int) -> None:
        self.blockers: list[Session] = []
        self._settings, self._pid = settings, pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "_Watch":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        if self._thread.ident:
            self._thread.join()

    def begin(self) -> None:
        if not self._thread.ident:
            self._thread.start()

    def _look(self) -> None:
        settings = self._settings
        with suppress(psycopg.Error), connect_to_server(settings, settings.postgres_db) as own:
            while not self._done.wait(WATCH_S):
                row = own.execute("SELECT pg_blocking_pids(%s)", [self._pid]).fetchone()
                found = read_sessions(own, row[0]) if row else []
                self.blockers = found or self.blockers


def _pid(connection: Connection) -> int:
    pid: int = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    connection.commit()
    return pid
