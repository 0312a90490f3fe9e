"""What a worker puts right by itself, now and then, and the operator's reset of a training under way."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from app.models import TrainingRun, VoiceModel
from tests.faults.parts import Faults
from tests.faults.processes import until
from tests.faults.promises import Premises


def test_old_files_without_a_row_are_swept_and_young_ones_are_not(premises: Premises) -> None:
    data = premises.service.container.settings.data_dir
    old, young = data / "audio_files/a/old.wav", data / "audio_files/a/young.wav"
    old.parent.mkdir(parents=True)
    for file in (old, young):
        file.write_bytes(b"1234")
    hour_ago = time.time() - 3600
    os.utime(old, (hour_ago, hour_ago))
    premises.house.worker()
    until(lambda: not old.exists())
    assert young.exists()


def test_what_lost_its_job_is_ended(premises: Premises) -> None:
    """The rows of a training and a generation whose jobs are gone, as after a restored backup."""
    service = premises.service
    model, other = service.model(), service.model()
    run = premises.train(model)
    _, [generation] = premises.asked(other, ["하나"])
    service.lose_job(run)
    service.lose_job(generation)
    assert premises.model(model)["status"] == "failed"
    premises.house.worker()
    premises.ended([generation])
    assert premises.trained(run).outcome == "failed"
    assert service.generation(generation)["failure"]["code"] == "job_lost"
    assert premises.model(model)["failure"]["code"] == "training_lost"
    premises.check()


@pytest.mark.parametrize("step", ["condition", "put~"])
def test_a_reset_stops_a_training_under_way(premises: Premises, tmp_path: Path, step: str) -> None:
    gate = tmp_path / "gate"
    service = premises.service
    actor = service.actor()
    service.sample(actor)
    model = service.model(actor)
    before = service.row(VoiceModel, model).state_key
    run = premises.train(model)
    premises.house.worker(Faults(wait_at=step, gate=str(gate)))
    until(Path(f"{gate}.reached").exists)
    assert premises.model(model)["status"] == "training"
    answer = service.put(f"/voice-actors/models/{model}", json={"status": "ready"})
    assert (answer.status_code, answer.json()["status"], answer.json()["version"]) == (200, "ready", 1)
    gate.touch()
    # The worker lets go of the training, and does what comes next.
    _, after = premises.asked(model, ["하나"])
    premises.ended(after)
    until(lambda: service.container.jobs.counts().queues == {})
    assert service.row(VoiceModel, model).state_key == before
    assert service.row(TrainingRun, run).outcome == "stopped"
    assert service.generation(after[0])["status"] == "done"
    premises.check()
