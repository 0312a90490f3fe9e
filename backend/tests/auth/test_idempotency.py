from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from app.kit.clock import now
from app.models import Generation, IdempotencyKey, VoiceActor
from tests.databases import scanned
from tests.service import Service

KEY = {"Idempotency-Key": "order 66"}


def create(service: Service, name: str = "하나", **options):
    return service.post("/voice-actors/", json={"name": name}, **{"headers": KEY} | options)


def test_the_same_request_is_answered_as_the_first_time(any_service: Service) -> None:
    first, second = create(any_service), create(any_service)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert any_service.count(VoiceActor) == 1


def test_a_key_stands_for_one_request(service: Service) -> None:
    create(service)
    other = create(service, "둘")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert service.count(VoiceActor) == 1


def test_a_key_is_its_callers_own(service: Service) -> None:
    assert create(service).json()["id"] != create(service, role="admin").json()["id"]


def test_a_generation_with_a_key_is_made_once(service: Service) -> None:
    path = f"/voice-actors/tts-scripts/{service.script()}/generate"
    answers = [service.post(path, headers=KEY).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert service.count(Generation) == 1
    assert service.post(path).json() != answers[0]


def test_keys_are_forgotten_after_two_days(service: Service) -> None:
    first = create(service).json()
    with service.container.database.session() as session:
        session.execute(update(IdempotencyKey).values(created_at=now() - timedelta(days=2, minutes=1)))
    with scanned(service.container.database) as tables:
        create(service, headers={"Idempotency-Key": "another"})  # clears what is old
    assert "idempotency_keys" not in tables  # at every such request
    assert create(service).json()["id"] != first["id"]


@pytest.mark.parametrize("key", ["x" * 201, ""])
def test_a_key_has_a_length(service: Service, key: str) -> None:
    answer = create(service, headers={"Idempotency-Key": key})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "header.idempotency-key"


def test_the_same_key_at_the_same_time_makes_one(
    any_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that came together both find no answer; the later commit must not make a second thing."""
    from app.auth import idempotency

    first = create(any_service)
    with monkeypatch.context() as late:
        late.setattr(idempotency._Once, "_known", lambda *_: None)
        second = create(any_service)
    assert (second.status_code, second.json()["code"]) == (409, "request_under_way")
    assert any_service.count(VoiceActor) == 1
    assert create(any_service).json() == first.json()
