"""Batches while workers are at work: cancelled, tried again, and overtaken."""

from __future__ import annotations

from pathlib import Path

from app.models import Generation, Script
from tests.faults.parts import Faults
from tests.faults.processes import until
from tests.faults.promises import Premises

MANY = 1000


def test_cancelled_while_queued_and_running(premises: Premises, tmp_path: Path) -> None:
    """What waits and what runs ends as cancelled; the one that runs stores nothing that a row knows."""
    gate = tmp_path / "gate"
    service = premises.service
    model = service.model()
    scripts = [service.script(model, text) for text in ("하나", "둘", "셋")]
    started = service.batch(scripts)
    generations = [item["generation_id"] for item in started["scripts"]]
    premises.house.worker(Faults(wait_at="put", gate=str(gate)), worker_concurrency="1")
    until(Path(f"{gate}.reached").exists)
    assert service.container.jobs.counts().queues["speech"] == (2, 1)
    shown = service.post(f"/voice-actors/batches/{started['batch_id']}/cancel").json()
    assert (shown["status"], shown["cancelled"]) == ("cancelled", 3)
    gate.touch()
    # The worker goes on with what comes after.
    _, after = premises.asked(model, ["넷"])
    premises.ended(after)
    assert [service.generation(each)["status"] for each in [*generations, *after]] == [
        "cancelled", "cancelled", "cancelled", "done",
    ]  # fmt: skip
    assert not any(service.row(Script, each).current_take_id for each in scripts)
    premises.check()


def test_tried_again_with_growing_pauses(premises: Premises, tmp_path: Path) -> None:
    log = tmp_path / "log"
    faults = Faults(busy="바쁜", busy_times=2, log=str(log))
    _, generations = premises.asked(premises.service.model(), ["바쁜 말"])
    premises.house.worker(faults)
    premises.ended(generations)
    assert premises.service.generation(generations[0])["status"] == "done"
    first, second, third = (float(line.split()[0]) for line in log.read_text().splitlines())
    assert second - first >= 0.5
    assert third - second >= 2.0
    premises.check()


def test_an_engine_that_stays_busy_is_a_failure(premises: Premises, tmp_path: Path) -> None:
    log = tmp_path / "log"
    _, generations = premises.asked(premises.service.model(), ["바쁜 말", "둘"])
    premises.house.worker(Faults(busy="바쁜", busy_times=99, log=str(log)))
    premises.ended(generations)
    busy, other = (premises.service.generation(each) for each in generations)
    assert (busy["status"], busy["failure"]["code"], other["status"]) == ("failed", "engine_busy", "done")
    assert sum("바쁜" in line for line in log.read_text().splitlines()) == 3
    premises.check()


def test_one_that_somebody_waits_for_overtakes_a_thousand(premises: Premises, tmp_path: Path) -> None:
    """Asked for when the batch is at work: only what the engine has already taken is spoken before it."""
    gate, log = tmp_path / "gate", tmp_path / "log"
    service = premises.service
    model = service.model()
    with service.container.database.session() as session:
        rows = [Script(voice_model_id=model, title="", text="안내") for _ in range(MANY)]
        session.add_all(rows)
    started = service.batch([row.id for row in rows])
    assert started["accepted"] == MANY
    premises.house.worker(Faults(wait_at="put", gate=str(gate), log=str(log)), worker_concurrency="4")
    until(Path(f"{gate}.reached").exists)
    urgent = service.post(f"/voice-actors/tts-scripts/{service.script(model, '급한 말')}/generate")
    generation = urgent.json()["generation_id"]
    # The batch's four are held back; the one that somebody waits for has slots of its own.
    until(lambda: "급한" in log.read_text())
    spoken = [line.split()[1] for line in log.read_text().splitlines()]
    assert spoken.index("급한") <= 4
    assert service.container.jobs.counts().queues["speech"][0] >= MANY - 4
    assert service.get(f"/voice-actors/batches/{started['batch_id']}").json()["done"] == 0
    gate.touch()
    premises.ended([generation])
    assert service.generation(generation)["status"] == "done"
    over = service.get(f"/voice-actors/batches/{started['batch_id']}").json()
    assert over["status"] == "running"
    batch = [item["generation_id"] for item in started["scripts"]]
    premises.ended(batch)
    over = service.get(f"/voice-actors/batches/{started['batch_id']}").json()
    assert (over["status"], over["done"], over["failed"]) == ("done", MANY, 0)
    assert service.count(Generation) == MANY + 1
    premises.check()
