from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from app.models import User
from tests.service import NOBODY, Service

PASSWORD = "correct horse battery"


def add(service: Service, name: str, role: str = "viewer"):
    body = {"username": name, "password": PASSWORD, "role": role}
    return service.post("/users", role="admin", json=body)


def test_users_are_made_listed_and_changed(any_service: Service) -> None:
    service = any_service
    made = add(service, "김하늘")
    assert made.status_code == 201
    assert "password" not in made.text
    listed = service.get("/users", role="admin").json()["items"]
    assert [(each["username"], each["role"], each["active"]) for each in listed] == [
        ("김하늘", "viewer", True)
    ]
    path = f"/users/{made.json()['id']}"
    changed = service.patch(path, role="admin", json={"role": "producer", "password": "another password"})
    assert (changed.status_code, changed.json()["role"]) == (200, "producer")
    body = {"username": "김하늘", "password": "another password"}
    assert service.post("/login", role=None, json=body).status_code == 200
    assert service.post("/login", role=None, json=body | {"password": PASSWORD}).status_code == 401


def test_passwords_are_kept_as_argon2_hashes(service: Service) -> None:
    stored = service.row(User, add(service, "kim").json()["id"]).password_hash
    assert stored.startswith("$argon2id$")
    assert PASSWORD not in stored


def test_a_name_is_free_once(any_service: Service) -> None:
    assert add(any_service, "kim").status_code == 201
    again = add(any_service, "kim")
    assert (again.status_code, again.json()["code"]) == (409, "name_taken")


def test_two_users_of_one_name_at_once_are_a_conflict_too(
    any_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look before the insert is a kindness; the database has the last word."""
    from app.auth import service as auth

    assert add(any_service, "kim").status_code == 201
    monkeypatch.setattr(auth, "_is_taken", lambda *_: False)
    again = add(any_service, "kim")
    assert (again.status_code, again.json()["code"]) == (409, "name_taken")


@pytest.mark.parametrize("change", [{"role": "viewer"}, {"active": False}])
def test_the_last_administrator_stays(any_service: Service, change: dict) -> None:
    service = any_service
    first = add(service, "first", "admin").json()["id"]
    refused = service.patch(f"/users/{first}", role="admin", json=change)
    assert (refused.status_code, refused.json()["code"]) == (409, "last_administrator")
    add(service, "second", "admin")
    assert service.patch(f"/users/{first}", role="admin", json=change).status_code == 200


def test_an_unknown_user_is_not_there(service: Service) -> None:
    for user_id in (NOBODY, "nonsense", "%00", "%F0%9F%99%82"):
        answer = service.patch(f"/users/{user_id}", role="admin", json={"active": True})
        assert (answer.status_code, answer.json()["code"]) == (404, "user_not_found")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"username": "kim", "password": "short"}, "body.password"),
        ({"username": "kim lee", "password": PASSWORD}, "body.username"),
        ({"username": "kim\n", "password": PASSWORD}, "body.username"),
        ({"username": "", "password": PASSWORD}, "body.username"),
        ({"username": "kim", "password": PASSWORD, "role": "root"}, "body.role"),
        ({"username": "kim", "password": PASSWORD, "admin": True}, "body.admin"),
    ],
)
def test_a_user_of_another_form_is_refused_by_field(service: Service, body: dict, field: str) -> None:
    answer = service.post("/users", role="admin", json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_two_administrators_cannot_demote_each_other_at_once(any_service: Service) -> None:
    service = any_service
    service.token("admin")
    ids = [add(service, name, "admin").json()["id"] for name in ("first", "second")]

    def demote(user_id: str) -> int:
        return service.patch(f"/users/{user_id}", role="admin", json={"role": "viewer"}).status_code

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(demote, ids)) == [200, 409]
