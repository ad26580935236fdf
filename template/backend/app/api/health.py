"""Probes: live (the process answers) and ready (the database is there, with what the code needs)."""

import logging
from typing import Literal

from fastapi import APIRouter, Request, Response, status
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.api.errors import first_line
from app.db.revision import judge, read_applied

logger = logging.getLogger(__name__)
router = APIRouter(prefix="/health", tags=["health"])


class Readiness(BaseModel):
    ready: bool
    database: Literal["reachable", "unreachable"]
    expected_revision: list[str]
    applied_revision: list[str] = []
    ahead: list[str] = []
    detail: str


@router.get("/live")
async def live() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/ready", responses={503: {"model": Readiness}})
async def ready(request: Request, response: Response) -> Readiness:
    """Ready when the newest revision of this code is applied; newer ones may be, too."""
    expected: list[str] = request.app.state.expected_revisions
    engine: AsyncEngine = request.app.state.probe_engine
    try:
        async with engine.connect() as connection:
            applied = await read_applied(connection)
    except SQLAlchemyError as error:
        logger.warning("Not ready, the database can't be reached or used: %s", first_line(error))
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
        return Readiness(
            ready=False,
            database="unreachable",
            expected_revision=expected,
            detail="The database can't be reached or used; the log says why.",
        )
    fit = judge(expected, applied)
    if not fit.fits:
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    return Readiness(
        ready=fit.fits,
        database="reachable",
        expected_revision=expected,
        applied_revision=applied.heads,
        ahead=fit.ahead,
        detail=fit.why,
    )
