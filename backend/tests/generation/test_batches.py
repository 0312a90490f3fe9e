from __future__ import annotations

import json
import os
from datetime import timedelta

import pytest
from sqlalchemy import update

from app.generation.retention import drop_old_takes
from app.kit.clock import now
from app.models import Batch, Generation, Script, Take, VoiceModel
from tests.databases import scanned
from tests.service import NOBODY, Service

PATH = "/voice-actors/batches"


def view(service: Service, batch_id: str) -> dict:
    answer = service.get(f"{PATH}/{batch_id}")
    assert answer.status_code == 200
    return answer.json()


def statuses(started: dict) -> list[str]:
    return [item["status"] for item in started["scripts"]]


def test_a_batch_takes_up_what_is_out_of_date(any_service: Service) -> None:
    service = any_service
    model = service.model()
    scripts = [service.script(model, f"안내 {number}번입니다.") for number in range(3)]
    service.generate(scripts[0])
    asked = [scripts[0], scripts[1], "script3", scripts[2], scripts[1], NOBODY]
    started = service.batch(asked)
    assert statuses(started) == ["unchanged", "accepted", "unknown", "accepted", "unknown"]
    assert (started["accepted"], started["unchanged"], started["unknown"]) == (2, 1, 2)
    assert started["scripts"][0]["take_id"] == service.row(Script, scripts[0]).current_take_id
    before = view(service, started["batch_id"])
    assert (before["status"], before["total"], before["queued"]) == ("running", 2, 2)
    assert (before["per_minute"], before["seconds_left"], before["ended_at"]) == (None, None, None)
    service.hands.do(started["scripts"][1]["generation_id"])
    meanwhile = view(service, started["batch_id"])
    assert (meanwhile["done"], meanwhile["queued"]) == (1, 1)
    assert meanwhile["per_minute"] > 0
    assert meanwhile["seconds_left"] > 0
    service.hands.do_all()
    after = view(service, started["batch_id"])
    assert (after["status"], after["done"], after["seconds_left"]) == ("done", 2, 0.0)
    assert (after["unchanged"], after["unknown"], after["failures"]) == (1, 2, [])
    again = service.batch(scripts)
    assert statuses(again) == ["unchanged"] * 3
    assert view(service, again["batch_id"])["status"] == "done"


def test_a_batch_that_goes_fast_has_time_left_until_it_is_done(service: Service) -> None:
    model = service.model()
    started = service.batch([service.script(model, text) for text in ("하나.", "둘.")])
    service.hands.do(started["scripts"][0]["generation_id"])
    with service.container.database.session() as session:  # the first took no time at all
        session.execute(update(Batch).values(created_at=now() + timedelta(minutes=1)))
    assert view(service, started["batch_id"])["seconds_left"] == 0.1
    service.hands.do_all()
    assert view(service, started["batch_id"])["seconds_left"] == 0.0


def test_force_makes_all_anew(service: Service) -> None:
    script = service.script()
    first = service.generate(script)["take"]["id"]
    started = service.batch([script], force=True)
    assert statuses(started) == ["accepted"]
    service.hands.do_all()
    assert service.row(Script, script).current_take_id != first


