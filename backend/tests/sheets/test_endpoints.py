from __future__ import annotations

import io
from typing import Any

import openpyxl
import pytest

from app.models import Script, Sheet, SheetLine, Take, VoiceModel
from tests.service import NOBODY, Service
from tests.sheets.factories import (
    TEXT,
    generate,
    generated_sheet,
    import_again,
    lines,
    make_sheet,
    upload,
)


def test_a_preview_says_what_was_understood_and_keeps_nothing(service: Service) -> None:
    text = "번호,멘트코드,멘트,성우,부서\n1,A1,{고객명}님 안녕하세요.,없는 목소리,영업\n2,A2,㉾ 안내,,기술\n"
    answer = upload(
        service, text, params={"preview": "true"}, data={"voice_model_id": service.model()}, values="코드,고객명\nA1,김철수\n",
    )  # fmt: skip
    assert answer.status_code == 200
    seen = answer.json()
    assert (seen["format"], seen["encoding"], seen["delimiter"], seen["heading_row"]) == (
        "csv",
        "utf-8",
        ",",
        1,
    )
    assert [column["field"] for column in seen["columns"]] == [None, "code", "text", "voice", None, None]
    assert (seen["rows"], seen["line_count"], seen["problem_count"]) == (2, 2, 1)
    assert seen["problems"][0]["code"] == "unknown_voice" and seen["problems"][0]["row"] == 2
    assert seen["lines"][0]["text"] == "김철수님 안녕하세요." and seen["lines"][0]["voice_model_id"] is None
    assert seen["lines"][1]["voice_name"] == "테스트 모델 v1.0"
    assert seen["unclear_count"] == sum(bool(line["unclear"]) for line in seen["lines"])
    assert service.count(Sheet) == service.count(SheetLine) == service.count(Script) == 0


def test_a_sheet_is_a_script_a_line(any_service: Service) -> None:
    service = any_service
    model = service.model()
    made = upload(service, data={"voice_model_id": model, "name": "대표번호"})
    assert made.status_code == 201
    sheet = made.json()
    assert (sheet["name"], sheet["version"], sheet["line_count"]) == ("대표번호", 1, 3)
    assert sheet["states"] == {"not_generated": 3}
    assert service.get(f"/sheets/{sheet['id']}").json() == sheet
    listed = service.get("/sheets").json()["items"]
    assert [(each["id"], each["line_count"]) for each in listed] == [(sheet["id"], 3)]
    first, *_ = lines(service, sheet["id"])
    assert (first["code"], first["text"], first["pause"], first["file_name"]) == (
        "A1", "안내 말씀 1입니다.", 0.5, "guide_1",
    )  # fmt: skip
    script = service.get(f"/voice-actors/tts-scripts/{first['script_id']}").json()
    assert (script["text"], script["voice_model_id"], script["title"]) == (first["text"], model, "A1")


def test_voices_are_found_by_id_model_and_actor(service: Service) -> None:
    models = [service.model(service.actor(name)) for name in ("김하늘", "이바다")]
    text = f"코드,멘트,성우\n1,하나,{models[0]}\n2,둘,김하늘\n3,셋, 이바다 \n4,넷,\n"
    sheet = make_sheet(service, text, model=models[1])
    assert [line["voice_model_id"] for line in lines(service, sheet)] == [
        models[0],
        models[0],
        models[1],
        models[1],
    ]
    refused = upload(service, "코드,멘트,성우\n1,하나,테스트 모델 v1.0\n2,둘,없음\n3,셋,\n")
    assert refused.status_code == 422
    assert [each["code"] for each in refused.json()["problems"]] == [
        "voice_unclear",
        "unknown_voice",
        "no_voice",
    ]


def test_voices_go_by_id_then_alias_then_name_then_actor(service: Service) -> None:
    first, second = (service.model(service.actor(name)) for name in ("김하늘", "하나"))
    with service.container.database.session() as session:
        session.get(VoiceModel, first).model_name, session.get(VoiceModel, second).model_name = "하나", "둘"
    text = f"코드,멘트,성우\n1,안내,하나\n2,안내,{second}\n"
    for aliases, meant in (({}, first), ({"하나": "둘", second: "하나"}, second)):
        object.__setattr__(service.container.settings, "voice_aliases", aliases)
        seen = upload(service, text, params={"preview": "true"}).json()
        assert [line["voice_model_id"] for line in seen["lines"]] == [meant, second]


