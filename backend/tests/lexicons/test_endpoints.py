from __future__ import annotations

import time

import pytest

from app.models import Lexicon, Script
from tests.service import NOBODY, Service

PATH = "/lexicons"
ENTRY = {"written": "Moksori", "spoken": "큰소리"}


def create(service: Service, *entries: dict, **body: object):
    return service.post(PATH, json={"name": "제품 이름", "entries": list(entries) or [ENTRY]} | body)


def spoken(service: Service, text: str, **body: object) -> str:
    answer = service.post("/text/normalize", role="viewer", json={"text": text} | body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["text"])


def test_a_reading_shows_how_it_came_about(service: Service) -> None:
    answer = service.post("/text/normalize", role="viewer", json={"text": "3,000원은 漢 쪽으로"}).json()
    assert answer["text"].startswith("삼천 원은")
    [money] = [span for span in answer["trace"] if "3,000" in span["written"]]
    assert answer["text"][money["spoken_start"] : money["spoken_end"]] == money["spoken"]
    assert answer["unclear"][0]["why"]
    assert "".join(part["text"] for part in answer["parts"]).startswith("삼천")


def test_an_entry_goes_before_every_rule(any_service: Service) -> None:
    service = any_service
    made = create(service)
    assert made.status_code == 201
    assert (made.json()["version"], made.json()["size"], made.json()["entries"]) == (1, 1, [ENTRY])
    assert spoken(service, "Moksori입니다") == "큰소리입니다"
    assert service.delete(f"{PATH}/{made.json()['id']}").status_code == 204
    assert spoken(service, "Moksori입니다") != "큰소리입니다"


def test_a_change_names_the_scripts_it_changes_and_keeps_what_was(any_service: Service) -> None:
    service = any_service
    model = service.model()
    touched, other = service.script(model, "Moksori입니다."), service.script(model, "안녕하세요.")
    for script in (touched, other):
        service.generate(script)
    made = create(service).json()
    assert made["changed_scripts"] == [touched]
    items = service.batch([touched, other])["scripts"]
    assert [item["status"] for item in items] == ["accepted", "unchanged"]
    new = {"written": "Moksori", "spoken": "목 소리"}
    changed = service.put(f"{PATH}/{made['id']}", json={"entries": [new]}).json()
    assert (changed["version"], changed["changed_scripts"]) == (2, [touched])
    same = service.put(f"{PATH}/{made['id']}", json={"entries": [new], "name": "다른 이름"}).json()
    assert (same["version"], same["changed_scripts"], same["name"]) == (2, [], "다른 이름")
    [before] = service.get(f"{PATH}/{made['id']}/versions").json()["items"]
    assert (before["version"], before["entries"]) == (1, [ENTRY])


def test_a_scripts_own_goes_before_the_shared_one(any_service: Service) -> None:
    service = any_service
    script = service.script(text="Moksori입니다.")
    create(service)
    create(service, {"written": "Moksori", "spoken": "모크소리"}, script_id=script)
    assert spoken(service, "Moksori") == "큰소리"
    assert spoken(service, "Moksori", script_id=script) == "모크소리"
    assert service.generate(script)["take"]["spoken_text"] == "모크소리입니다."
    assert service.delete(f"/voice-actors/tts-scripts/{script}").status_code == 204
    assert (service.count(Script), service.count(Lexicon)) == (0, 1)


@pytest.mark.parametrize("form", ["csv", "pls"])
def test_out_and_in_again(service: Service, form: str) -> None:
    made = create(service, ENTRY, {"written": 'A,"B"<&>', "spoken": "에이 비"}).json()
    out = service.get(f"{PATH}/{made['id']}/export", params={"format": form})
    assert out.status_code == 200
    back = service.post(
        f"{PATH}/import",
        params={"format": form},
        files={"file": (f"x.{form}", out.content)},
        data={"name": "다시"},
    )
    assert (back.status_code, back.json()["entries"]) == (201, made["entries"])


