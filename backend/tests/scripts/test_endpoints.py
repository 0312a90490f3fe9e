from __future__ import annotations

import pytest

from app.models import Generation, Script, Take
from tests.service import NOBODY, TEXT, Service

PATH = "/voice-actors/tts-scripts"


def create(service: Service, **body):
    return service.post(PATH, json={"text": TEXT} | body)


@pytest.mark.parametrize(
    ("text", "said"), [("", "at least 1 character"), ("가" * 5001, "at most 5000 characters")]
)
def test_what_is_wrong_with_a_text_is_said_in_characters(service: Service, text: str, said: str) -> None:
    answer = service.post(PATH, json={"text": text, "voice_model_id": service.model()})
    [error] = answer.json()["errors"]
    assert said in error["message"]


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_script_is_made_read_changed_and_deleted(any_service: Service, slash: str) -> None:
    service = any_service
    model = service.model()
    body = {
        "text": "상담원 연결은 0번을 눌러주세요.",
        "voice_model_id": model,
        "title": "상담원",
        "speed": 1.25,
        "seed": 7,
    }
    made = service.post(PATH + slash, json=body)
    assert made.status_code == 201
    script = made.json()
    assert {name: script[name] for name in body} == body
    assert (script["language"], script["current_take"]) == ("ko", None)
    one = f"{PATH}/{script['id']}{slash}"
    assert service.get(one).json() == script
    changed = service.put(one, json={"text": "다른 안내"}).json()
    assert changed == script | {
        "text": "다른 안내", "updated_at": changed["updated_at"], "stale_at": changed["stale_at"],
    }  # fmt: skip
    assert changed["stale_at"]
    assert service.delete(one).status_code == 204
    assert service.get(one).json()["code"] == "script_not_found"


def test_lists_search_filter_and_page(any_service: Service) -> None:
    service = any_service
    first, second = service.model(), service.model()
    create(service, voice_model_id=first, title="휴무 안내", text="오늘은 쉽니다.")
    create(service, voice_model_id=first, title="인사", text="50% 할인")
    create(service, voice_model_id=second, title="인사", text="안녕하세요")

    def texts(**params: object) -> list[str]:
        return [each["text"] for each in service.get(PATH, params=params).json()["items"]]

    assert texts() == ["안녕하세요", "50% 할인", "오늘은 쉽니다."]
    assert texts(search="휴무") == ["오늘은 쉽니다."]
    assert texts(search="%") == ["50% 할인"]
    assert texts(voice_model_id=first) == ["50% 할인", "오늘은 쉽니다."]
    assert texts(voice_model_id=first, search="인사") == ["50% 할인"]
    assert texts(voice_model_id="nonsense") == []
    page = service.get(PATH, params={"limit": 2}).json()
    assert (
        service.get(PATH, params={"cursor": page["next_cursor"]}).json()["items"][0]["text"]
        == "오늘은 쉽니다."
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"text": ""}, "body.text"),
        ({"text": " \n\t"}, "body.text"),
        ({"text": "가" * 5001}, "body.text"),
        ({"text": "a\0b"}, "body.text"),
        ({"text": None}, "body.text"),
        ({"text": 5}, "body.text"),
        ({"title": "x" * 201}, "body.title"),
        ({"title": "a\x9bb"}, "body.title"),
        ({"speed": 0.49}, "body.speed"),
        ({"speed": 2.01}, "body.speed"),
        ({"speed": "NaN"}, "body.speed"),
        ({"speed": "fast"}, "body.speed"),
        ({"seed": -1}, "body.seed"),
        ({"seed": 2**31}, "body.seed"),
        ({"seed": 10**400}, "body.seed"),
        ({"seed": 1.5}, "body.seed"),
        ({"language": "Korean"}, "body.language"),
        ({"voice_model_id": "x" * 101}, "body.voice_model_id"),
        ({"voice": "x"}, "body.voice"),
    ],
)
def test_a_wrong_value_is_refused_by_field(service: Service, change: dict, field: str) -> None:
    refused = create(service, **{"voice_model_id": NOBODY} | change)
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == [field]


def test_five_thousand_characters_are_taken(service: Service) -> None:
    assert create(service, voice_model_id=service.model(), text="가" * 5000).status_code == 201


@pytest.mark.parametrize("model_id", [NOBODY, "nonsense", "a\0b", ""])
def test_a_script_needs_a_voice(service: Service, model_id: str) -> None:
    refused = create(service, voice_model_id=model_id)
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_voice_model")
    assert refused.json()["field"] == "voice_model_id"
    changed = service.put(f"{PATH}/{service.script()}", json={"voice_model_id": model_id})
    assert changed.status_code == 422


@pytest.mark.parametrize("script_id", [NOBODY, "nonsense", "%00", "x" * 300])
def test_an_unknown_script_is_not_there(service: Service, script_id: str) -> None:
    path = f"{PATH}/{script_id}"
    assert service.get(path).status_code == 404
    assert service.put(path, json={"title": "x"}).status_code == 404
    assert service.delete(path).status_code == 404
    assert service.post(f"{path}/generate").status_code == 404
    assert service.get(f"{path}/takes").status_code == 404
    assert service.get(f"{path}/generations").status_code == 404


def test_a_script_goes_with_its_generations_takes_and_files(any_service: Service) -> None:
    service = any_service
    script = service.script()
    service.generate(script)
    assert len(service.files("takes")) == 1
    assert service.delete(f"{PATH}/{script}").status_code == 204
    counts = [service.count(table) for table in (Script, Generation, Take)]
    assert (counts, service.files("takes")) == ([0, 0, 0], [])


def test_takes_and_generations_are_listed_newest_first(service: Service) -> None:
    script = service.script()
    made = [service.generate(script) for _ in range(2)]
    takes = service.get(f"{PATH}/{script}/takes").json()["items"]
    assert [take["generation_id"] for take in takes] == [each["id"] for each in made[::-1]]
    generations = service.get(f"{PATH}/{script}/generations").json()["items"]
    assert generations == made[::-1]
    shown = service.get(f"{PATH}/{script}").json()["current_take"]
    assert shown == takes[0]
    assert shown["engine"] == "mock"
    assert shown["simulated"] is True


def test_broken_markup_is_refused_with_its_place(service: Service) -> None:
    model, broken = service.model(), '<speak>\n<break time="soon"/></speak>'
    refused = create(service, voice_model_id=model, text=broken)
    assert (refused.status_code, refused.json()["code"], refused.json()["field"]) == (
        422,
        "bad_markup",
        "text",
    )
    assert "line 2, column 1: time is written like 500ms" in refused.json()["detail"]
    one = f"{PATH}/{create(service, voice_model_id=model, text=broken, language='en').json()['id']}"
    assert service.put(one, json={"language": "ko"}).json()["code"] == "bad_markup"
    assert service.put(one, json={"text": broken, "language": "ko"}).json()["code"] == "bad_markup"
    assert service.put(one, json={"title": "안내", "text": broken}).status_code == 200
    assert service.put(one, json={"text": "<speak>안녕하세요</speak>", "language": "ko"}).status_code == 200