def test_wrong_rows_are_named_and_nothing_is_imported(service: Service) -> None:
    answer = upload(
        service, "코드,멘트,속도\n1,,\n2,둘,빠름\n3,셋,\n", data={"voice_model_id": service.model()}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "sheet_has_problems")
    assert [(each["row"], each["code"]) for each in answer.json()["problems"]] == [
        (2, "no_text"),
        (3, "bad_speed"),
    ]
    assert service.count(Sheet) == service.count(Script) == 0


def test_broken_markup_is_a_problem_of_its_row(service: Service) -> None:
    text, form = "코드,멘트\n1,하나\n2,<speak>둘\n", {"voice_model_id": service.model()}
    seen = upload(service, text, data=form, params={"preview": "true"})
    assert seen.status_code == 200
    [problem] = seen.json()["problems"]
    assert (problem["row"], problem["column"], problem["code"]) == (3, "멘트", "bad_markup")
    assert "line 1" in problem["message"] and seen.json()["lines"][0]["spoken_text"] == "하나"
    assert upload(service, text, data=form).json()["problems"] == [problem]


def test_broken_markup_keeps_no_other_line_from_being_shown_and_made(service: Service) -> None:
    sheet = make_sheet(service)
    with service.container.database.session() as session:  # as it was kept before it was refused
        session.get(Script, lines(service, sheet)[1]["script_id"]).text = "<speak>둘"
    shown = lines(service, sheet)
    assert [[each["written"] for each in line["unclear"]] for line in shown] == [[], ["<speak>둘"], []]
    assert generate(service, sheet)["accepted"] == 3
    assert [line["state"] for line in lines(service, sheet)] == ["done", "failed", "done"]
    assert lines(service, sheet)[1]["failure"]["code"] == "bad_markup"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_sheet"), (b"\xff\xff\xff", "unknown_encoding"), ("가,나\n1,2\n".encode(), "no_headings"),
        (b"PK\x03\x04....", "broken_xlsx"), (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 100, "old_excel"),
        (("코드,멘트\n" + "1,하나\n" * 10_100).encode(), "too_many_rows"),
    ],
)  # fmt: skip
def test_a_broken_file_gets_a_clear_answer(service: Service, data: bytes, code: str) -> None:
    answer = upload(service, data, data={"voice_model_id": service.model()})
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert answer.headers["content-type"] == "application/problem+json"
    preview = upload(service, data, params={"preview": "true"})
    assert (preview.status_code, preview.json()["code"]) == (422, code)


def test_a_file_over_20_mb_is_refused(service: Service) -> None:
    answer = upload(service, b"a" * (20 * 2**20 + 1))
    assert (answer.status_code, answer.json()["code"]) == (422, "too_large")


def test_a_choice_of_columns_corrects_the_guess(service: Service) -> None:
    form = {"voice_model_id": service.model(), "columns": '{"말": "text"}'}
    answer = upload(service, "코드,말\n1,하나\n", data=form)
    assert answer.status_code == 201
    for wrong in ("[]", "{", '{"말": 1}', r'{"\ud800": "text"}', r'{"말": "\u0000"}', "x", "[" * 10_000):
        refused = upload(service, "코드,말\n1,하나\n", data=form | {"columns": wrong})
        assert (refused.status_code, refused.json()["code"]) == (422, "bad_columns")


