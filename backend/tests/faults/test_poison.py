"""A script that takes its worker down each time fails by itself, and only it does."""

from __future__ import annotations

from tests.faults.parts import Faults
from tests.faults.promises import Premises

MOST_TRIES = 4


def test_a_script_that_crashes_every_worker(premises: Premises) -> None:
    texts = ["하나", "둘", "독이 든 말", "셋", "넷"]
    _, generations = premises.asked(premises.service.model(), texts)
    premises.house.service(Faults(poison="독이"))
    premises.ended(generations)
    shown = [premises.service.generation(each) for each in generations]
    assert [each["status"] for each in shown] == ["done", "done", "failed", "done", "done"]
    failure = shown[2]["failure"]
    assert failure["code"] == "worker_crashed"
    assert "died" in failure["message"]
    deaths = sum(worker.end == "crashed" for worker in premises.service.container.jobs.workers())
    assert 2 <= deaths <= MOST_TRIES
    premises.check()
