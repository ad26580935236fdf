from fastapi.testclient import TestClient
from pydantic import SecretStr

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


def test_ready_when_a_newer_release_migrated(client: TestClient, database: Settings) -> None:
    with connect_to_server(database, database.postgres_db) as connection:
        for revision, parent in (("newer", expected_revisions()[0]), ("newest", "newer")):
            connection.execute(
                "INSERT INTO migration_ledger (revision, parent, action, by)"
                " VALUES (%s, %s, 'upgrade', 'tests')",
                [revision, parent],
            )
        connection.execute("UPDATE alembic_version SET version_num = 'newest'")
    response = client.get("/health/ready")
    assert response.status_code == 200
    assert response.json()["ahead"] == ["newer", "newest"]
    assert "ahead of this code by 2 revisions" in response.json()["detail"]


def test_not_ready_when_the_database_was_rolled_back(
    client: TestClient, database: Settings
) -> None:
    with connect_to_server(database, database.postgres_db) as connection:
        connection.execute(
            "INSERT INTO migration_ledger (revision, action, by) VALUES (%s, 'downgrade', 'tests')",
            expected_revisions(),
        )
        connection.execute("UPDATE alembic_version SET version_num = 'older'")
    response = client.get("/health/ready")
    assert response.status_code == 503
    assert "was rolled back" in response.json()["detail"]


def test_ready_without_a_ledger(client: TestClient, database: Settings) -> None:
    with connect_to_server(database, database.postgres_db) as connection:
        connection.execute("DROP TABLE migration_ledger")
    assert client.get("/health/ready").status_code == 200


def test_a_role_that_may_not_read_the_ledger_is_told(database: Settings) -> None:
    with connect_to_server(database, database.postgres_db) as connection:
        connection.execute("CREATE ROLE reader LOGIN PASSWORD 'reader'")
        connection.execute("GRANT SELECT ON alembic_version TO reader")
        reader = {"postgres_user": "reader", "postgres_password": SecretStr("reader")}
        with TestClient(create_app(database.model_copy(update=reader))) as client:
            assert client.get("/health/ready").status_code == 200
            connection.execute("UPDATE alembic_version SET version_num = 'other'")
            body = client.get("/health/ready").json()
            assert (body["ready"], body["database"]) == (False, "reachable")
            assert "GRANT SELECT ON migration_ledger TO reader" in body["detail"]
        connection.execute("DROP OWNED BY reader")
        connection.execute("DROP ROLE reader")


def test_not_ready_without_the_database(client: TestClient, database: Settings) -> None:
    with connect_to_server(database) as connection:
        drop_database(connection, database.postgres_db)
    response = client.get("/health/ready")
    assert response.status_code == 503
    assert response.json()["database"] == "unreachable"
