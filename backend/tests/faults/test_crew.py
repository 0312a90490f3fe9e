"""A worker of several processes: whoever of them dies, the work ends, once, and nobody stays behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from app.models import Script
from tests.faults.parts import Faults
from tests.faults.processes import is_alive, until
from tests.faults.promises import Premises

CREW = {"worker_processes": "2", "worker_concurrency": "8"}
TEXTS = ["하나", "둘", "셋", "넷", "다섯", "여섯"]


def all_done(premises: Premises, scripts: list[str], generations: list[str]) -> None:
    premises.ended(generations)
    shown = [premises.service.generation(each) for each in generations]
    assert [each["failure"] for each in shown] == [None] * len(shown), premises.house.output()
    assert all(premises.service.row(Script, each).current_take_id for each in scripts)
    premises.check()


def crew(premises: Premises, at_work: int = 2) -> tuple[int, list[int]]:
    """The process ids of the one that holds the engine, and of those that do the jobs, once they are at work."""
    workers = premises.service.container.jobs
    until(lambda: workers.counts().alive_workers == at_work)
    _, leader, *others = premises.house.pids()
    return leader, others


@pytest.mark.parametrize("step", ["speak", "put", "publish~"])
def test_one_dies_at_a_step(premises: Premises, step: str) -> None:
    """At the first it is the engine's process, and all go with it."""
    scripts, generations = premises.asked(premises.service.model(), TEXTS)
    premises.house.service(Faults(die_at=step), **CREW)
    all_done(premises, scripts, generations)


def test_a_script_that_crashes_the_engine_each_time(premises: Premises) -> None:
    """Suspects are alone with the engine, not only in their process."""
    texts = ["하나", "둘", "독이 든 말", "셋", "넷", "다섯"]
    _, generations = premises.asked(premises.service.model(), texts)
    premises.house.service(Faults(poison="독이"), **CREW)
    premises.ended(generations)
    shown = [premises.service.generation(each) for each in generations]
    assert [each["status"] for each in shown] == ["done", "done", "failed", "done", "done", "done"]
    assert shown[2]["failure"]["code"] == "worker_crashed"
    premises.check()


def test_those_that_do_the_jobs_end_with_the_engine(premises: Premises, tmp_path: Path) -> None:
    scripts, generations = premises.asked(premises.service.model(), TEXTS)
    gate = tmp_path / "gate"
    worker = premises.house.worker(Faults(wait_at="put", gate=str(gate)), **CREW)
    until(Path(f"{gate}.reached").exists)
    others = premises.house.pids()[1:]
    assert len(others) == 2
    worker.kill()
    until(lambda: not any(map(is_alive, others)))
    premises.house.worker(**CREW)
    all_done(premises, scripts, generations)


def test_one_that_does_jobs_dies_and_the_others_go_on(premises: Premises, tmp_path: Path) -> None:
    scripts, generations = premises.asked(premises.service.model(), TEXTS)
    gate = tmp_path / "gate"
    premises.house.service(Faults(wait_at="put", gate=str(gate)), **CREW)
    leader, (first, second) = crew(premises)
    until(Path(f"{gate}.reached").exists)
    os.kill(first, signal.SIGKILL)
    until(lambda: len(premises.house.pids()) == 5)  # another one has started
    gate.touch()
    all_done(premises, scripts, generations)
    assert is_alive(leader)
    assert is_alive(second)


def test_all_stop_in_good_order_and_hand_back_what_they_had(premises: Premises) -> None:
    scripts, generations = premises.asked(premises.service.model(), TEXTS)
    worker = premises.house.worker(**CREW)
    until(lambda: premises.service.container.jobs.counts().alive_workers == 2)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert not any(map(is_alive, premises.house.pids()))
    assert {each.end for each in premises.service.container.jobs.workers()} == {"stopped"}
    premises.house.worker(**CREW)
    all_done(premises, scripts, generations)
