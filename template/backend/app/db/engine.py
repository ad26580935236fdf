"""The API's connections to the database."""

from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.core.config import Settings

PROBE_TIMEOUT_S = 2


def api_engine(settings: Settings) -> AsyncEngine:
    """A pooled asynchronous engine, nothing of which waits for ever. The caller disposes of it."""
    limits = {
        "statement_timeout": f"{settings.api_statement_timeout_s}s",
        "lock_timeout": f"{settings.api_lock_timeout_s}s",
        "idle_in_transaction_session_timeout": f"{settings.api_idle_transaction_timeout_s}s",
    }
    return _engine(settings, "api", limits, pool_timeout=settings.api_pool_timeout_s)


def probe_engine(settings: Settings) -> AsyncEngine:
    """One connection for probes, which requests can't take. The caller disposes of it."""
    limits = {"statement_timeout": f"{PROBE_TIMEOUT_S}s"}
    return _engine(
        settings, "api probe", limits, pool_size=1, max_overflow=0, pool_timeout=PROBE_TIMEOUT_S
    )


def _engine(settings: Settings, name: str, limits: dict[str, str], **pool: Any) -> AsyncEngine:
    network_timeout_s = settings.api_network_timeout_s
    connect_args: dict[str, Any] = {
        "application_name": name,
        "connect_timeout": network_timeout_s,
        # A host that is gone without a word is noticed while it owes an answer (what was sent is
        # not confirmed), and while it computes one (it does not answer keepalives).
        "tcp_user_timeout": network_timeout_s * 1000,
        "keepalives_idle": network_timeout_s,
        "keepalives_interval": 1,
        "keepalives_count": 3,
    }
    if not settings.is_pooled:
        # The last one: the server stops working for an API that was killed.
        options = limits | {"client_connection_check_interval": "2s"}
        connect_args["options"] = " ".join(f"-c {key}={value}" for key, value in options.items())
    engine = create_async_engine(
        settings.database_url,
        connect_args=connect_args,
        hide_parameters=True,
        pool_pre_ping=True,
        **pool,
    )
    if settings.is_pooled:
        # A pooler refuses options, and keeps no setting longer than a transaction.
        local = "; ".join(f"SET LOCAL {key} = '{value}'" for key, value in limits.items())

        @event.listens_for(engine.sync_engine, "begin")
        def set_limits(connection: Connection) -> None:
            connection.exec_driver_sql(local)

    return engine
