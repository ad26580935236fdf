import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient

from app.core.config import Settings
from app.main import create_app
from app.migrate.databases import connect_to_server
from devdb.server import free_port

ROLES = "/api/v1/roles"


@pytest.fixture
def role_url(client: TestClient) -> str:
    return f"{ROLES}/{client.post(ROLES, json={'name': 'editor'}).json()['id']}"


@pytest.fixture
def other(database: Settings) -> Iterator[psycopg.Connection[Any]]:
    """Another client of the test's database, in a transaction."""
    with connect_to_server(database, database.postgres_db) as connection:
        connection.execute("BEGIN")
        yield connection


def wait_until_one_waits(connection: psycopg.Connection[Any]) -> None:
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    deadline = time.monotonic() + 10
    while connection.execute(waiting).fetchone() == (0,):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_without_a_database_a_request_may_be_repeated(caplog: pytest.LogCaptureFixture) -> None:
    with TestClient(create_app(Settings(postgres_port=free_port()))) as client:
        response = client.get(ROLES)
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    (record,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert "\n" not in record.getMessage()
    assert record.exc_info is None


def test_a_locked_table_is_not_waited_for_long(
    database: Settings, other: psycopg.Connection[Any]
) -> None:
    other.execute("LOCK TABLE roles")
    impatient = database.model_copy(update={"api_lock_timeout_s": 1})
    with TestClient(create_app(impatient)) as client:
        assert client.get(ROLES).status_code == 503
        assert client.get("/health/ready").status_code == 200


def test_a_bug_stays_an_error_of_the_server(database: Settings) -> None:
    with connect_to_server(database, database.postgres_db) as connection:
        connection.execute("ALTER TABLE roles RENAME COLUMN description TO other")
    with TestClient(create_app(database), raise_server_exceptions=False) as client:
        response = client.get(ROLES)
    assert (response.status_code, response.json()) == (500, {"detail": "Internal Server Error"})


@pytest.mark.parametrize(
    "body",
    [
        rb'{"name": "\ud800x"}',
        rb'{"\ud800": 1}',
        b'{"name": NaN}',
        b'{"name": 1e999}',
        b'{"name": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"name": ' + b"[" * 100_000,
        b'{"name": ' + b"9" * 5000 + b"}",
        b'{"name": "\xff"}',
    ],
)
def test_any_input_is_answered_in_json(client: TestClient, body: bytes) -> None:
    response = client.post(ROLES, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in {400, 422}
    assert response.json()["detail"]


def test_a_large_body_is_refused(client: TestClient) -> None:
    parts = (b"x" * 100_000 for _ in range(50))
    for content in (b"x" * 1_000_001, parts):
        response = client.post(ROLES, content=content)
        assert response.status_code == 413
        assert "1000000 bytes" in response.json()["detail"]


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_role_that_somebody_deletes_meanwhile_is_not_there(
    client: TestClient, role_url: str, other: psycopg.Connection[Any], method: str
) -> None:
    other.execute("DELETE FROM roles")
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(client.request, method, role_url, json={"description": "new"})
        wait_until_one_waits(other)
        other.execute("COMMIT")
        assert answer.result().status_code == 404