CHANGES = {
    "text": {"text": "다른 안내입니다."},
    "speed": {"speed": 1.5},
    "seed": {"seed": 3},
    "language": {"language": "en", "text": "hello"},
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_script_is_out_of_date(service: Service, what: str) -> None:
    script = service.script()
    service.generate(script)
    service.put(f"/voice-actors/tts-scripts/{script}", json=CHANGES[what])
    assert statuses(service.batch([script])) == ["accepted"]


def test_a_new_title_changes_nothing(service: Service) -> None:
    script = service.script()
    service.generate(script)
    service.put(f"/voice-actors/tts-scripts/{script}", json={"title": "다른 제목"})
    assert statuses(service.batch([script])) == ["unchanged"]


def test_another_voice_or_version_is_out_of_date(any_service: Service) -> None:
    service = any_service
    model = service.model()
    script = service.script(model)
    service.generate(script)
    with service.container.database.session() as session:
        session.get(VoiceModel, model).version += 1
    assert statuses(service.batch([script])) == ["accepted"]
    service.hands.do_all()
    assert statuses(service.batch([script])) == ["unchanged"]
    service.put(f"/voice-actors/tts-scripts/{script}", json={"voice_model_id": service.model()})
    assert statuses(service.batch([script])) == ["accepted"]


@pytest.mark.parametrize("fate", ["deleted", "shorter"])
def test_a_take_whose_file_is_gone_is_made_again(any_service: Service, fate: str) -> None:
    service = any_service
    script = service.script()
    service.generate(script)
    [key] = service.files("takes")
    file = service.container.store.path("takes", key)
    file.unlink() if fate == "deleted" else os.truncate(file, 100)
    assert statuses(service.batch([script])) == ["accepted"]
    service.hands.do_all()
    assert statuses(service.batch([script])) == ["unchanged"]


def test_another_engine_is_out_of_date(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    script = service.script()
    service.generate(script)
    monkeypatch.setattr(service.container.engine, "name", "other", raising=False)
    assert statuses(service.batch([script])) == ["accepted"]


def test_another_reading_or_loudness_is_out_of_date(service: Service) -> None:
    script = service.script()
    service.generate(script)
    entry = {"written": "고객센터", "spoken": "고객 센터"}
    made = service.post("/lexicons", json={"name": "우리말", "entries": [entry]})
    assert made.json()["changed_scripts"] == [script]
    assert statuses(service.batch([script])) == ["accepted"]
    service.hands.do_all()
    assert statuses(service.batch([script])) == ["unchanged"]
    object.__setattr__(service.container.settings, "take_loudness", -23.0)
    assert statuses(service.batch([script])) == ["accepted"]


def test_a_script_that_waits_already_is_not_spoken_twice_for_nothing(any_service: Service) -> None:
    """Two batches in a row: the second may accept it, but in the end there is one current take."""
    service = any_service
    script = service.script()
    service.batch([script])
    service.batch([script])
    service.hands.do_all()
    assert service.generation(service.last_generation(script).id)["status"] == "done"
    take = service.row(Script, script).current_take_id
    assert take == service.last_generation(script).take_id


def test_a_take_that_went_missing_is_made_again(any_service: Service) -> None:
    """The guide's `find -delete`, survived: named, marked, made again."""
    service = any_service
    script = service.script()
    take = service.generate(script)["take"]["id"]
    service.container.store.delete("takes", service.files("takes")[0])
    assert service.findings()["take_file_missing"]["subjects"] == [take]
    assert [each["code"] for each in service.fix()["fixed"]] == ["take_file_missing"]
    assert service.get(f"/voice-actors/tts-scripts/{script}").json()["current_take"]["missing_at"]
    started = service.batch([script])
    assert statuses(started) == ["accepted"]
    service.hands.do_all()
    assert service.generation(started["scripts"][0]["generation_id"])["status"] == "done"
    assert service.row(Script, script).current_take_id != take


def test_failures_are_told_by_reason(any_service: Service) -> None:
    service = any_service
    model = service.model()
    good, bad, worse = (service.script(model, text) for text in ("안녕하세요.", "漢 하나", "漢 둘"))
    started = service.batch([good, bad, worse])
    assert [bool(item["unclear"]) for item in started["scripts"]] == [False, True, True]  # told at once
    service.hands.do_all()
    shown = view(service, started["batch_id"])
    assert (shown["status"], shown["done"], shown["failed"]) == ("done", 1, 2)
    [failure] = shown["failures"]
    assert (failure["code"], failure["count"]) == ("unclear_text", 2)
    assert set(failure["script_ids"]) == {bad, worse}


def test_cancel_stops_what_has_not_ended(any_service: Service) -> None:
    service = any_service
    model = service.model()
    started = service.batch([service.script(model) for _ in range(3)])
    done, running, waiting = (item["generation_id"] for item in started["scripts"])
    service.hands.do(done)
    _, _, context = service.hands.take(running)
    cancelled = service.post(f"{PATH}/{started['batch_id']}/cancel")
    assert cancelled.status_code == 200
    assert cancelled.json()["status"] == "cancelled"
    assert (cancelled.json()["done"], cancelled.json()["cancelled"]) == (1, 2)
    assert context.cancelled()
    assert service.hands.queued() == []
    assert [service.generation(each)["status"] for each in (done, running, waiting)] == [
        "done", "cancelled", "cancelled",
    ]  # fmt: skip
    assert view(service, started["batch_id"]) == cancelled.json()
    again = service.post(f"{PATH}/{started['batch_id']}/cancel")
    assert (again.status_code, again.json()) == (200, cancelled.json())


def test_a_finished_batch_cannot_be_cancelled_any_more(service: Service) -> None:
    started = service.batch([service.script()])
    service.hands.do_all()
    shown = service.post(f"{PATH}/{started['batch_id']}/cancel").json()
    assert (shown["status"], shown["done"]) == ("done", 1)


def test_voices_must_be_trained_first(any_service: Service) -> None:
    service = any_service
    pending = service.model(ready=False)
    body = {"script_ids": [service.script(), service.script(pending)]}
    refused = service.post("/voice-actors/tts-scripts/batch-generate", json=body)
    assert (refused.status_code, refused.json()["code"]) == (409, "voice_not_ready")
    assert refused.json()["voice_model_ids"] == [pending]
    assert (service.count(Batch), service.count(Generation)) == (0, 0)


def test_a_commit_that_fails_starts_nothing(any_service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service = any_service
    scripts = [service.script() for _ in range(3)]
    real = service.container.jobs.enqueue_all

    def fails_at_last(*arguments: object, **options: object) -> None:
        real(*arguments, **options)  # type: ignore[arg-type]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(service.container.jobs, "enqueue_all", fails_at_last)
    refused = service.post("/voice-actors/tts-scripts/batch-generate", json={"script_ids": scripts})
    assert refused.status_code == 507
    assert (service.count(Batch), service.count(Generation), service.hands.queued()) == (0, 0, [])


def test_a_thousand_scripts_in_one_batch(any_service: Service) -> None:
    service = any_service
    model = service.model()
    with service.container.database.session() as session:
        scripts = [Script(voice_model_id=model, title="", text="안내") for _ in range(1000)]
        session.add_all(scripts)
        session.flush()
        ids = [script.id for script in scripts]
    started = service.batch(ids)
    assert started["accepted"] == 1000
    assert view(service, started["batch_id"])["queued"] == 1000
    assert service.post(f"{PATH}/{started['batch_id']}/cancel").json()["cancelled"] == 1000


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body.script_ids"),
        ({"script_ids": []}, "body.script_ids"),
        ({"script_ids": ["x"] * 10_001}, "body.script_ids"),
        ({"script_ids": ["x" * 101]}, "body.script_ids.0"),
        ({"script_ids": [1]}, "body.script_ids.0"),
        ({"script_ids": "script1"}, "body.script_ids"),
        ({"script_ids": ["x"], "force_regenerate": "maybe"}, "body.force_regenerate"),
        ({"script_ids": ["x"], "force": True}, "body.force"),
    ],
)
def test_a_batch_of_another_form_is_refused_by_field(service: Service, body: dict, field: str) -> None:
    refused = service.post("/voice-actors/tts-scripts/batch-generate", json=body)
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == [field]


@pytest.mark.parametrize("strange", ["\0", "가" * 100, "../../etc/passwd", "'; DROP TABLE tts_scripts; --"])
def test_strange_ids_are_unknown_scripts(any_service: Service, strange: str) -> None:
    started = any_service.batch([strange])
    assert statuses(started) == ["unknown"]
    assert view(any_service, started["batch_id"])["unknown"] == 1


@pytest.mark.parametrize("batch_id", [NOBODY, "nonsense", "%00"])
def test_an_unknown_batch_is_not_there(service: Service, batch_id: str) -> None:
    answers = [
        service.get(f"{PATH}/{batch_id}"),
        service.get(f"{PATH}/{batch_id}/events"),
        service.post(f"{PATH}/{batch_id}/cancel"),
    ]
    assert {(each.status_code, each.json()["code"]) for each in answers} == {(404, "batch_not_found")}


def events(text: str) -> list[tuple[str, dict]]:
    """Server-sent events as a browser takes them."""
    found = []
    for block in text.strip().split("\n\n"):
        kind, data = block.split("\n")
        found.append((kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_events_show_progress_until_the_end(service: Service) -> None:
    model = service.model()
    started = service.batch([service.script(model) for _ in range(3)])
    with service.hands.at_work():
        answer = service.get(f"{PATH}/{started['batch_id']}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    seen = events(answer.text)
    assert [kind for kind, _ in seen] == ["progress"] * (len(seen) - 1) + ["end"]
    done = [batch["done"] for _, batch in seen]
    assert done == sorted(done)
    assert seen[-1][1] == view(service, started["batch_id"])


def test_events_of_a_finished_batch_end_at_once(service: Service) -> None:
    started = service.batch(["script1"])
    seen = events(service.get(f"{PATH}/{started['batch_id']}/events").text)
    assert [kind for kind, _ in seen] == ["progress", "end"]


# --- retention ------------------------------------------------------------------------------------


def test_retention_drops_old_takes_and_spares_current_and_approved_ones(any_service: Service) -> None:
    service = any_service
    script = service.script()
    old, approved, young, current = (service.generate(script)["take"]["id"] for _ in range(4))
    long_ago = now() - timedelta(days=31)
    with service.container.database.session() as session:
        session.execute(update(Take).where(Take.id != young).values(created_at=long_ago))
        session.execute(update(Take).where(Take.id == approved).values(approved_at=now()))
    assert drop_old_takes(service.container) == 0  # nothing is dropped unless it is asked for
    object.__setattr__(service.container.settings, "retention_days", 30)
    assert drop_old_takes(service.container) == 1
    left = {take["id"] for take in service.get(f"/voice-actors/tts-scripts/{script}/takes").json()["items"]}
    assert left == {approved, young, current}
    assert len(service.files("takes")) == 3
    assert old not in left
    assert not service.findings().keys() & {"take_file_missing", "stray_file"}
    assert drop_old_takes(service.container) == 0


def test_retention_finds_generations_by_their_ids(service: Service) -> None:
    script = service.script()
    old, current = (service.generate(script) for _ in range(2))
    with service.container.database.session() as session:
        session.execute(update(Take).values(created_at=now() - timedelta(days=31)))
    object.__setattr__(service.container.settings, "retention_days", 30)
    with scanned(service.container.database) as tables:
        assert drop_old_takes(service.container) == 1
    assert "tts_generations" not in tables
    assert service.row(Generation, old["id"]).take_id is None
    assert service.row(Generation, current["id"]).take_id == current["take"]["id"]


def test_broken_markup_keeps_no_other_script_from_being_made(any_service: Service) -> None:
    service = any_service
    model = service.model()
    scripts = [service.script(model), service.script(model)]
    with service.container.database.session() as session:  # as it was kept before it was refused
        session.get(Script, scripts[0]).text = "<speak>안녕"
    started = service.batch(scripts)
    assert statuses(started) == ["accepted", "accepted"]
    [unclear] = started["scripts"][0]["unclear"]
    assert (unclear["written"], unclear["why"][:6]) == ("<speak>안녕", "line 1")
    service.hands.do_all()
    after = view(service, started["batch_id"])
    assert (after["done"], after["failed"]) == (1, 1)
    [failure] = after["failures"]
    assert (failure["code"], failure["script_ids"]) == ("bad_markup", scripts[:1])
    assert statuses(service.batch(scripts)) == ["accepted", "unchanged"]
