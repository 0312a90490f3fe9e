from __future__ import annotations

import hashlib

import pytest

from app.models import ApiToken
from tests.service import API, NOBODY, Service


def create(service: Service, **body):
    return service.post("/tokens", role="admin", json={"name": "studio"} | body)


def test_a_token_is_shown_once_and_kept_as_a_hash(any_service: Service) -> None:
    service = any_service
    made = create(service, role="viewer", expires_in_days=30)
    assert made.status_code == 201
    token = made.json()["token"]
    assert service.client.get(
        f"{API}/voice-actors", headers={"Authorization": f"Bearer {token}"}
    ).status_code == 200  # fmt: skip
    listed = service.get("/tokens", role="admin")
    assert token not in listed.text
    named = {each["name"]: each for each in listed.json()["items"]}
    assert named["studio"]["scopes"] == ["read"]
    assert named["studio"]["expires_at"]
    row = service.row(ApiToken, made.json()["id"])
    assert row.token_hash == hashlib.sha256(token.encode()).hexdigest()
    assert token not in str(vars(row))


def test_a_revoked_token_opens_nothing(any_service: Service) -> None:
    service = any_service
    made = create(service).json()
    assert service.delete(f"/tokens/{made['id']}", role="admin").status_code == 204
    answer = service.client.get(f"{API}/voice-actors", headers={"Authorization": f"Bearer {made['token']}"})
    assert answer.status_code == 401
    again = service.delete(f"/tokens/{made['id']}", role="admin")
    assert (again.status_code, again.json()["code"]) == (404, "token_not_found")


@pytest.mark.parametrize("token_id", [NOBODY, "nonsense", "%00"])
def test_an_unknown_token_is_not_there(service: Service, token_id: str) -> None:
    assert service.delete(f"/tokens/{token_id}", role="admin").status_code == 404


def test_scopes_stay_within_the_role(service: Service) -> None:
    assert create(service, role="producer", scopes=["read"]).json()["scopes"] == ["read"]
    beyond = create(service, role="viewer", scopes=["read", "admin"])
    assert (beyond.status_code, beyond.json()["code"]) == (403, "not_allowed")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "body.name"),
        ({"name": "a\0b"}, "body.name"),
        ({"role": "root"}, "body.role"),
        ({"scopes": ["everything"]}, "body.scopes.0"),
        ({"scopes": []}, "body.scopes"),
        ({"expires_in_days": 0}, "body.expires_in_days"),
        ({"expires_in_days": 10**30}, "body.expires_in_days"),
        ({"token": "mks_mine"}, "body.token"),
    ],
)
def test_a_token_of_another_form_is_refused_by_field(service: Service, body: dict, field: str) -> None:
    answer = create(service, **body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
