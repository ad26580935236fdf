from typing import Any

import pytest
from fastapi.testclient import TestClient

ROLES = "/api/v1/roles"


def create_role(client: TestClient, name: str) -> Any:
    response = client.post(ROLES, json={"name": name})
    assert response.status_code == 201
    return response.json()


def test_a_role_is_created_read_changed_and_deleted(client: TestClient) -> None:
    role = create_role(client, "editor")
    url = f"{ROLES}/{role['id']}"
    assert client.get(url).json() == role

    changed = client.patch(url, json={"description": "Edits."}).json()
    assert (changed["name"], changed["description"]) == ("editor", "Edits.")
    assert changed["updated_at"] > role["updated_at"]

    assert client.delete(url).status_code == 204
    assert client.get(url).status_code == 404


def test_roles_come_in_pages(client: TestClient) -> None:
    ids = [create_role(client, f"role {number}")["id"] for number in range(3)]
    first = client.get(ROLES, params={"limit": 2}).json()
    second = client.get(ROLES, params={"limit": 2, "after_id": first[-1]["id"]}).json()
    assert [role["id"] for role in first + second] == ids


def test_a_name_is_taken_once(client: TestClient) -> None:
    create_role(client, "editor")
    other = create_role(client, "author")
    assert client.post(ROLES, json={"name": "editor"}).status_code == 409
    response = client.patch(f"{ROLES}/{other['id']}", json={"name": "editor"})
    assert response.status_code == 409
    assert response.json()["detail"] == "There is a role named editor already."


@pytest.mark.parametrize(
    "data", [{}, {"name": ""}, {"name": " "}, {"name": "x" * 101}, {"name": "a\0b"}, {"name": None}]
)
def test_a_bad_name_is_refused(client: TestClient, data: dict[str, Any]) -> None:
    assert client.post(ROLES, json=data).status_code == 422
    role = create_role(client, "editor")
    if data:
        assert client.patch(f"{ROLES}/{role['id']}", json=data).status_code == 422