def test_only_what_changed_is_generated(service: Service) -> None:
    sheet = make_sheet(service)
    assert generate(service, sheet)["accepted"] == 3
    before = lines(service, sheet)
    assert {line["state"] for line in before} == {"done"}
    assert generate(service, sheet) | {"batch_id": "", "watch": ""} == {
        "batch_id": "", "accepted": 0, "unchanged": 3, "under_way": 0, "watch": "",
    }  # fmt: skip
    found = import_again(service, sheet, TEXT.replace("말씀 2", "말씀드릴 것 2"))
    assert [each["code"] for each in found["changed"]] == ["A2"] and found["same"] == 2
    assert [line["state"] for line in lines(service, sheet)] == ["done", "out_of_date", "done"]
    assert generate(service, sheet)["accepted"] == 1
    after = lines(service, sheet)
    assert [line["script_id"] for line in after] == [line["script_id"] for line in before]
    assert [a["take"]["id"] == b["take"]["id"] for a, b in zip(after, before, strict=True)] == [
        True,
        False,
        True,
    ]
    takes = service.get(f"/voice-actors/tts-scripts/{after[1]['script_id']}/takes").json()["items"]
    assert [take["text"] for take in takes] == [
        "안내 말씀드릴 것 2입니다.",
        "안내 말씀 2입니다.",
    ]  # both are kept


def test_what_is_under_way_is_not_asked_for_twice(service: Service) -> None:
    sheet = make_sheet(service)
    service.post(f"/sheets/{sheet}/generate")
    assert {line["state"] for line in lines(service, sheet)} == {"queued"}
    again = service.post(f"/sheets/{sheet}/generate").json()
    assert (again["accepted"], again["under_way"], again["batch_id"]) == (0, 3, None)
    assert len(service.hands.queued("tts.generate")) == 3


def test_failures_are_listed_and_made_again_alone(service: Service) -> None:
    sheet = make_sheet(service, TEXT + "A4,가격은 漢字입니다.,,,,,\n")
    (unclear,) = [line for line in lines(service, sheet) if line["unclear"]]
    assert unclear["code"] == "A4" and unclear["unclear"][0]["written"] == "漢字"
    generate(service, sheet)
    (failed,) = lines(service, sheet, state="failed")
    assert (failed["code"], failed["failure"]["code"]) == ("A4", "unclear_text")
    import_again(service, sheet, TEXT.replace("말씀 1", "말씀드릴 것 1") + "A4,가격은 漢字입니다.,,,,,\n")
    assert generate(service, sheet, only_failed=True)["accepted"] == 1
    assert service.post(f"/sheets/{sheet}/generate", params={"only_failed": "true"}).json()["accepted"] == 1
    service.hands.do_all("tts.generate")
    import_again(service, sheet, TEXT + "A4,가격은 천 원입니다.,,,,,\n")
    assert [line["state"] for line in lines(service, sheet)] == ["done", "done", "done", "not_generated"]
    generate(service, sheet)
    assert service.get(f"/sheets/{sheet}").json()["states"] == {"done": 4}


def test_nothing_is_applied_without_the_digest_of_this_very_difference(any_service: Service) -> None:
    service = any_service
    sheet = make_sheet(service)
    changed = TEXT.replace("말씀 2", "바뀐 말 2").replace("A3", "A9")
    found = import_again(service, sheet, changed, confirm=False)
    assert (found["applied"], found["version"], found["same"]) == (False, 1, 1)
    assert [[each["code"] for each in found[kind]] for kind in ("new", "changed", "gone")] == [
        ["A9"],
        ["A2"],
        ["A3"],
    ]
    assert found["changed"][0]["fields"] == [
        {"field": "text", "before": "안내 말씀 2입니다.", "after": "안내 바뀐 말 2입니다."}
    ]
    assert lines(service, sheet)[1]["text"] == "안내 말씀 2입니다."
    path = f"/sheets/{sheet}/import"
    for text, digest in ((changed, "0" * 64), (changed + "A8,여덟,,,,,\n", found["digest"])):
        refused = upload(service, text, path, data={"confirm": digest})
        assert (refused.status_code, refused.json()["code"]) == (409, "difference_changed")
    applied = upload(service, changed, path, data={"confirm": found["digest"]})
    assert applied.json()["applied"] and applied.json()["version"] == 2
    again = upload(service, changed, path, data={"confirm": found["digest"]})
    assert again.status_code == 409  # the sheet is not what it was
    versions = service.get(f"/sheets/{sheet}/versions").json()["items"]
    assert [(each["number"], each["new"], each["changed"], each["gone"], each["same"]) for each in versions] == [
        (2, 1, 1, 1, 1), (1, 3, 0, 0, 0),
    ]  # fmt: skip
    assert versions[0]["file_name"] == "멘트.csv" and versions[0]["imported_by"] == "producer"
    second = service.get(f"/sheets/{sheet}/versions/2").json()
    assert [(each["kind"], each["code"]) for each in second["changes"]] == [
        ("changed", "A2"), ("new", "A9"), ("gone", "A3"),
    ]  # fmt: skip
    assert second["changes"][0]["fields"] == found["changed"][0]["fields"]
    assert service.get(f"/sheets/{sheet}/versions/3").json()["code"] == "sheet_version_not_found"


