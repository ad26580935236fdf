"""Probes: live (the process answers) and ready (the database is there, at the right revision)."""

import asyncio
import logging
from typing import Literal

from fastapi import APIRouter, Request, Response, status
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from app.api.dependencies import EngineDependency
from app.db.revision import applied_revisions

DATABASE_TIMEOUT_S = 5

logger = logging.getLogger(__name__)
router = APIRouter(prefix="/health", tags=["health"])


class Readiness(BaseModel):
    ready: bool
    database: Literal["reachable", "unreachable"]
    expected_revision: list[str]
    applied_revision: list[str]
    detail: str


@router.get("/live")
async def live() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/ready", responses={503: {"model": Readiness}})
async def ready(request: Request, response: Response, engine: EngineDependency) -> Readiness:
    expected: list[str] = request.app.state.expected_revisions
    try:
        async with asyncio.timeout(DATABASE_TIMEOUT_S), engine.connect() as connection:
            applied = await applied_revisions(connection)
    except (SQLAlchemyError, OSError) as error:
        logger.warning("Not ready, the database can't be reached or used: %s", error)
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
        return Readiness(
            ready=False,
            database="unreachable",
            expected_revision=expected,
            applied_revision=[],
            detail="The database can't be reached or used; the log says why.",
        )
    is_ready = applied == expected
    if not is_ready:
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    return Readiness(
        ready=is_ready,
        database="reachable",
        expected_revision=expected,
        applied_revision=applied,
        detail=(
            "The database is at the revision that this code expects."
            if is_ready
            else "The database is at another revision than this code expects: apply the revisions."
        ),
    )
