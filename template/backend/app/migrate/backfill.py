"""Data migrations on tables in use: short transactions, batch after batch."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from alembic import op
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from app.migrate import checkpoint
from app.migrate.batch_function import BatchFunction, change_by_function
from app.migrate.connection import driver_connection
from app.migrate.drift import escaped
from app.migrate.keyset import (
    Change,
    Changed,
    KeyedTable,
    Limits,
    Page,
    Range,
    change_by_sql,
    is_small,
    next_page,
    read_table,
)
from app.migrate.meter import Meter
from app.migrate.pauses import backoff
from app.migrate.retry import is_retried

FIRST_BATCH_ROWS = 1_000
# How long a batch shall keep its rows locked.
BATCH_S = 0.05
# Where few rows match, a batch reads more of them.
MAX_ROWS_READ = 50_000
# For a row that somebody else has locked, a batch waits no longer: others wait for its own.
SETTINGS = """
    SELECT set_config('lock_timeout', '50ms', true),
        -- Only along the key: the planner weighs just the first column of a composite one and may
        -- read the table, and may sort the rest of it by a random one, for every batch.
        set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true),
        -- A server that crashes loses a batch together with its checkpoint.
        set_config('synchronous_commit', 'off', true)
"""
RETRY_S = 60.0
POLL_S = 0.5

IS_UNTOUCHED = "SELECT pg_current_xact_id_if_assigned() IS NULL"
LAG = """
    SELECT coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)), 0) / 1048576 AS mb,
        coalesce(bool_or(state IS NULL), false) AS is_hidden, current_user AS role
    FROM pg_stat_replication
