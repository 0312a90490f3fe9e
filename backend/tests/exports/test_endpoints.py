from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from functools import partial
from typing import Any

import httpx
import pytest

from app.kit.database import in_lots
from app.models import Take
from tests.service import NOBODY, Service
from tests.sheets.factories import TEXT, generated_sheet, import_again, lines, make_sheet


def export(
    service: Service, sheet: str | None = None, preset: str = "asterisk", **body: Any
) -> httpx.Response:
    source = {"sheet_id": sheet} if sheet else {}
    return service.post("/exports", json={**source, "preset": preset, **body})


def package(answer: httpx.Response) -> dict[str, bytes]:
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as zipped:
        assert zipped.testzip() is None
        return {name: zipped.read(name) for name in zipped.namelist()}


def test_an_asterisk_package(any_service: Service) -> None:
    service = any_service
    sheet = generated_sheet(service)
    answer = export(service, sheet)
    assert answer.headers["content-type"] == "application/zip"
    files = package(answer)
    formats = ("ulaw", "alaw", "sln", "sln16", "wav")
    assert list(files) == [
        *(f"sounds/ko/ivr/guide_{number}.{form}" for number in (1, 2, 3) for form in formats),
        "manifest.csv", "manifest.json",
    ]  # fmt: skip
    manifest = json.loads(files["manifest.json"])
    assert (manifest["preset"], manifest["sheet_id"], manifest["sheet_version"]) == ("asterisk", sheet, 1)
    takes = {line["code"]: line["take"]["id"] for line in lines(service, sheet)}
    for entry in manifest["files"]:
        assert hashlib.sha256(files[entry["file"]]).hexdigest() == entry["sha256"]
        assert entry["take_id"] == takes[entry["code"]]
        assert (entry["engine"], entry["voice"]) == ("mock", "테스트 모델 v1.0")
    first = manifest["files"][0]
    assert (first["text"], first["reading"], first["format"]) == (
        "안내 말씀 1입니다.",
        "안내 말씀 일입니다.",
        "ulaw",
    )
    assert len(files[first["file"]]) == round(first["seconds"] * 8000)
    rows = list(csv.DictReader(io.StringIO(files["manifest.csv"].decode("utf-8-sig"))))
    assert [row["sha256"] for row in rows] == [entry["sha256"] for entry in manifest["files"]]
    assert package(export(service, sheet)) == files


@pytest.mark.parametrize(
    ("preset", "options", "names"),
    [
        ("freeswitch", {"formats": ["wav8000", "PCMU"]},
         ["ko/kr/teseuteu_model_v1.0/ivr/8000/guide_1.wav", "ko/kr/teseuteu_model_v1.0/ivr/8000/guide_1.PCMU"]),
        ("genesys-cloud", {}, ["guide_1.wav"]),
        ("avaya", {"formats": ["alaw"], "name": "{number}"}, ["0001.wav"]),
        ("custom", {"container": "raw", "codec": "ulaw", "rate": 8000, "folder": "{voice}", "name": "{code}-안내"},
         ["테스트 모델 v1.0/A1-안내.ulaw".replace(" ", "_")]),
    ],
)  # fmt: skip
def test_packages_of_other_systems(
    service: Service, preset: str, options: dict[str, Any], names: list[str]
) -> None:
    files = package(export(service, generated_sheet(service), preset, options=options))
    assert list(files)[: len(names)] == names


def test_what_is_not_ready_stops_an_export_with_a_list(service: Service) -> None:
    sheet = generated_sheet(service)
    first, second, third = lines(service, sheet)
    import_again(service, sheet, TEXT.replace("말씀 2", "바뀐 말 2") + "A4,새 안내입니다.,,,,,\n")
    key = service.row(Take, third["take"]["id"]).audio_key
    service.container.store.delete("takes", key)
    answer = export(service, sheet)
    assert (answer.status_code, answer.json()["code"]) == (409, "export_incomplete")
    assert [(each["code"], each["reason"]) for each in answer.json()["lines"]] == [
        ("A2", "out_of_date"), ("A3", "file_missing"), ("A4", "no_take"),
    ]  # fmt: skip
    files = package(export(service, sheet, allow_incomplete=True))
    manifest = json.loads(files["manifest.json"])
    assert {entry["code"] for entry in manifest["files"]} == {"A1"}
    assert [each["code"] for each in manifest["left_out"]] == ["A2", "A3", "A4"]
    assert first["code"] == "A1" and second["code"] == "A2"


