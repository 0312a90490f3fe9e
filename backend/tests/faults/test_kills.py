"""kill -9 at each step of training and generation: whatever dies, all work ends by itself, once."""

from __future__ import annotations

import pytest

from app.models import Script
from tests.faults.parts import GENERATION, TRAINING, Faults
from tests.faults.promises import Premises

# The worker alone, which the service starts again; or the service and its worker, started again by hand.
DEATHS = (("worker",), ("service", "worker"))


def live_through(premises: Premises, faults: Faults) -> None:
    """Start a service whose worker has these faults; after the service's death another one without any."""
    service = premises.house.service(faults)
    if "service" in faults.dies:
        assert service.wait() == -9
        premises.house.service()


@pytest.mark.parametrize("dies", DEATHS, ids="+".join)
@pytest.mark.parametrize("step", GENERATION)
def test_generation(premises: Premises, step: str, dies: tuple[str, ...]) -> None:
    scripts, generations = premises.asked(premises.service.model(), ["하나", "둘", "셋"])
    live_through(premises, Faults(die_at=step, dies=dies))
    premises.ended(generations)
    assert [premises.service.generation(each)["status"] for each in generations] == ["done"] * 3
    assert all(premises.service.row(Script, each).current_take_id for each in scripts)
    premises.check()


@pytest.mark.parametrize("dies", DEATHS, ids="+".join)
@pytest.mark.parametrize("step", TRAINING)
def test_training(premises: Premises, step: str, dies: tuple[str, ...]) -> None:
    service = premises.service
    actor = service.actor()
    service.sample(actor)
    model = service.model(actor, ready=False)
    run = premises.train(model)
    live_through(premises, Faults(die_at=step, dies=dies))
    assert premises.trained(run).outcome == "ready"
    shown = premises.model(model)
    assert (shown["status"], shown["version"], shown["failure"]) == ("ready", 1, None)
    premises.check()
