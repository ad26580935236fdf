"""Connections to the database: one address for the API and for migrations."""

from sqlalchemy import Engine, NullPool, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.core.config import Settings

CONNECT_TIMEOUT_S = 10


def api_engine(settings: Settings) -> AsyncEngine:
    """A pooled asynchronous engine. The caller disposes of it."""
    return create_async_engine(
        settings.database_url,
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "application_name": "api"},
        hide_parameters=True,
        pool_pre_ping=True,
    )


def migration_engine(settings: Settings) -> Engine:
    """A synchronous engine whose connections close with their last use."""
    return create_engine(
        settings.database_url,
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "application_name": "migrate"},
        hide_parameters=True,
        poolclass=NullPool,
    )