def test_a_file_that_was_cut_short_counts_as_missing(service: Service) -> None:
    sheet = generated_sheet(service)
    key = service.row(Take, lines(service, sheet)[0]["take"]["id"]).audio_key
    service.container.store.put("takes", key, io.BytesIO(b"RIFF"))
    assert export(service, sheet).json()["lines"][0]["reason"] == "file_missing"


def test_approval_is_asked_for_where_the_sheet_demands_it(service: Service) -> None:
    sheet = generated_sheet(service, requires_approval="true")
    for line in lines(service, sheet)[:2]:
        service.post(f"/sheets/{sheet}/lines/{line['id']}/approve")
    answer = export(service, sheet)
    assert [(each["code"], each["reason"]) for each in answer.json()["lines"]] == [("A3", "not_approved")]
    assert len(package(export(service, sheet, allow_incomplete=True, options={"formats": ["ulaw"]}))) == 4
    assert export(service, sheet, require_approval=False).status_code == 200


def test_a_sheet_without_any_take_has_nothing_to_export(service: Service) -> None:
    answer = export(service, make_sheet(service), allow_incomplete=True)
    assert (answer.status_code, answer.json()["code"]) == (409, "nothing_to_export")


@pytest.mark.parametrize(
    ("names", "preset", "problem"),
    [
        (("a", "A"), "asterisk", "name_twice"),
        (("환영", "hwanyeong"), "asterisk", "name_twice"),
        (("안 내", "안_내"), "custom", "name_twice"),
        (("ok", "../../etc/passwd"), "asterisk", "bad_name"),
        (("ok", "con"), "custom", "reserved_name"),
        (("ok", "案内"), "avaya", "not_ascii"),
        (("ok", "가나다라마바사아자차카타파하"), "avaya", "name_too_long"),
        (("ok", "1st"), "genesys-cloud", "name_begins_wrong"),
    ],
)
def test_names_are_checked_before_anything_is_made(
    service: Service, names: tuple[str, str], preset: str, problem: str
) -> None:
    sheet = generated_sheet(service, f"코드,멘트,파일명\n1,하나,{names[0]}\n2,둘,{names[1]}\n")
    answer = export(service, sheet, preset)
    assert (answer.status_code, answer.json()["code"]) == (422, "export_names")
    assert [(each["code"], each["problem"]) for each in answer.json()["names"]] == [("2", problem)]
    assert export(service, sheet, preset, allow_incomplete=True).status_code == 422


def test_both_codecs_of_avaya_would_be_one_file(service: Service) -> None:
    answer = export(service, generated_sheet(service), "avaya", options={"formats": ["ulaw", "alaw"]})
    assert {each["problem"] for each in answer.json()["names"]} == {"name_twice"}


def test_genesys_takes_no_file_over_25_mb(service: Service) -> None:
    sheet = generated_sheet(service)
    with service.container.database.session() as session:
        session.get_one(Take, lines(service, sheet)[0]["take"]["id"]).seconds = 3200.0
    assert export(service, sheet, "genesys-cloud").json()["names"][0]["problem"] == "too_large"
    assert export(service, sheet, "avaya").status_code == 200


def test_a_plan_names_every_file_and_makes_none(service: Service) -> None:
    sheet = generated_sheet(service, TEXT + "A4,넷,,,guide_1,ivr,\n")
    planned = service.post("/exports/plan", json={"sheet_id": sheet, "preset": "avaya"}).json()
    assert [each["file"] for each in planned["files"]] == ["guide_1.wav", "guide_2.wav", "guide_3.wav"]
    assert [(each["code"], each["problem"]) for each in planned["names"]] == [("A4", "name_twice")]
    assert planned["announcements"] == 3 and planned["left_out"] == []


