from fastapi.testclient import TestClient

from app.core.config import Settings
from app.db.revision import expected_revisions
from app.main import create_app
from app.migrate.databases import connect_to_server, drop_database
from devdb.server import free_port


def test_live_answers_without_a_database() -> None:
    nowhere = Settings(postgres_port=free_port())
    with TestClient(create_app(nowhere)) as client:
        assert client.get("/health/live").status_code == 200


def test_ready_at_the_newest_revision(client: TestClient) -> None:
    response = client.get("/health/ready")
    assert response.status_code == 200
    assert response.json()["applied_revision"] == expected_revisions()


def test_not_ready_at_another_revision(client: TestClient, database: Settings) -> None:
    with connect_to_server(database, database.postgres_db) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'older'")
    response = client.get("/health/ready")
    assert response.status_code == 503
    assert response.json()["database"] == "reachable"
    assert response.json()["applied_revision"] == ["older"]
    assert response.json()["expected_revision"] == expected_revisions()


def test_not_ready_before_the_first_revision(client: TestClient, database: Settings) -> None:
    with connect_to_server(database, database.postgres_db) as connection:
        connection.execute("DROP TABLE alembic_version")
    response = client.get("/health/ready")
    assert response.status_code == 503
    assert response.json()["applied_revision"] == []


def test_not_ready_without_the_database(client: TestClient, database: Settings) -> None:
    with connect_to_server(database) as connection:
        drop_database(connection, database.postgres_db)
    response = client.get("/health/ready")
    assert response.status_code == 503
    assert response.json()["database"] == "unreachable"
