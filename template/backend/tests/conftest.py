"""Every test runs on a throwaway server: nothing here can reach the development database."""

import os
import secrets
from collections.abc import Iterator
from itertools import count

import pytest
from alembic import command
from fastapi.testclient import TestClient

from app.core.config import Settings, get_settings
from app.main import create_app
from app.migrate.config import alembic_config
from app.migrate.databases import (
    clone_database,
    connect_to_server,
    create_missing_database,
    drop_database,
)
from devdb.server import free_port
from devdb.throwaway import throwaway_server

TEMPLATE = "template_for_tests"
_numbers = count(1)


def pytest_configure() -> None:
    # Before any test module is imported, and stronger than .env and secrets/: whatever reads the
    # settings from here on gets the throwaway server.
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]  # libpq's own settings
    os.environ.update(
        POSTGRES_HOST="127.0.0.1",
        POSTGRES_PORT=str(free_port()),
        POSTGRES_USER="tester",
        POSTGRES_PASSWORD=secrets.token_urlsafe(16),
        POSTGRES_DB=TEMPLATE,
        POSTGRES_SSLMODE="disable",
        APP_ENV="development",
    )
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def server() -> Iterator[Settings]:
    """A server whose database `template_for_tests` is at the newest revision."""
    settings = get_settings()
    with throwaway_server(settings):
        with connect_to_server(settings) as connection:
            create_missing_database(connection, TEMPLATE)
        command.upgrade(alembic_config(command.upgrade), "head")
        yield settings


@pytest.fixture
def database(server: Settings) -> Iterator[Settings]:
    """A database of the test's own at the newest revision."""
    name = f"test_{next(_numbers)}"
    with connect_to_server(server) as connection:
        clone_database(connection, TEMPLATE, name)
        yield server.model_copy(update={"postgres_db": name})
        drop_database(connection, name)


@pytest.fixture
def client(database: Settings) -> Iterator[TestClient]:
    """An HTTP client of the API on the test's database."""
    with TestClient(create_app(database)) as client:
        yield client
