from __future__ import annotations

import pytest

from app.models import Sample, VoiceActor
from tests.service import NOBODY, Service

GUIDE = {"name": "테스트 성우", "gender": "female", "age_range": "30s", "description": "테스트용 성우"}


def test_an_actor_is_registered_as_the_guide_says(any_service: Service) -> None:
    service = any_service
    made = service.post("/voice-actors/", json=GUIDE)
    assert made.status_code == 201
    assert {name: made.json()[name] for name in GUIDE} == GUIDE
    assert made.json()["created_at"].endswith(("Z", "+00:00"))
    assert service.get(f"/voice-actors/{made.json()['id']}").json() == made.json()


@pytest.mark.parametrize("path", ["/voice-actors", "/voice-actors/"])
def test_with_and_without_the_trailing_slash(service: Service, path: str) -> None:
    made = service.post(path, json=GUIDE)
    assert made.status_code == 201
    assert [each["id"] for each in service.get(path).json()["items"]] == [made.json()["id"]]
    one = f"/voice-actors/{made.json()['id']}{path.removeprefix('/voice-actors')}"
    assert service.get(one).status_code == 200
    assert service.patch(one, json={"name": "다른 이름"}).json()["name"] == "다른 이름"
    assert service.delete(one).status_code == 204


def test_a_change_changes_what_it_names(service: Service) -> None:
    made = service.post("/voice-actors/", json=GUIDE).json()
    changed = service.patch(f"/voice-actors/{made['id']}", json={"age_range": "40s"}).json()
    assert changed == made | {"age_range": "40s", "updated_at": changed["updated_at"]}
    assert changed["updated_at"] > made["updated_at"]


def test_search_looks_into_names_and_descriptions(any_service: Service) -> None:
    service = any_service
    for name, description in (("김하늘", "차분한 목소리"), ("이바다", "100% 밝음"), ("Kim_Lee", "")):
        service.post("/voice-actors/", json={"name": name, "description": description})

    def found(search: str) -> list[str]:
        return [
            each["name"] for each in service.get("/voice-actors", params={"search": search}).json()["items"]
        ]

    assert found("하늘") == ["김하늘"]
    assert found("차분") == ["김하늘"]
    assert found("kim") == ["Kim_Lee"]
    assert found("%") == ["이바다"]  # a sign, not a wildcard
    assert found("_") == ["Kim_Lee"]
    assert found("없음") == []


def test_lists_page_newest_first(any_service: Service) -> None:
    service = any_service
    ids = [service.actor(f"성우 {number}") for number in range(5)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    for size in (2, 2, 1):
        page = service.get("/voice-actors", params={"limit": 2} | cursor).json()
        assert len(page["items"]) == size
        seen += [each["id"] for each in page["items"]]
        cursor = {"cursor": page["next_cursor"]}
    assert page["next_cursor"] is None
    assert seen == ids[::-1]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"limit": 0}, "query.limit"),
        ({"limit": 501}, "query.limit"),
        ({"limit": "x"}, "query.limit"),
        ({"limit": 10**40}, "query.limit"),
        ({"search": "x" * 201}, "query.search"),
        ({"search": "a\0b"}, "query.search"),
    ],
)
def test_a_list_is_asked_for_in_one_form(service: Service, params: dict, field: str) -> None:
    answer = service.get("/voice-actors", params=params)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("cursor", ["x", "bm90IGFuIGlk", "é", "=", "AAAA\0"])
def test_a_cursor_of_another_make_is_refused(service: Service, cursor: str) -> None:
    answer = service.get("/voice-actors", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_cursor")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "body.name"),
        ({"name": "   "}, "body.name"),
        ({"name": "x" * 201}, "body.name"),
        ({"name": "a\0b"}, "body.name"),
        ({"name": "\x1b]0;PWN\x07"}, "body.name"),
        ({"name": "a\nb"}, "body.name"),
        ({"name": "a\u202eb"}, "body.name"),
        ({"name": None}, "body.name"),
        ({"name": ["x"]}, "body.name"),
        ({"gender": "unknown"}, "body.gender"),
        ({"age_range": "thirty"}, "body.age_range"),
        ({"age_range": "30s\n"}, "body.age_range"),
        ({"age_range": "٣٠s"}, "body.age_range"),
        ({"description": "x" * 5001}, "body.description"),
        ({"description": 5}, "body.description"),
        ({"nmae": "x"}, "body.nmae"),
    ],
)
def test_a_wrong_value_is_refused_by_field(service: Service, change: dict, field: str) -> None:
    answer = service.post("/voice-actors/", json=GUIDE | change)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert service.count(VoiceActor) == 0


def test_an_age_range_is_shown_as_it_should_be(service: Service) -> None:
    [error] = service.post("/voice-actors/", json=GUIDE | {"age_range": "30대"}).json()["errors"]
    assert '"30s"' in error["message"]


def test_half_a_character_is_refused(service: Service) -> None:
    body = b'{"name": "\\ud800"}'
    answer = service.post("/voice-actors/", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"{" * 100_000, b"[" * 100_000])
def test_what_is_no_json_object_is_refused(service: Service, body: bytes) -> None:
    answer = service.post("/voice-actors/", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["code"] in ("bad_request", "invalid")


@pytest.mark.parametrize("actor_id", [NOBODY, "nonsense", NOBODY.upper(), "%00", "..%2f..%2fetc", "x" * 300])
def test_an_unknown_actor_is_not_there(service: Service, actor_id: str) -> None:
    assert service.get(f"/voice-actors/{actor_id}").status_code == 404
    assert service.patch(f"/voice-actors/{actor_id}", json={"name": "x"}).status_code == 404
    assert service.delete(f"/voice-actors/{actor_id}").status_code == 404


def test_an_actor_goes_with_all_samples_and_their_files(any_service: Service) -> None:
    service = any_service
    actor = service.actor()
    service.sample(actor)
    assert len(service.files("samples")) == 2
    assert service.delete(f"/voice-actors/{actor}").status_code == 204
    assert (service.count(VoiceActor), service.count(Sample), service.files("samples")) == (0, 0, [])


def test_an_actor_with_voice_models_stays(any_service: Service) -> None:
    service = any_service
    actor = service.actor()
    model = service.model(actor)
    refused = service.delete(f"/voice-actors/{actor}")
    assert (refused.status_code, refused.json()["code"]) == (409, "voice_actor_in_use")
    assert service.delete(f"/voice-actors/models/{model}").status_code == 204
    assert service.delete(f"/voice-actors/{actor}").status_code == 204
