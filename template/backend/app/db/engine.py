"""The API's connections to the database, on which nothing waits for ever."""

from typing import Any

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.core.config import Settings
from app.db.password import provide_password, without_password

PROBE_TIMEOUT_S = 2


def api_engine(settings: Settings) -> AsyncEngine:
    """A pooled asynchronous engine for requests. The caller disposes of it."""
    limits = {
        "statement_timeout": settings.api_statement_timeout_s,
        "lock_timeout": settings.api_lock_timeout_s,
        "idle_in_transaction_session_timeout": settings.api_idle_transaction_timeout_s,
    }
    network_timeout_s = settings.api_network_timeout_s
    return _engine(
        settings, "api", limits, network_timeout_s, pool_timeout=settings.api_pool_timeout_s
    )


def probe_engine(settings: Settings) -> AsyncEngine:
    """One connection for probes, which requests can't take. The caller disposes of it."""
    limits = {"statement_timeout": PROBE_TIMEOUT_S}
    pool = {"pool_size": 1, "max_overflow": 0, "pool_timeout": PROBE_TIMEOUT_S}
    return _engine(settings, "api probe", limits, PROBE_TIMEOUT_S, **pool)


class BoundedConnection(psycopg.AsyncConnection[Any]):
    """Closed when the server owes an answer for longer than its own timeouts allow: it hangs."""

    answer_timeout_s: float

    async def wait(
        self,
        gen: PQGen[RV],
        interval: float = 0.1,
        timeout: float | None = None,  # noqa: ASYNC109 (psycopg's)
    ) -> RV:
        try:
            return await super().wait(gen, interval, timeout or self.answer_timeout_s)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()
            raise


def _engine(
    settings: Settings, name: str, limits: dict[str, int], network_timeout_s: int, **pool: Any
) -> AsyncEngine:
    async def connect(*arguments: Any, **options: Any) -> BoundedConnection:
        connection = await BoundedConnection.connect(*arguments, **options)
        connection.answer_timeout_s = limits["statement_timeout"] + network_timeout_s
        return connection

    connect_args: dict[str, Any] = {
        "async_creator_fn": connect,
        "application_name": name,
        "connect_timeout": network_timeout_s,
        # A host that is gone without a word confirms nothing and answers no keepalives.
        "tcp_user_timeout": network_timeout_s * 1000,
        "keepalives_idle": network_timeout_s,
        "keepalives_interval": 1,
        "keepalives_count": 3,
    }
    if settings.is_pooled:
        # A statement is prepared on one of the pooler's connections, and missing on the others.
        connect_args["prepare_threshold"] = None
    else:
        options = {key: f"{value}s" for key, value in limits.items()}
        # The server stops working for an API that was killed.
        options["client_connection_check_interval"] = "2s"
        connect_args["options"] = " ".join(f"-c {key}={value}" for key, value in options.items())
    engine = create_async_engine(
        without_password(settings.database_url),
        connect_args=connect_args,
        hide_parameters=True,
        pool_pre_ping=True,
        **pool,
    )
    provide_password(engine.sync_engine, settings.postgres_password)
    if settings.is_pooled:
        # A pooler refuses options, and keeps no setting longer than a transaction.
        local = "; ".join(f"SET LOCAL {key} = '{value}s'" for key, value in limits.items())

        @event.listens_for(engine.sync_engine, "begin")
        def set_limits(connection: Connection) -> None:
            connection.exec_driver_sql(local)

    return engine