def test_scripts_without_a_sheet(service: Service) -> None:
    model = service.model()
    scripts = [service.script(model, text) for text in ("하나입니다.", "둘입니다.")]
    for script in scripts:
        service.generate(script)
    service.put(f"/voice-actors/tts-scripts/{scripts[1]}", json={"title": "두번째"})
    files = package(export(service, None, script_ids=scripts[::-1], options={"formats": ["ulaw"]}))
    assert list(files)[:2] == ["sounds/ko/dubeonjjae.ulaw", "sounds/ko/annae.ulaw"]
    refused = export(service, None, script_ids=[scripts[0], NOBODY, "x"])
    assert [each["reason"] for each in refused.json()["lines"]] == ["unknown", "unknown"]
    asked = export(service, None, script_ids=scripts[:1], require_approval=True)
    assert [each["reason"] for each in asked.json()["lines"]] == ["not_approved"]


def test_numbers_follow_the_order_in_which_scripts_were_named(
    any_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = any_service
    monkeypatch.setattr("app.exports.items.in_lots", partial(in_lots, most=2))
    model = service.model()
    scripts = [service.script(model, f"{number}번입니다.") for number in range(3)][::-1]
    for script in scripts:
        service.generate(script)
    options = {"formats": ["ulaw"], "name": "p_{number}"}
    answer = package(
        export(service, None, script_ids=[NOBODY, *scripts], options=options, allow_incomplete=True)
    )
    files = json.loads(answer["manifest.json"])["files"]
    assert [(each["file"][-11:-5], each["text"]) for each in files] == [
        ("p_0001", "2번입니다."), ("p_0002", "1번입니다."), ("p_0003", "0번입니다."),
    ]  # fmt: skip


def test_a_variant_has_a_name_of_its_own(service: Service) -> None:
    sheet = generated_sheet(
        service, "코드,멘트,이름,파일명\n인사,{이름}님,김철수|이영희,\n끝,{이름}님,박|최,{이름}_bye\n"
    )
    files = package(export(service, sheet, options={"formats": ["sln"]}))
    assert [name.removeprefix("sounds/ko/") for name in files][:4] == [
        "insa_gimcheolsu.sln", "insa_iyeonghui.sln", "bak_bye.sln", "choe_bye.sln",
    ]  # fmt: skip


def test_a_cell_that_would_run_is_marked_in_the_manifest(service: Service) -> None:
    sheet = generated_sheet(service, "코드,멘트\n'=1,안내입니다.\n")
    files = package(export(service, sheet, "custom"))
    assert "'=1," in files["manifest.csv"].decode("utf-8-sig")
    assert json.loads(files["manifest.json"])["files"][0]["code"] == "=1"


@pytest.mark.parametrize(
    "body",
    [
        {"preset": "asterisk"}, {"preset": "cisco", "sheet_id": NOBODY},
        {"preset": "asterisk", "sheet_id": NOBODY, "options": {"formats": ["gsm"]}},
        {"preset": "custom", "sheet_id": NOBODY, "options": {"name": "{text.__class__}"}},
        {"preset": "avaya", "sheet_id": NOBODY, "options": {"rate": 8000}},
    ],
)  # fmt: skip
def test_wrong_requests(service: Service, body: dict[str, Any]) -> None:
    assert service.post("/exports", json=body).status_code == 422
    assert service.post("/exports/plan", json=body).status_code == 422


def test_who_may_do_what(service: Service) -> None:
    body = {"preset": "asterisk", "sheet_id": NOBODY}
    assert service.post("/exports", json=body).status_code == 404
    assert service.post("/exports", json=body, role="viewer").status_code == 404
    assert service.post("/exports", json=body, role=None).status_code == 401
    presets = service.get("/exports/presets", role="viewer").json()
    assert [each["name"] for each in presets] == [
        "asterisk",
        "freeswitch",
        "genesys-cloud",
        "avaya",
        "custom",
    ]