def test_a_line_that_is_gone_keeps_its_takes_and_comes_back(service: Service) -> None:
    sheet = generated_sheet(service)
    third = lines(service, sheet)[2]
    import_again(service, sheet, TEXT.replace("A3,안내 말씀 3입니다.,,0.5초,guide_3,ivr,메모 3\n", ""))
    assert [line["code"] for line in lines(service, sheet)] == ["A1", "A2"]
    assert [line["code"] for line in lines(service, sheet, state="gone")] == ["A3"]
    assert service.count(Take) == 3
    import_again(service, sheet, TEXT)
    back = lines(service, sheet)[2]
    assert (back["script_id"], back["take"]["id"], back["state"]) == (
        third["script_id"],
        third["take"]["id"],
        "done",
    )


def test_a_script_that_was_changed_elsewhere_shows_in_the_difference(service: Service) -> None:
    sheet = generated_sheet(service)
    script = lines(service, sheet)[0]["script_id"]
    service.put(f"/voice-actors/tts-scripts/{script}", json={"text": "다른 곳에서 바꾼 말"})
    assert lines(service, sheet)[0]["state"] == "out_of_date"
    found = import_again(service, sheet, TEXT)
    assert found["changed"][0]["fields"][0]["before"] == "다른 곳에서 바꾼 말"
    assert lines(service, sheet)[0]["state"] == "done"


def test_an_approval_is_a_person_s_and_of_one_take(any_service: Service) -> None:
    service = any_service
    sheet = make_sheet(service)
    line = lines(service, sheet)[1]
    approve = f"/sheets/{sheet}/lines/{line['id']}/approve"
    refused = service.post(approve)
    assert (refused.status_code, refused.json()["code"]) == (409, "nothing_to_approve")
    generate(service, sheet)
    take = lines(service, sheet)[1]["take"]["id"]
    assert service.post(approve, params={"take_id": NOBODY}).json()["code"] == "other_take_is_current"
    approved = service.post(approve, params={"take_id": take}).json()
    assert (approved["approved"], approved["approved_by"]) == (True, "producer") and approved["approved_at"]
    assert service.row(Take, take).approved_at is not None
    assert service.get(f"/sheets/{sheet}").json()["approved"] == 1
    import_again(service, sheet, TEXT.replace("메모 2", "다른 메모"))
    assert lines(service, sheet)[1]["approved"]  # a remark is not heard
    import_again(service, sheet, TEXT.replace("말씀 2", "바뀐 말 2"))
    changed = lines(service, sheet)[1]
    assert (changed["approved"], changed["approved_by"], changed["approved_at"]) == (False, None, None)
    import_again(service, sheet, TEXT)
    assert not lines(service, sheet)[1]["approved"]  # it does not come back by itself
    assert service.post(approve).json()["approved"]
    undone = service.post(f"/sheets/{sheet}/lines/{line['id']}/unapprove").json()
    assert not undone["approved"] and service.row(Take, take).approved_at is None


def test_an_approval_that_ends_with_an_import_keeps_no_take_for_ever(any_service: Service) -> None:
    service = any_service
    sheet = generated_sheet(service)
    takes = [line["take"]["id"] for line in lines(service, sheet)]
    for line in lines(service, sheet):
        service.post(f"/sheets/{sheet}/lines/{line['id']}/approve")
    rows = TEXT.splitlines(keepends=True)
    import_again(service, sheet, rows[0] + rows[1].replace("말씀", "다른 말씀") + rows[2])
    assert [service.row(Take, take).approved_at is not None for take in takes] == [False, True, False]


