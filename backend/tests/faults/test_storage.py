"""Disks that are full, folders that cannot be written, files that went away: said, and nothing half-written."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.models import Sample, Take
from tests.faults.disks import full_disk, read_only
from tests.service import TEXT, Service, buzz, wav


def folder(service: Service, name: str) -> Path:
    return service.container.settings.data_dir / name


def left_behind(service: Service, name: str) -> list[Path]:
    return [path for path in folder(service, name).rglob("*") if path.is_file()]


def test_the_disk_is_full_while_a_take_is_stored(
    any_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = any_service
    script = service.script()
    with full_disk(folder(service, "audio_files"), monkeypatch):
        failed = service.generate(script)
        assert (failed["status"], failed["failure"]["code"]) == ("failed", "storage_full")
        assert failed["failure"]["fix"]
        assert left_behind(service, "audio_files") == []
    assert service.count(Take) == 0
    assert service.generate(script)["status"] == "done"  # there is room again
    assert len(service.files("takes")) == service.count(Take) == 1


def test_the_disk_is_full_while_an_upload_is_stored(
    any_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = any_service
    actor = service.actor()
    recording = wav(buzz(3.0))
    with full_disk(folder(service, "voice_samples"), monkeypatch):
        refused = service.upload(actor, recording, TEXT)
        assert (refused.status_code, refused.json()["code"]) == (507, "storage_full")
        assert left_behind(service, "voice_samples") == []
    assert service.count(Sample) == 0
    assert service.hands.queued() == []
    assert left_behind(service, "data") == []
    assert service.upload(actor, recording, TEXT).status_code == 201


def test_a_folder_of_voices_that_cannot_be_written(
    any_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The diagnosis says so; a training fails with that reason, and works once the folder can be written."""
    service = any_service
    actor = service.actor()
    service.sample(actor)
    model = service.model(actor, ready=False)
    with read_only(folder(service, "voice_models"), monkeypatch):
        findings = service.findings()
        assert any("voice_models" in str(each) for each in findings.values()), findings
        service.post(f"/voice-actors/models/{model}/train")
        service.hands.do_all()
        shown = service.get(f"/voice-actors/models/{model}").json()
        assert (shown["status"], shown["failure"]["code"]) == ("failed", "storage_read_only")
        assert shown["failure"]["fix"]
    service.post(f"/voice-actors/models/{model}/train")
    service.hands.do_all()
    assert service.get(f"/voice-actors/models/{model}").json()["status"] == "ready"


def test_a_sample_deleted_behind_the_services_back(any_service: Service) -> None:
    service = any_service
    actor = service.actor()
    recording = wav(buzz(2.5))
    sample = service.upload(actor, recording, TEXT).json()["id"]
    service.hands.do_all()
    for path in left_behind(service, "voice_samples"):
        path.unlink()
    assert service.findings()["sample_file_missing"]["subjects"] == [sample]
    model = service.model(actor, ready=False)
    service.post(f"/voice-actors/models/{model}/train")
    service.hands.do_all()
    shown = service.get(f"/voice-actors/models/{model}").json()
    assert (shown["status"], shown["failure"]["code"]) == ("failed", "sample_file_missing")
    assert "Upload" in shown["failure"]["fix"]
    again = service.upload(actor, recording, TEXT)
    assert (again.status_code, again.json()["id"]) == (200, sample)
    service.post(f"/voice-actors/models/{model}/train")
    service.hands.do_all()
    assert service.get(f"/voice-actors/models/{model}").json()["status"] == "ready"
    assert "sample_file_missing" not in service.findings()
