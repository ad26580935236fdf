"""A revision is one transaction, the one that also records it, and begins in a fresh session.

What it commits itself would stay when it is not recorded; what it rolls back itself would be
recorded and not be there. What it sets would be set for the next one, if that runs at once.
"""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from types import TracebackType
from typing import Any

import psycopg
from alembic import op
from alembic.runtime.migration import MigrationContext, RevisionStep
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, event
from sqlalchemy.exc import SQLAlchemyError

from app.migrate.connection import driver_connection, reset
from app.migrate.progress import Progress

ALEMBIC = logging.getLogger("alembic.runtime.migration")
# Each transaction of a session begins later than the one before it.
BEGAN_AT = "SELECT transaction_timestamp()"
# What a commit would find wrong is found here, and RESET ALL leaves the others. DISCARD ALL would give up the lock for migrations, too.
FORGET = "SET CONSTRAINTS ALL IMMEDIATE; DISCARD TEMP; DISCARD SEQUENCES; DEALLOCATE ALL; CLOSE ALL; UNLISTEN *"
END = re.compile(
    r"\s*(commit|end|rollback|abort)(\s+(work|transaction))?(\s+and\s+(no\s+)?chain)?[\s;]*",
    re.IGNORECASE,
)
ROLLED_BACK = "It calls rollback() on its own transaction."
# In autocommit mode, these leave nothing in the database.
WITHOUT_CHANGE = ("SET", "RESET", "SHOW", "BEGIN", "DISCARD")


class EndedTransactionError(Exception):
    """A revision ended its own transaction, or tried to.

    Args:
        how: What it did.
        left: What of it is in the database now; empty for nothing.
    """

    def __init__(self, how: str, left: str = "") -> None:
        super().__init__(how)
        self.left = left


class OneTransaction(logging.Handler):
    """While active, holds every revision that runs on a connection to that.

    Learns from Alembic's log that a revision begins, and puts itself around its function.
    """

    def __init__(self, connection: Connection, progress: Progress) -> None:
        super().__init__(logging.INFO)
        self._connection = connection
        self._progress = progress
        self._is_watching = self._is_in_block = self._is_rolled_back = False
        self._is_fresh = False  # nothing was set since the reset
        self._began_at: object = None
        self._listeners: dict[str, Callable[..., None]] = {
            "begin": self._begins,
            "commit": self._commits,
            "rollback": self._rolls_back,
            "before_cursor_execute": self._executes,
            "after_cursor_execute": self._executed,
        }

    def __enter__(self) -> "OneTransaction":
        for name, listener in self._listeners.items():
            event.listen(self._connection, name, listener)
        ALEMBIC.addHandler(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        ALEMBIC.removeHandler(self)
        for name, listener in self._listeners.items():
            event.remove(self._connection, name, listener)

    def emit(self, record: logging.LogRecord) -> None:
        step = record.args[0] if isinstance(record.args, tuple) and record.args else None
        if isinstance(step, RevisionStep):
            step.migration_fn = self._held(step.migration_fn)

    def _held(self, function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def run(**values: Any) -> None:
            self._run(function, **values)

        return run

    def _run(self, function: Callable[..., None], **values: Any) -> None:
        # A try before this one may have left something, in autocommit mode.
        again = "" if self._is_fresh else reset(driver_connection(self._connection))
        self._began_at, self._is_fresh = self._ask(again), False
        self._is_watching, self._is_rolled_back = True, False
        try:
            with self._legal_blocks(op.get_context()):
                function(**values)
        finally:
            self._is_watching = False
        if self._connection.closed:
            raise EndedTransactionError("It closes the connection that revisions run on.")
        if self._is_rolled_back:
            raise EndedTransactionError(ROLLED_BACK)
        # Here, in its transaction: it is recorded by the role and in the schema that it began with.
        forget = f"{reset(driver_connection(self._connection))}; {FORGET}"
        if self._ask(forget) != self._began_at:
            raise EndedTransactionError(
                "It ends its own transaction.",
                "What it did before that may be in the database, unless it was rolled back",
            )
        self._is_fresh = True

    def _ask(self, then: str) -> object:
        """When the transaction began. Then executes something, at the cost of one round trip."""
        cursor = driver_connection(self._connection).cursor()
        row = cursor.execute(f"{BEGAN_AT}; {then}".encode()).fetchone()
        return row and row[0]

    @contextmanager
    def _legal_blocks(self, context: MigrationContext) -> Iterator[None]:
        """Lets `autocommit_block()` end the transaction: what comes after it has a new one."""
        original = context.autocommit_block

        @contextmanager
        def autocommit_block() -> Iterator[None]:
            changed = "SELECT pg_current_xact_id_if_assigned() IS NOT NULL"
            cursor = driver_connection(self._connection).cursor()
            row = cursor.execute(changed.encode()).fetchone()
            self._progress.commits(changes=bool(row and row[0]))
            self._is_watching, self._is_in_block = False, True
            try:
                with original():
                    yield
            finally:
                self._is_watching, self._is_in_block = True, False
                with suppress(psycopg.Error, SQLAlchemyError):  # the connection is lost
                    self._began_at = self._ask("")

        context.autocommit_block = autocommit_block  # type: ignore[method-assign]
        try:
            yield
        finally:
            context.autocommit_block = original  # type: ignore[method-assign]

    def _begins(self, connection: Connection) -> None:
        if self._is_watching:
            raise EndedTransactionError(ROLLED_BACK)

    def _rolls_back(self, connection: Connection) -> None:
        self._is_rolled_back = self._is_watching
        self._is_fresh = False  # the reset was rolled back, too

    def _commits(self, connection: Connection) -> None:
        if self._is_watching:
            # SQLAlchemy takes it for ended, and the next commit would be this one's.
            driver_connection(connection).rollback()
            raise EndedTransactionError("It calls commit() on its own transaction.")

    def _executes(self, connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        if self._is_watching and END.fullmatch(statement):
            raise EndedTransactionError(f"It executes {statement.strip()}.")

    def _executed(self, connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        if self._is_in_block:
            if not (cursor.statusmessage or "").startswith(WITHOUT_CHANGE):
                self._progress.commits(changes=True)
        elif self._is_watching:
            status = driver_connection(connection).info.transaction_status
            if status == TransactionStatus.IDLE:
                raise EndedTransactionError(
                    f"It ends its own transaction with: {statement.strip()}",
                    "What it did up to there is in the database, unless that rolled it back",
                )
