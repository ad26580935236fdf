"""What routes ask for by type."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlmodel.ext.asyncio.session import AsyncSession


def get_engine(request: Request) -> AsyncEngine:
    engine: AsyncEngine = request.app.state.engine
    return engine


EngineDependency = Annotated[AsyncEngine, Depends(get_engine)]


async def get_session(engine: EngineDependency) -> AsyncIterator[AsyncSession]:
    session = AsyncSession(engine, expire_on_commit=False)
    try:
        yield session
    finally:
        # The client has its answer by now, whether or not the database is still there.
        with suppress(DBAPIError):
            async with session:
                pass


SessionDependency = Annotated[AsyncSession, Depends(get_session)]
