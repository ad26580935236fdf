"""Waits for a server that is there and takes no connections yet: it starts, or recovers."""

import sys
import time
from collections.abc import Callable
from typing import Any

from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from app.core.config import Settings
from app.migrate.pauses import backoff


def once_it_accepts(
    settings: Settings, connect: Callable[[], Any], error_type: type[Exception]
) -> Any:
    """What a connection attempt returns, repeated while the server says that it is not ready.

    That is for as long as migrations wait for anything, `migration_wait_s`.

    Raises:
        The attempt's own error, if the server is not there, or for too long not ready.
    """
    pauses = backoff(settings.migration_wait_s)
    is_told = False
    while True:
        try:
            return connect()
        except error_type:
            pause = next(pauses, None) if _is_starting(settings) else None
            if pause is None:
                raise
        if not is_told:
            address = f"{settings.postgres_host}:{settings.postgres_port}"
            print(f"  waits for the server on {address}, which starts or recovers", file=sys.stderr)
            is_told = True
        time.sleep(pause)


def _is_starting(settings: Settings) -> bool:
    # Of a connection that fails, libpq tells the SQLSTATE (57P03) to nobody else.
    address = make_conninfo(
        host=settings.postgres_host,
        port=settings.postgres_port,
        dbname=settings.postgres_db,
        user=settings.postgres_user,
    )
    return PGconn.ping(address.encode()) == Ping.REJECT