def test_a_take_is_out_of_date_since_an_import_changed_what_is_said(any_service: Service) -> None:
    service = any_service

    def stale() -> list[bool]:
        return [service.row(Script, line["script_id"]).stale_at is not None for line in lines(service, sheet)]

    sheet = generated_sheet(service)
    import_again(service, sheet, TEXT.replace("0.5초", "1초").replace("메모 1", "다른 메모"))
    assert stale() == [False] * 3
    import_again(service, sheet, TEXT.replace("말씀 2", "바뀐 말 2").replace("입니다.,", "입니다.,1.0", 1))
    assert stale() == [False, True, False]
    generate(service, sheet)
    assert stale() == [False] * 3


def test_an_approval_does_not_pass_to_another_take(service: Service) -> None:
    sheet = generated_sheet(service)
    line = lines(service, sheet)[0]
    service.post(f"/sheets/{sheet}/lines/{line['id']}/approve")
    generate(service, sheet, force_regenerate=True)
    assert not lines(service, sheet)[0]["approved"]


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_a_sheet_comes_out_as_it_went_in(service: Service, form: str) -> None:
    text = '대표번호,,,\n멘트코드,멘트,고객명,비고\n001,"{고객명}님,\n안녕하세요.",김|이,\'=1+1\n2,둘,,@메모\n3,셋,,-5\n'
    sheet = make_sheet(service, text)
    answer = service.get(f"/sheets/{sheet}/export", params={"format": form})
    assert answer.status_code == 200 and "attachment" in answer.headers["content-disposition"]
    found = import_again(service, sheet, answer.content, confirm=False)
    assert (found["new"], found["changed"], found["gone"], found["same"]) == ([], [], [], 4)
    again = make_sheet(service, answer.content)
    assert [line["text"] for line in lines(service, again)] == [
        line["text"] for line in lines(service, sheet)
    ]
    assert service.get(f"/sheets/{again}/export", params={"format": form}).status_code == 200
    if form == "csv":
        assert answer.content == service.get(f"/sheets/{again}/export", params={"format": form}).content
        assert answer.content.startswith(b"\xef\xbb\xbf") and b",'=1+1" in answer.content
    else:
        cells = [
            cell for row in openpyxl.load_workbook(io.BytesIO(answer.content)).active.rows for cell in row
        ]
        assert not [cell for cell in cells if cell.data_type == "f" or str(cell.value or "x")[0] in "=+-@"]


def test_lines_page_in_the_sheet_s_order(service: Service) -> None:
    text = "코드,멘트\n" + "".join(f"{number},{number}번\n" for number in (5, 3, 1, 4, 2))
    sheet = make_sheet(service, text)
    seen: list[str] = []
    params: dict[str, Any] = {"limit": 2}
    for size in (2, 2, 1):
        page = service.get(f"/sheets/{sheet}/lines", params=params).json()
        assert len(page["items"]) == size
        seen += [line["code"] for line in page["items"]]
        params["cursor"] = page["next_cursor"]
    assert page["next_cursor"] is None and seen == ["5", "3", "1", "4", "2"]
    for cursor in ("x", "é", "LTE=", "=", "MTIzNDU2Nzg5MDEyMzQ1Njc4OTA="):
        refused = service.get(f"/sheets/{sheet}/lines", params={"cursor": cursor})
        assert (refused.status_code, refused.json()["code"]) == (422, "bad_cursor")


def test_lines_that_are_gone_page_too_though_they_share_a_place(any_service: Service) -> None:
    service = any_service
    sheet = make_sheet(service)
    for number in (4, 5, 6):
        import_again(service, sheet, f"코드,멘트\nB{number},안내 {number}\n")
    seen: list[str] = []
    params: dict[str, Any] = {"limit": 1, "state": "gone"}
    while "cursor" not in params or params["cursor"]:
        page = service.get(f"/sheets/{sheet}/lines", params=params).json()
        seen += [line["code"] for line in page["items"]]
        params["cursor"] = page["next_cursor"]
    assert seen == ["A1", "B4", "B5", "A2", "A3"]


