"""What the diagnosis finds, and what fix-issues does about it."""

from __future__ import annotations

import errno
import io
import json
import os
from functools import partial
from pathlib import Path

import pytest

from app.diagnosis import machine, repairs
from app.diagnosis.report import print_report
from app.diagnosis.service import diagnose
from app.jobs import JobCounts
from app.kit.database import in_lots
from app.models import Generation, Sample, Take, TrainingRun, VoiceModel
from app.speech import weights
from app.speech.interface import EngineStatus
from app.storage import local
from app.storage.interface import StoredFile
from tests.service import Service
from tests.speech.hub import CONTENTS, small_release

PATH = "/voice-actors/debug/diagnosis"
# The last two: neither XTTS v2 weights nor coqui-tts are there.
HERE = {
    "no_worker",
    "mock_engine",
    "xtts_absent",
    "coqui_absent",
}  # what a service in this process, without a worker, has to say


def found(service: Service) -> set[str]:
    return set(service.findings()) - HERE


def test_a_healthy_service_says_what_it_has(any_service: Service) -> None:
    service = any_service
    actor = service.actor()
    service.sample(actor)
    service.generate(service.script(service.model(actor)))
    answer = service.get(PATH)
    assert answer.status_code == 200
    assert "\n" not in answer.text.strip()  # one line: the guide's health check appends it to a log
    shown = answer.json()["diagnosis"]
    tts = shown["dependencies"]["TTS"]
    assert (tts["mode"], tts["engine"]) == ("mock", "mock")
    assert "coqui-tts" in tts["note"]
    assert shown["dependencies"]["soundfile"]["version"]
    assert shown["mode"] == "mock"
    assert shown["engine"]["chosen"] == "mock"
    assert shown["engine"]["why"] == "MOKSORI_ENGINE is mock"
    assert {"available", "cards"} <= set(shown["gpu"])
    assert "non-commercial" in shown["weights"]["license"]
    assert set(shown["folders"]) == {"voice_samples", "audio_files", "voice_models", "logs", "data"}
    assert all(
        each["exists"] and each["writable"] and each["free_bytes"] for each in shown["folders"].values()
    )
    assert shown["database"]["reachable"]
    assert shown["database"]["kind"] in service.container.settings.database
    assert (shown["jobs"]["queued"], shown["jobs"]["running"], shown["jobs"]["workers"]) == (0, 0, 0)
    whole = {"missing_files": 0, "altered_files": 0, "stray_files": 0}
    assert shown["samples"] == {"count": 1, "verdicts": {"good": 1}, **whole}
    assert shown["takes"] == {"count": 1, **whole}
    assert shown["voice_models"] == {"count": 1, "missing_files": 0, "stray_files": 0}
    assert set(service.findings()) == HERE


def test_stray_files_are_counted_where_they_lie(service: Service) -> None:
    for bucket, number in (("samples", 1), ("models", 2), ("takes", 3)):
        for each in range(number):
            service.container.store.put(bucket, f"stray/{each}", io.BytesIO(b"x"))
    inbox = service.container.settings.inbox_dir / "cut-short"
    inbox.mkdir(parents=True)
    os.utime(inbox, (0, 0))
    shown = service.get(PATH).json()["diagnosis"]
    parts = ("samples", "voice_models", "takes")
    assert [shown[part]["stray_files"] for part in parts] == [2, 2, 3]
    assert "7 files" in service.findings()["stray_file"]["what"]


def test_every_finding_says_what_to_do(service: Service) -> None:
    findings = service.get(PATH).json()["diagnosis"]["findings"]
    assert findings
    for each in findings:
        assert each["what"]
        assert each["effect"]
        assert each["fix"]
        assert each["fixable"] in (True, False)


