"""The API's connections to the database."""

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.core.config import Settings
from app.db.password import provide_password, without_password

CONNECT_TIMEOUT_S = 10


def api_engine(settings: Settings) -> AsyncEngine:
    """A pooled asynchronous engine. The caller disposes of it."""
    engine = create_async_engine(
        without_password(settings.database_url),
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "application_name": "api"},
        hide_parameters=True,
        pool_pre_ping=True,
    )
    provide_password(engine.sync_engine, settings.postgres_password)
    return engine