def test_a_sheet_goes_with_its_scripts_takes_and_files(any_service: Service) -> None:
    service = any_service
    other = service.script()
    sheet = generated_sheet(service)
    assert len(service.files("takes")) == 3
    assert service.delete(f"/sheets/{sheet}").status_code == 204
    assert service.get(f"/sheets/{sheet}").status_code == 404
    assert (service.count(SheetLine), service.count(Take), service.files("takes")) == (0, 0, [])
    assert service.row(Script, other) is not None and service.count(Script) == 1


def test_a_script_that_is_deleted_takes_its_line_along(service: Service) -> None:
    sheet = make_sheet(service)
    service.delete(f"/voice-actors/tts-scripts/{lines(service, sheet)[1]['script_id']}")
    assert [line["code"] for line in lines(service, sheet)] == ["A1", "A3"]
    assert [each["code"] for each in import_again(service, sheet, TEXT)["new"]] == ["A2"]


def test_a_model_that_sheets_speak_with_cannot_go_and_an_empty_sheet_s_can(service: Service) -> None:
    model = service.model()
    sheet = make_sheet(service, model=model)
    assert service.delete(f"/voice-actors/models/{model}").json()["code"] == "voice_model_in_use"
    assert service.get(f"/sheets/{sheet}").json()["voice_model_id"] == model


def test_names_and_the_need_for_approval_can_change(service: Service) -> None:
    sheet = make_sheet(service)
    changed = service.patch(f"/sheets/{sheet}", json={"name": "새 이름", "requires_approval": True}).json()
    assert (changed["name"], changed["requires_approval"]) == ("새 이름", True)
    assert service.patch(f"/sheets/{sheet}", json={"nmae": "x"}).status_code == 422


def test_the_same_request_again_makes_one_sheet(service: Service) -> None:
    model, headers = service.model(), {"Idempotency-Key": "once"}
    first, second = (upload(service, data={"voice_model_id": model}, headers=headers) for _ in range(2))
    assert first.json() == second.json() and service.count(Sheet) == 1
    other = upload(service, TEXT + "A4,넷,,,,,\n", data={"voice_model_id": model}, headers=headers)
    assert other.status_code in (409, 422) and service.count(Sheet) == 1


def test_who_may_do_what(service: Service) -> None:
    sheet = make_sheet(service)
    line = lines(service, sheet)[0]["id"]
    for path in ("", "/lines", "/versions", "/export"):
        assert service.get(f"/sheets/{sheet}{path}", role="viewer").status_code == 200
        assert service.get(f"/sheets/{sheet}{path}", role=None).status_code == 401
        assert service.get(f"/sheets/{NOBODY}{path}").status_code == 404
    assert upload(service, role="viewer").status_code == 403
    assert upload(service, path=f"/sheets/{sheet}/import", role="viewer").status_code == 403
    for path in ("/generate", f"/lines/{line}/approve", f"/lines/{line}/unapprove"):
        assert service.post(f"/sheets/{sheet}{path}", role="viewer").status_code == 403
        assert service.post(f"/sheets/{NOBODY}{path}").status_code == 404
    assert service.post(f"/sheets/{sheet}/lines/{NOBODY}/approve").status_code == 404
    assert service.delete(f"/sheets/{sheet}", role="viewer").status_code == 403
    assert upload(service, data={"voice_model_id": NOBODY}).json()["code"] == "unknown_voice_model"


def test_ten_thousand_lines_are_imported_and_compared(service: Service) -> None:
    text = "코드,멘트\n" + "".join(f"A{number},안내 말씀입니다.\n" for number in range(10_000))
    sheet = make_sheet(service, text)
    assert service.get(f"/sheets/{sheet}").json()["line_count"] == 10_000
    found = import_again(service, sheet, text.replace("A77,안내", "A77,다른"), confirm=False)
    assert len(found["changed"]) == 1 and found["same"] == 9_999