def test_the_worst_finding_is_the_status(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def status() -> str:
        return str(service.get(PATH).json()["diagnosis"]["status"])

    assert status() == "error"  # no worker
    monkeypatch.setattr(type(service.container.jobs), "counts", lambda *_: JobCounts(0, 0, 1, 0))
    assert status() == "warning"  # the mock engine
    monkeypatch.setattr(type(service.container.engine), "name", "builtin")
    assert status() == "ok"


def test_dead_workers_are_told(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = JobCounts(3, 2, 1, 4, {"speech": (3, 2)})
    monkeypatch.setattr(type(service.container.jobs), "counts", lambda *_: counts)
    shown = service.get(PATH).json()["diagnosis"]
    assert shown["jobs"] == {
        "queued": 3, "running": 2, "workers": 1, "dead_workers": 4,
        "queues": {"speech": {"queued": 3, "running": 2}},
    }  # fmt: skip
    assert "dead_worker" in found(service)


def test_an_engine_that_cannot_run_is_told(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    status = EngineStatus("mock", False, "espeak-ng is missing", "apt install espeak-ng")
    monkeypatch.setattr(type(service.container.engine), "ping", lambda _: status)
    finding = service.findings()["engine_unavailable"]
    assert "espeak-ng is missing" in finding["what"]
    assert finding["fix"] == "apt install espeak-ng"


@pytest.mark.parametrize(
    ("engine", "card", "versions", "told"),
    [
        ("xtts", True, {"torch": "2.15.0"}, True),
        ("xtts", True, {"torch": "2.15.0", "cuda": "13.2"}, False),
        ("xtts", False, {"torch": "2.15.0"}, False),
        ("builtin", True, {}, False),
    ],
)
def test_a_card_that_pytorch_was_not_built_for_is_told(
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    card: bool,
    versions: dict[str, str],
    told: bool,
) -> None:
    status = EngineStatus(engine, True, "", versions=versions)
    monkeypatch.setattr(type(service.container.engine), "ping", lambda _: status)
    graphics = {"available": card, "cards": ["NVIDIA H100"] * card, "CUDA_VISIBLE_DEVICES": None}
    monkeypatch.setattr(machine, "graphics", lambda: graphics)
    finding = service.findings().get("gpu_idle")
    assert (finding is not None) == told
    if finding is not None:
        assert (finding["severity"], finding["subjects"]) == ("warning", ["NVIDIA H100"])


# --- trainings and generations without a live job ---------------------------------------------------


def test_a_training_without_a_job_is_ended(any_service: Service) -> None:
    service = any_service
    ready, pending = service.model(), service.model(ready=False)
    runs = [
        service.post(f"/voice-actors/models/{m}/train").json()["training_run_id"] for m in (ready, pending)
    ]
    assert found(service) == set()
    for run in runs:
        service.lose_job(run)
    assert set(service.findings()["training_lost"]["subjects"]) == {ready, pending}
    only_said = service.fix(dry_run=True)
    assert [(each["code"], each["done"]) for each in only_said["fixed"]] == [("training_lost", False)]
    assert service.row(TrainingRun, runs[0]).outcome is None
    done = service.fix()
    assert [(each["code"], each["done"]) for each in done["fixed"]] == [("training_lost", True)]
    assert found(service) == set()
    assert service.row(TrainingRun, runs[0]).outcome == "failed"
    for model in (ready, pending):
        shown = service.get(f"/voice-actors/models/{model}").json()
        assert (shown["status"], shown["failure"]["code"]) == ("failed", "training_lost")
    assert service.put(f"/voice-actors/models/{ready}", json={"status": "ready"}).json()["status"] == "ready"


def test_a_training_under_way_is_left_alone(any_service: Service) -> None:
    service = any_service
    model = service.model()
    run = service.post(f"/voice-actors/models/{model}/train").json()["training_run_id"]
    service.hands.take(run)
    service.fix()
    assert service.get(f"/voice-actors/models/{model}").json()["status"] == "training"


def test_a_generation_without_a_job_is_ended(any_service: Service) -> None:
    service = any_service
    started = service.batch([service.script()])
    generation = started["scripts"][0]["generation_id"]
    service.lose_job(generation)
    assert service.findings()["generation_lost"]["subjects"] == [generation]
    service.fix()
    assert found(service) == set()
    row = service.row(Generation, generation)
    assert (row.outcome, row.failure["code"]) == ("failed", "job_lost")
    assert service.get(f"/voice-actors/batches/{started['batch_id']}").json()["status"] == "done"


def test_settling_writes_only_what_is_to_be_settled(
    any_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every few minutes it is done in vain: that holds up nobody who writes."""
    service = any_service
    started = service.batch([service.script() for _ in range(5)])["scripts"]
    generations = [each["generation_id"] for each in started]
    service.post(f"/voice-actors/models/{service.model()}/train")
    with monkeypatch.context() as nothing_lost:
        nothing_lost.setattr(type(service.container.database), "session", None)
        assert repairs.settle_work(service.container) == 0
    for generation in generations[:3]:
        service.lose_job(generation)
    monkeypatch.setattr(repairs, "in_lots", partial(in_lots, most=2))
    assert repairs.settle_work(service.container) == 3
    outcomes = [service.row(Generation, each).outcome for each in generations]
    assert outcomes == ["failed"] * 3 + [None] * 2


# --- rows and files ---------------------------------------------------------------------------------


def test_sample_files_gone_or_altered_are_told(any_service: Service) -> None:
    service = any_service
    actor = service.actor()
    gone, altered, well = (service.sample(actor)["id"] for _ in range(3))
    service.container.store.delete("samples", service.row(Sample, gone).wav_key)
    service.container.store.put("samples", service.row(Sample, altered).original_key, io.BytesIO(b"other"))
    findings = service.findings()
    assert findings["sample_file_missing"]["subjects"] == [gone]
    assert "Sample file not found" in findings["sample_file_missing"]["what"]
    assert findings["sample_file_altered"]["subjects"] == [altered]
    assert well not in str(findings)
    assert not findings["sample_file_missing"]["fixable"]
    left = {each["code"] for each in service.fix()["left"]}
    assert {"sample_file_missing", "sample_file_altered"} <= left


def test_take_files_gone_altered_and_back(any_service: Service) -> None:
    service = any_service
    model = service.model()
    first, second = (service.generate(service.script(model))["take"]["id"] for _ in range(2))
    store, key = service.container.store, service.row(Take, first).audio_key
    with store.open("takes", key) as file:
        kept = file.read()
    store.delete("takes", key)
    store.put("takes", service.row(Take, second).audio_key, io.BytesIO(b"other"))
    findings = service.findings()
    assert findings["take_file_missing"]["subjects"] == [first]
    assert findings["take_file_altered"]["subjects"] == [second]
    service.fix()
    assert service.row(Take, first).missing_at
    assert service.row(Take, second).missing_at
    store.put("takes", key, io.BytesIO(kept))
    assert service.findings()["take_file_returned"]["subjects"] == [first]
    service.fix()
    assert service.row(Take, first).missing_at is None
    assert service.row(Take, second).missing_at
    assert "take_file_returned" not in service.findings()


def test_an_altered_take_is_put_right_once(service: Service) -> None:
    """What was marked is not found and marked again for ever."""
    take = service.generate(service.script())["take"]["id"]
    service.container.store.put("takes", service.row(Take, take).audio_key, io.BytesIO(b"other"))
    assert service.fix()["fixed"]
    assert service.fix()["fixed"] == []
    assert "take_marked_missing" in service.findings()


def test_voice_files_gone_are_told(any_service: Service) -> None:
    service = any_service
    model = service.model()
    service.container.store.delete("models", service.files("models")[0])
    assert service.findings()["voice_file_missing"]["subjects"] == [model]
    assert "voice_file_missing" in {each["code"] for each in service.fix()["left"]}
    assert service.generate(service.script(model))["status"] == "failed"


def test_voices_of_another_engine_are_told(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    model = service.model()
    service.model(ready=False)
    monkeypatch.setattr(type(service.container.engine), "name", "builtin")
    assert service.findings()["voice_of_other_engine"]["subjects"] == [model]


def test_files_that_no_row_knows_are_swept_when_they_are_old(any_service: Service) -> None:
    service = any_service
    service.generate(service.script())
    store = service.container.store
    for bucket in ("samples", "takes", "models"):
        store.put(bucket, "nobody/knows.wav", io.BytesIO(b"stray"))
    store.path("takes", "nobody/late.wav.0a1b2c3d.part").write_bytes(b"left by a crash")  # type: ignore[attr-defined]
    stray = service.findings()["stray_file"]
    assert (len(stray["subjects"]), stray["fixable"]) == (4, False)  # young: a write may be under way
    service.fix()
    assert service.files("samples") == ["nobody/knows.wav"]
    for bucket in ("samples", "takes", "models"):
        for key in service.files(bucket):
            os.utime(store.path(bucket, key), (0, 0))  # type: ignore[attr-defined]
    assert service.findings()["stray_file"]["fixable"]
    assert [each["code"] for each in service.fix()["fixed"]] == ["stray_file"]
    assert found(service) == set()
    assert (len(service.files("takes")), len(service.files("models"))) == (1, 2)  # what is known stays


def test_what_was_written_during_the_walk_is_not_missing(
    any_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are listed first and rows read afterwards; in between a sample, a take and a voice are published."""
    service = any_service
    actor = service.actor()
    store, walk = type(service.container.store), type(service.container.store).keys

    def publish(one: object, bucket: str) -> list[StoredFile]:
        listed = list(walk(one, bucket))  # type: ignore[arg-type]
        if bucket == "models":
            monkeypatch.setattr(store, "keys", walk)
            service.sample(actor)
            service.generate(service.script())
        return listed

    monkeypatch.setattr(store, "keys", publish)
    assert found(service) == set()
    monkeypatch.setattr(store, "keys", publish)
    assert repairs._mark_takes(service.container) == 0
    assert (service.count(Sample), service.count(Take), service.count(VoiceModel)) == (2, 2, 2)


def test_what_a_crash_left_of_uploads_is_swept(any_service: Service) -> None:
    service = any_service
    inbox = service.container.settings.state_dir / "inbox"
    for name in ("left", "under-way"):
        (inbox / name).mkdir(parents=True)
        (inbox / name / "upload").write_bytes(b"RIFF")
    os.utime(inbox / "left", (0, 0))
    finding = service.findings()["stray_file"]
    assert (finding["subjects"], finding["fixable"]) == (["inbox/left"], True)
    service.fix()
    assert [folder.name for folder in inbox.iterdir()] == ["under-way"]
    assert found(service) == set()


def test_an_operators_own_file_is_not_touched(service: Service) -> None:
    own = service.container.settings.data_dir / "audio_files" / "내 파일.txt"
    own.write_text("mine")
    os.utime(own, (0, 0))
    service.fix()
    assert own.exists()


def test_unmeasured_samples_are_measured(any_service: Service) -> None:
    service = any_service
    sample = service.sample(service.actor(), measured=False)["id"]
    assert found(service) == set()  # its measurement is in line
    for job in service.hands.queued():
        service.lose_job(job)
    assert service.findings()["sample_unmeasured"]["subjects"] == [sample]
    service.fix()
    assert service.hands.do_all("samples.measure") == 1
    assert service.row(Sample, sample).verdict
    assert found(service) == set()


# --- folders ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["voice_samples", "audio_files", "voice_models", "logs"])
def test_a_missing_folder_is_made_again(service: Service, name: str) -> None:
    folder = service.container.settings.data_dir / name
    if folder.exists():
        folder.rmdir()
    assert name in service.findings()["folder_missing"]["subjects"]
    service.fix()
    assert folder.is_dir()
    assert found(service) == set()


def test_a_read_only_folder_is_named(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write anywhere, so the disk's refusal is played."""
    write = Path.write_bytes

    def refuse(path: Path, data: bytes) -> int:
        if path.parent.name == "voice_models":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return write(path, data)

    monkeypatch.setattr(local.Path, "write_bytes", refuse)
    finding = service.findings()["folder_read_only"]
    assert finding["subjects"] == ["voice_models"]
    assert "chmod 755" in finding["fix"]
    assert "folder_read_only" in {each["code"] for each in service.fix()["left"]}


@pytest.mark.parametrize("name", ["logs", "data"])
def test_a_read_only_folder_of_the_services_own_is_named(
    service: Service, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(machine.os, "access", lambda path, _mode: Path(path).name != name)
    assert service.findings()["folder_read_only"]["subjects"] == [name]


def test_a_disk_that_is_nearly_full_is_named(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = machine.shutil.disk_usage("/")._replace(free=2**30)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: usage)
    assert "disk_nearly_full" in service.findings()


def test_a_full_disk_is_named_too(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = machine.shutil.disk_usage("/")._replace(free=0)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: usage)
    assert "disk_nearly_full" in service.findings()


# --- the whole ----------------------------------------------------------------------------------------


def test_dry_run_changes_nothing(any_service: Service) -> None:
    service = any_service
    take = service.generate(service.script())["take"]["id"]
    service.container.store.delete("takes", service.files("takes")[0])
    said = service.fix(dry_run=True)
    assert said["dry_run"] is True
    assert [(each["code"], each["done"], each["subjects"]) for each in said["fixed"]] == [
        ("take_file_missing", False, [take])
    ]
    assert service.row(Take, take).missing_at is None
    assert service.fix()["dry_run"] is False
    assert service.row(Take, take).missing_at


def test_nothing_to_fix_is_an_answer_too(service: Service) -> None:
    said = service.fix()
    assert said["fixed"] == []
    assert {each["code"] for each in said["left"]} == {"no_worker", "mock_engine"}


def test_a_viewer_sees_and_a_producer_repairs(service: Service) -> None:
    assert service.get(PATH, role="viewer").status_code == 200
    assert service.post("/voice-actors/debug/fix-issues", role="viewer").status_code == 403


def test_findings_name_a_hundred_and_count_all(service: Service) -> None:
    store = service.container.store
    for number in range(120):
        store.put("takes", f"stray/{number}.wav", io.BytesIO(b"x"))
    stray = service.findings()["stray_file"]
    assert (len(stray["subjects"]), "120" in stray["what"]) == (100, True)


def test_no_secret_is_in_it(service: Service) -> None:
    service.generate(service.script(text="비밀 이벤트 안내입니다."))
    text = service.get(PATH).text
    assert "비밀" not in text
    assert service.token("producer") not in text
    key = service.container.settings.state_dir / "signing.key"
    assert not key.exists() or key.read_text() not in text
    assert json.loads(text)["milliseconds"] >= 0


def test_nothing_lost_shows_as_training(any_service: Service) -> None:
    service = any_service
    model = service.model(ready=False)
    run = service.post(f"/voice-actors/models/{model}/train").json()["training_run_id"]
    service.hands.do(run)  # fails: there are no samples
    assert service.row(VoiceModel, model).training_run_id is None
    assert found(service) == set()


def test_every_engine_is_named_and_one_that_is_absent_is_no_error(service: Service) -> None:
    diagnosis = service.get(PATH).json()["diagnosis"]
    assert {name: each["available"] for name, each in diagnosis["engines"].items()} == {
        "mock": True, "builtin": True, "xtts": False, "coqui": False,
    }  # fmt: skip
    absent = service.findings()["coqui_absent"]
    assert (absent["severity"], "coqui-tts" in absent["fix"]) == ("info", True)
    assert absent["what"] == "The engine coqui cannot run here: coqui-tts is not installed."
    assert absent["effect"] == "Another engine speaks."


# --- weights ------------------------------------------------------------------------------------------


def put_weights(service: Service) -> weights.Installed:
    folder = service.container.settings.weights / "xtts-v2"
    folder.mkdir(parents=True)
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    return weights.import_folder(
        small_release(), folder, service.container.settings.weights, accepted=["cpml"], accepted_by="kim"
    )


def test_weights_are_a_sentence(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    put_weights(service)
    said = "xtts-v2, the published files, 0.00 GB, accepted by kim"
    found = diagnose(service.container)
    assert found.diagnosis.weights["installed"] == [said]
    print_report(found)
    assert f"XTTS v2 weights: {said} (Coqui" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("model.pth", CONTENTS["model.pth"][:-1], "model.pth is damaged or cut short"),
        ("moksori.json", b"[]", "moksori.json, which says who accepted the licence, is damaged"),
    ],
)
def test_weights_that_cannot_be_used_are_told(
    service: Service, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, problem: str
) -> None:
    (put_weights(service).folder / name).write_bytes(content)
    finding = service.findings()["weights_unusable"]
    assert problem in finding["what"]
    assert "moksori weights fetch" in finding["fix"]
    assert (finding["severity"], finding["effect"]) == ("warning", "Another engine speaks.")
    assert service.get(PATH).json()["diagnosis"]["weights"]["installed"] == []
    monkeypatch.setattr(type(service.container.engine), "name", "xtts")
    assert service.findings()["weights_unusable"]["severity"] == "error"


def test_the_report_prints_brackets_as_they_are(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    found = diagnose(service.container)
    found.diagnosis.folders["logs"]["path"] = "/data/[/red][logs]"
    found.diagnosis.findings[0].what = "[nothing] is :warning:"
    print_report(found)
    printed = capsys.readouterr().out
    assert "folder logs: /data/[/red][logs]" in printed
    assert "[nothing] is :warning:" in printed
