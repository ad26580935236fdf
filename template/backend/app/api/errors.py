"""What a client gets when something fails: JSON, always."""

import json
import logging

import psycopg
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

RETRY_AFTER_S = 5
# SQLSTATEs, or their classes, that pass by themselves. PostgreSQL manual, appendix A.
TEMPORARY = (
    "08",  # connection lost
    "25006",  # read-only: a standby, or a failover is going on
    "40001",  # serialization failure
    "40P01",  # deadlock
    "53",  # out of connections, memory or disk
    "55P03",  # lock timeout
    "57",  # cancelled, statement timeout, starting up, shutting down
)

logger = logging.getLogger(__name__)


def handle_errors(app: FastAPI) -> None:
    app.add_exception_handler(DBAPIError, _database_failed)
    app.add_exception_handler(PoolTimeoutError, _database_failed)
    app.add_exception_handler(RequestValidationError, _refused)
    app.add_exception_handler(Exception, _failed)


def try_again_later(request: Request, reason: str) -> JSONResponse:
    """The answer 503; the log gets one line."""
    logger.warning("503 for %s %r: %s", request.method, request.url.path, reason)
    return JSONResponse(
        {"detail": "The service is not available at the moment. Try again."},
        status_code=503,
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )


def is_temporary(error: Exception) -> bool:
    """Whether the database failed in a way that passes, not a statement that is wrong."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, PoolTimeoutError)
    if error.connection_invalidated:
        return True
    # libpq's own errors, such as a refused connection, have no SQLSTATE.
    state = getattr(error.orig, "sqlstate", None)
    if state is None:
        return isinstance(error.orig, psycopg.OperationalError)
    return str(state).startswith(TEMPORARY)


def first_line(error: Exception) -> str:
    """An error for the log: without SQL and links."""
    text = str(getattr(error, "orig", None) or error)
    return text.partition("\n")[0] or type(error).__name__


async def _database_failed(request: Request, error: Exception) -> Response:
    if not is_temporary(error):
        raise error
    return try_again_later(request, first_line(error))


async def _refused(request: Request, error: Exception) -> Response:
    """FastAPI's answer 422 without the input, which JSON may be unable to hold (NaN)."""
    assert isinstance(error, RequestValidationError)
    detail = [{key: one[key] for key in ("type", "loc", "msg")} for one in error.errors()]
    # Escaped: a key of the input may be no valid text.
    return Response(json.dumps({"detail": detail}), status_code=422, media_type="application/json")


async def _failed(request: Request, error: Exception) -> Response:
    """A bug. It is raised again for the log."""
    return JSONResponse({"detail": "Internal Server Error"}, status_code=500)