@pytest.mark.parametrize(
    ("form", "data"),
    [
        ("csv", b"\xff\xfe"),
        ("csv", b"one column\n"),
        ("csv", ("가" * 201 + ",나\n").encode()),
        ("csv", "가\0,나\n".encode()),
        ("csv", b"\n".join(b"a%d,b" % number for number in range(20_001))),
        ("pls", b"<lexicon"),
        ("pls", b""),
        ("pls", b'<!DOCTYPE x [<!ENTITY a "b">]><lexicon>&a;</lexicon>'),
        ("pls", b"<other/>"),
    ],
)
def test_a_file_that_is_no_lexicon_is_refused(service: Service, form: str, data: bytes) -> None:
    refused = service.post(
        f"{PATH}/import", params={"format": form}, files={"file": ("x", data)}, data={"name": "x"}
    )
    assert refused.status_code == 422, refused.text
    assert service.count(Lexicon) == 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "body.name"),
        ({"entries": [{"written": "", "spoken": "x"}]}, "body.entries.0.written"),
        ({"entries": [{"written": "a" * 201, "spoken": "x"}]}, "body.entries.0.written"),
        ({"entries": [{"written": "a\0", "spoken": "x"}]}, "body.entries.0.written"),
        ({"entries": [{"written": "a"}]}, "body.entries.0.spoken"),
        ({"entries": "a"}, "body.entries"),
        ({"lines": []}, "body.lines"),
    ],
)
def test_a_lexicon_of_another_form_is_refused_by_field(service: Service, body: dict, field: str) -> None:
    refused = service.post(PATH, json={"name": "x", "entries": [ENTRY]} | body)
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == [field]


@pytest.mark.parametrize("lexicon_id", [NOBODY, "nonsense", "%00"])
def test_an_unknown_lexicon_is_not_there(service: Service, lexicon_id: str) -> None:
    path = f"{PATH}/{lexicon_id}"
    answers = [
        service.get(path),
        service.put(path, json={"name": "x"}),
        service.delete(path),
        service.get(f"{path}/versions"),
        service.get(f"{path}/export"),
    ]
    assert {(each.status_code, each.json()["code"]) for each in answers} == {(404, "lexicon_not_found")}


def test_a_lexicon_for_a_script_needs_one(service: Service) -> None:
    assert create(service, script_id=NOBODY).json()["code"] == "script_not_found"


@pytest.mark.parametrize("text", ["", "가" * 5001, "a\0b"])
def test_a_text_has_a_form(service: Service, text: str) -> None:
    assert service.post("/text/normalize", json={"text": text}).status_code == 422


def test_broken_markup_is_told(service: Service) -> None:
    for text in ("<speak>안녕", '<speak><break time="soon"/></speak>'):
        answer = service.post("/text/normalize", json={"text": text})
        assert (answer.status_code, answer.json()["code"]) in [(422, "bad_markup")]


def entries(count: int, spoken: str = "가") -> list[dict[str, str]]:
    return [{"written": f"a{number}", "spoken": spoken} for number in range(count)]


def test_lexicons_together_may_hold_more_than_one_of_them(service: Service) -> None:
    script = service.script(text="Moksori a1입니다.")
    for made in (create(service, *entries(20_000)), create(service), create(service, script_id=script)):
        assert made.status_code == 201
    assert spoken(service, "Moksori a1입니다.", script_id=script) == "큰소리 가입니다."
    assert service.generate(script)["take"]["spoken_text"] == "큰소리 가입니다."


def test_a_large_lexicon_is_changed_at_once(service: Service) -> None:
    touched = service.script(text="a19999입니다.")
    path = f"{PATH}/{create(service, *entries(20_000)).json()['id']}"
    began = time.process_time()
    changed = service.put(path, json={"entries": [*entries(19_999), *entries(20_000, "나")[-1:]]})
    assert changed.json()["changed_scripts"] == [touched]
    assert time.process_time() - began < 5
