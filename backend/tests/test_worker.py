"""The worker with its real jobs, and its upkeep."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from app import worker as entry
from app.jobs import Worker
from app.models import Script
from app.worker import MEASURING, Upkeep
from tests.jobs.processes import until
from tests.service import TEXT, Service


@pytest.fixture
def worked(any_service: Service) -> Iterator[Service]:
    """A service with a worker beside it, in this process."""
    container = any_service.container
    worker = Worker(
        container.database, queues={"speech": 8, "measure": MEASURING}, container=container, beat_seconds=0.5
    )
    worker.start()
    yield any_service
    worker.stop(drain=False)


def test_everything_is_done_by_a_worker(worked: Service) -> None:
    service = worked
    actor = service.actor()
    sample = service.upload(actor, text=TEXT).json()["id"]
    until(lambda: service.get(f"/voice-actors/{actor}/samples/{sample}").json()["verdict"])
    model = service.model(actor, ready=False)
    trained = service.post(f"/voice-actors/models/{model}/debug-train").json()
    assert (trained["status"], [step["status"] for step in trained["steps"]]) == ("ready", ["ok"] * 6)
    scripts = [service.script(model, f"{number}번 안내입니다.") for number in range(12)]
    started = service.batch(scripts)
    batch = f"/voice-actors/batches/{started['batch_id']}"
    until(lambda: service.get(batch).json()["status"] == "done")
    assert service.get(batch).json()["done"] == 12
    takes = [service.row(Script, script).current_take_id for script in scripts]
    assert len(set(takes)) == 12
    assert None not in takes
    found = {code for code, each in service.findings().items() if each["severity"] != "info"}
    assert found == {"mock_engine"}


def test_an_interactive_one_overtakes_a_thousand(worked: Service) -> None:
    service = worked
    model = service.model()
    with service.container.database.session() as session:
        scripts = [Script(voice_model_id=model, title="", text="안내") for _ in range(1000)]
        session.add_all(scripts)
        session.flush()
        ids = [script.id for script in scripts]
    alone = service.script(model)
    started = service.batch(ids)
    began = time.monotonic()
    generation = service.post(f"/voice-actors/tts-scripts/{alone}/generate").json()["generation_id"]
    until(lambda: service.generation(generation)["status"] != "queued")
    assert time.monotonic() - began < 2.0
    until(lambda: service.generation(generation)["status"] == "done")
    stopped = service.post(f"/voice-actors/batches/{started['batch_id']}/cancel").json()
    assert stopped["done"] < 1000
    assert stopped["failed"] == 0
    assert stopped["done"] + stopped["cancelled"] == 1000


def test_upkeep_does_all_it_should(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """One task's fault does not keep the others from their work."""
    run = service.post(f"/voice-actors/models/{service.model()}/train").json()["training_run_id"]
    service.lose_job(run)
    (service.container.settings.data_dir / "audio_files" / "stray.wav").write_bytes(b"x")
    object.__setattr__(service.container.settings, "orphan_seconds", 0.0)

    def fail(_: object) -> int:
        raise RuntimeError

    monkeypatch.setattr(entry, "drop_old_takes", fail)
    monkeypatch.setattr(entry, "rotate", fail)
    assert set(service.findings()) >= {"training_lost", "stray_file"}
    Upkeep(service.container).once()
    assert not service.findings().keys() & {"training_lost", "stray_file"}
