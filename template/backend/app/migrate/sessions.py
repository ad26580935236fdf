"""Other people's connections to the database, as far as they are in the way."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import Connection

SESSIONS = """
    SELECT pid, application_name, host(client_addr), state, query,
        extract(epoch FROM clock_timestamp() - coalesce(xact_start, state_change))::float
    FROM pg_stat_activity WHERE pid = ANY(%s::int[]) ORDER BY pid
"""
MAX_QUERY_LENGTH = 100


@dataclass(frozen=True)
class Session:
    """A connection; of other roles' PostgreSQL tells the process id and the name only."""

    pid: int
    application: str
    host: str | None
    state: str | None
    query: str | None
    age_s: float | None  # of its transaction, or else since it became idle

    def __str__(self) -> str:
        name = " ".join(filter(None, [self.application, self.host and f"from {self.host}"]))
        age = "" if self.age_s is None else f" for {self.age_s:.0f} s"
        query = " ".join((self.query or "").split())
        if len(query) > MAX_QUERY_LENGTH:
            query = f"{query[:MAX_QUERY_LENGTH]} …"
        return f"pid {self.pid} ({name or 'unnamed'}), {self.state or 'busy'}{age}: {query or '?'}"


def read_sessions(connection: Connection, pids: Sequence[int]) -> list[Session]:
    """The sessions with these process ids that are still there."""
    rows = connection.execute(SESSIONS, [pids]) if pids else ()
    return [Session(*row) for row in rows]


def describe_sessions(found: Sequence[Session]) -> str:
    """The sessions in a row."""
    return "; ".join(map(str, found)) or "an unknown session"