"""


@dataclass(frozen=True)
class Pace:
    """How hard a backfill may press."""

    batch_rows: int
    pause_s: float
    lag_mb: int | None
    deadline: float | None


def backfill(
    table: str,
    values: str | BatchFunction,
    where: str | None = None,
    *,
    schema: str | None = None,
    read: Sequence[str] = (),
    max_batch_rows: int = 5_000,
    pause_s: float = 0.0,
    max_lag_mb: int | None = None,
    deadline_s: float | None = None,
) -> None:
    """Changes the rows of a table in batches along its primary key, each in its own transaction.

    A small table is changed at once, in the transaction of the revision. A backfill that was
    stopped goes on where it was. See docs/database.md, "Data migrations".

    Args:
        values: The new values, as in SQL after UPDATE … SET; or a function that gets the rows of a
            batch, locked, and returns the new values by column, by primary key.
        where: Which rows are still to be done. What matches at the end, because it was added
            meanwhile, is done in a second pass, unless rows match even after they were done.
        read: The columns that the function reads beside the primary key; all if empty.
        pause_s: How long to rest after each batch.
        max_lag_mb: Waits while a replica has more than this of the WAL to replay.
        deadline_s: Stops with an error after this time. The next run goes on.

    Raises:
        CommandError: the revision changed something before, the table has no primary key or would
            get another one, a row stays locked, an argument makes no sense, or the deadline passed.
    """
    _refuse_wrong_pace(max_batch_rows, pause_s, max_lag_mb, deadline_s)
    context, condition = op.get_context(), escaped(where or "true")
    if context.as_sql:
        quote = context.dialect.identifier_preparer.quote
        op.execute(_offline(".".join(quote(n) for n in (schema, table) if n), values, where))
        return
    connection = op.get_bind()
    if not connection.scalar(text(IS_UNTOUCHED)):
        raise CommandError(
            f"This revision changes something before it fills in {table}. Every batch commits, and "
            "would commit that half-way. Put the backfill into a revision of its own: "
            'alembic revision -m "…"'
        )
    target = read_table(connection, table, schema)
    if isinstance(values, str):
        change = change_by_sql(target, escaped(values), condition)
    else:
        change = change_by_function(target, values, read, condition)
    if not checkpoint.is_started(connection) and is_small(connection, target, FIRST_BATCH_ROWS):
        change(connection, Range())
    else:
        deadline = None if deadline_s is None else time.monotonic() + deadline_s
        pace = Pace(max_batch_rows, pause_s, max_lag_mb, deadline)
        what = values if isinstance(values, str) else values.__qualname__
        with context.autocommit_block():
            _run(connection, target, change, condition, f"{target.name} {what} {where}", pace)
        checkpoint.remove(connection)
    # What comes after it in the revision counts as changed, also where there was nothing to do.
    connection.execute(text("SELECT pg_current_xact_id()"))


def _refuse_wrong_pace(
    max_batch_rows: int, pause_s: float, max_lag_mb: int | None, deadline_s: float | None
) -> None:
    wrong = {
        f"max_batch_rows={max_batch_rows!r}: a batch has one row or more": not max_batch_rows >= 1,
        f"pause_s={pause_s!r}: a pause is 0 or longer": not 0 <= pause_s < math.inf,
        f"max_lag_mb={max_lag_mb!r}: a replica is 0 MB or more behind": not (max_lag_mb or 0) >= 0,
        f"deadline_s={deadline_s!r}: a deadline is later than now": not (
            deadline_s is None or deadline_s > 0
        ),
    }
    if found := [message for message, is_wrong in wrong.items() if is_wrong]:
        raise CommandError(f"backfill() was called with {'; '.join(found)}. Nothing was changed.")


def _offline(table: str, values: str | BatchFunction, where: str | None) -> Any:
    if not isinstance(values, str):
        raise CommandError(f"The new values of {table} come from a Python function.")
    condition = f" WHERE {where}" if where else ""
    note = "-- Applied by `just db-upgrade`, this is done in batches. Here it locks all its rows."
    return text(escaped(f"{note}\nUPDATE {table} SET {values}{condition}"))


@dataclass(frozen=True)
class Batch:
    """What a transaction did. `rows_read` is the sum of all batches of the first pass."""

    page: Page | None
    changed: int
    rows_read: int
    seconds: float


def _run(
    connection: Connection, table: KeyedTable, change: Change, where: str, name: str, pace: Pace
) -> None:
    at = checkpoint.begin(connection, name)
    changed, rows_read = 0, at.rows_read
    first = min(FIRST_BATCH_ROWS, pace.batch_rows)
    limits = Limits(first, first)
    with Meter(table.name, table.estimated_rows, rows_read) as meter:
        if at.last_key:
            meter.end(f"going on, with {rows_read:,} rows done")

        def pause(seconds: float, note: str = "") -> None:
            if pace.deadline and time.monotonic() > pace.deadline:
                raise CommandError(
                    f"{table.name}: stopped by its deadline with {meter.share(rows_read)} done"
                    f"{note and f', {note}'}. To go on from there: just db-upgrade"
                )
            meter.show(rows_read, note)
            time.sleep(seconds)

        while batch := _retrying(
            partial(_one_batch, connection, table, change, where, limits), pause
        ):
            changed, rows_read = changed + batch.changed, batch.rows_read
            if batch.page:
                limits = next_limits(limits, batch.page, batch.seconds, pace.batch_rows)
            pause(pace.pause_s)
            while pace.lag_mb is not None and (lag := _lag_mb(connection)) > pace.lag_mb:
                pause(POLL_S, f"waiting for a replica that is {lag:,} MB behind")
        meter.end(f"{changed:,} rows changed in {meter.elapsed()}")


def _one_batch(
    connection: Connection, table: KeyedTable, change: Change, where: str, limits: Limits
) -> Batch | None:
    """Changes the next rows and records that; None when there are none left."""
    # psycopg's own transaction: for SQLAlchemy, this connection commits every statement.
    with driver_connection(connection).transaction():
        connection.execute(text(SETTINGS))
        at = checkpoint.read(connection)
        page = next_page(connection, table, where, at.last_key, limits)
        if page is None:
            if at.pass_number > 1 or at.rows_still_matching:
                return None
            checkpoint.write(connection, pass_number=2, last_key=None)
            return Batch(None, 0, at.rows_read, 0.0)
        started = time.monotonic()
        changed = change(connection, page.range) if page.matching else Changed(0, 0)
        rows_read = at.rows_read + (page.rows if at.pass_number == 1 else 0)
        checkpoint.write(
            connection,
            last_key=page.range.upper,
            rows_read=rows_read,
            rows_still_matching=at.rows_still_matching + changed.still_matching,
        )
    return Batch(page, changed.rows, rows_read, time.monotonic() - started)


def next_limits(limits: Limits, page: Page, seconds: float, largest: int) -> Limits:
    """How many rows to take next, so that their locks last as long as intended."""
    factor = min(2.0, max(0.5, BATCH_S / max(seconds, 0.001)))
    if page.matching * 2 > limits.matching:
        rows = round(limits.matching * factor)
    elif seconds > BATCH_S and page.matching:
        rows = round(page.matching * factor)
    else:
        read = min(MAX_ROWS_READ, round(limits.rows * factor))
        return Limits(max(read, limits.matching), limits.matching)
    rows = max(1, min(largest, rows))
    return Limits(rows, rows)


def _retrying(
    action: Callable[[], Batch | None], pause: Callable[[float, str], None]
) -> Batch | None:
    """Tries again for a while when somebody else has locked the rows."""
    pauses = backoff(RETRY_S)
    while True:
        try:
            return action()
        except DBAPIError as error:
            if not is_retried(error):
                raise
            seconds = next(pauses, None)
            if seconds is None:
                raise CommandError(
                    f"Rows of the next batch have been locked for {RETRY_S:.0f} s by another "
                    f"session. PostgreSQL says: {str(error.orig).strip()}\n"
                    "End that session's transaction, then go on from there: just db-upgrade"
                ) from None
        pause(seconds, "waiting for locked rows")


def _lag_mb(connection: Connection) -> int:
    row = connection.execute(text(LAG)).one()
    if row.is_hidden:
        raise CommandError(
            f"The role {row.role} may not see how far replicas are, so it can't keep to max_lag_mb. "
            f"Let it: GRANT pg_read_all_stats TO {row.role}"
        )
    return int(row.mb)
