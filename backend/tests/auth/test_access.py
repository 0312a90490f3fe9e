"""Every route of the OpenAPI document refuses who has no token, a wrong one, or one that may not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import jwt
import pytest
import sqlalchemy as sa

from app.auth import secrets
from app.kit.clock import now
from app.kit.database import Database
from app.models import ApiToken
from tests.service import API, NOBODY, Service

OPEN = {f"{API}/login"}
# A viewer may read, and ask what would be; everything else that changes something needs a producer.
ADMINISTRATION = ("/tokens", "/users")


def routes(service: Service) -> list[tuple[str, str]]:
    """Method and path of every route that needs a token, ids filled in."""
    return [
        (method.upper(), path)
        for path, methods in service.app.openapi()["paths"].items()
        for method in methods
        if path.startswith(API) and path not in OPEN  # those that speak as other services do: tests/clients
    ]


def call(service: Service, method: str, path: str, token: str | None) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    for name in ("actor_id", "sample_id", "model_id", "script_id", "batch_id", "generation_id"):
        path = path.replace(f"{{{name}}}", NOBODY)
    path = path.replace("{token_id}", NOBODY).replace("{user_id}", NOBODY)
    answer = service.client.request(method, path, headers=headers)
    if answer.status_code in (401, 403):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] in ("invalid_token", "not_allowed")
    if answer.status_code == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
    return answer.status_code


def needed(method: str, path: str) -> str:
    if path.removeprefix(API).startswith(ADMINISTRATION):
        return "admin"
    return (
        "viewer"
        if method == "GET" or path.endswith(("/text/normalize", "/exports", "/exports/plan"))
        else "producer"
    )


def test_every_route_refuses_strangers_and_wrong_tokens(service: Service) -> None:
    key = secrets.signing_key(service.container.settings.state_dir)
    unknown_user, _ = secrets.sign_login(NOBODY, "mark", key, 60)
    forged, _ = secrets.sign_login(NOBODY, "mark", "x" * 64, 60)
    unsigned = jwt.encode({"sub": NOBODY, "exp": now() + timedelta(hours=1)}, "", algorithm="none")
    wrong = [None, "wrong", "mks_wrong", "a.b.c", unknown_user, forged, unsigned]
    found = routes(service)
    assert len(found) > 35
    assert {(r, t): call(service, *r, t) for r in found for t in wrong[:2]} == dict.fromkeys(
        [(r, t) for r in found for t in wrong[:2]], 401
    )
    assert {call(service, *found[0], token) for token in wrong} == {401}


def test_every_route_refuses_lesser_roles(service: Service) -> None:
    tokens = {role: service.token(role) for role in ("viewer", "producer", "admin")}
    ranks = list(tokens)
    for method, path in routes(service):
        least = ranks.index(needed(method, path))
        for rank, role in enumerate(ranks):
            status = call(service, method, path, tokens[role])
            assert (status == 403) == (rank < least), (method, path, role, status)
            assert status != 401


def test_a_token_with_fewer_scopes_may_less_than_its_role(service: Service) -> None:
    read_only = service.token("admin", scopes=["read"])
    assert call(service, "GET", f"{API}/voice-actors", read_only) == 200
    assert call(service, "POST", f"{API}/voice-actors", read_only) == 403
    assert call(service, "GET", f"{API}/users", read_only) == 403


def test_an_expired_token_is_refused(any_service: Service) -> None:
    service = any_service
    token = service.token("viewer", expires_in_days=1)
    assert call(service, "GET", f"{API}/voice-actors", token) == 200
    with service.container.database.session() as session:
        session.query(ApiToken).update({"expires_at": now() - timedelta(seconds=1)})
    answer = service.client.get(f"{API}/voice-actors", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401
    assert "expired" in answer.json()["detail"]


def test_the_use_of_a_token_is_noted(service: Service) -> None:
    token = service.token("viewer")
    assert call(service, "GET", f"{API}/voice-actors", token) == 200
    listed = service.get("/tokens", role="admin").json()["items"]
    assert {each["name"]: bool(each["last_used_at"]) for each in listed}["viewer"]


def test_a_database_that_only_reads_is_read_and_diagnosed(any_service: Service) -> None:
    service = any_service
    token = service.token("producer")
    with read_only(service.container.database):
        assert call(service, "GET", f"{API}/voice-actors", token) == 200
        assert call(service, "GET", f"{API}/voice-actors/debug/diagnosis", token) == 200
        refused = service.post("/voice-actors", json={"name": "성우", "gender": "female"})
    assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")


@contextmanager
def read_only(database: Database) -> Iterator[None]:
    """A database that refuses what is written, as after a fail-over or on a disk that was mounted so."""
    sqlite = database.url.startswith("sqlite")
    word = "PRAGMA query_only = on" if sqlite else "SET TRANSACTION READ ONLY"

    def refuse(connection: sa.Connection) -> None:
        connection.exec_driver_sql(word)

    sa.event.listen(database._writing, "begin", refuse)
    try:
        yield
    finally:
        sa.event.remove(database._writing, "begin", refuse)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic YWRtaW46eA==", "mks_x", "Bearer a b c"])
def test_an_authorization_of_another_kind_is_no_token(service: Service, header: str) -> None:
    answer = service.client.get(f"{API}/voice-actors", headers={"Authorization": header})
    assert answer.status_code == 401
