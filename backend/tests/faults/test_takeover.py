"""A worker that is gone for good, or asleep: another does its work, and the sleeper can publish nothing."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from app.jobs import EXIT_GIVEN_UP
from tests.faults.parts import Faults
from tests.faults.processes import until
from tests.faults.promises import Premises


def held(tmp_path: Path, step: str) -> tuple[Faults, Path]:
    gate = tmp_path / "gate"
    return Faults(wait_at=step, gate=str(gate)), Path(f"{gate}.reached")


def test_killed_for_good(premises: Premises, tmp_path: Path) -> None:
    faults, reached = held(tmp_path, "put")
    _, generations = premises.asked(premises.service.model(), ["하나", "둘"])
    dying = premises.house.worker(faults)
    until(reached.exists)
    premises.house.worker()
    dying.kill()
    premises.ended(generations)
    assert [premises.service.generation(each)["status"] for each in generations] == ["done"] * 2
    premises.check()


@pytest.mark.parametrize("step", ["put", "put~"])
def test_silent_and_awake_again(premises: Premises, tmp_path: Path, step: str) -> None:
    """Frozen with its file unwritten or unpublished; thawed, it finds its work taken and leaves.

    It writes rarely: one that is frozen while it has SQLite's only write lock stops everybody.
    """
    faults, reached = held(tmp_path, step)
    _, generations = premises.asked(premises.service.model(), ["하나"])
    frozen = premises.house.worker(faults, silent_seconds="60", beat_seconds="3", sweep_seconds="3600")
    until(reached.exists)
    frozen.signal(signal.SIGSTOP)
    premises.house.worker(silent_seconds="4")
    premises.ended(generations)
    before = sorted(premises.service.generation(each)["take"]["id"] for each in generations)
    Path(faults.gate).touch()
    frozen.signal(signal.SIGCONT)
    assert frozen.wait() == EXIT_GIVEN_UP
    assert sorted(premises.service.generation(each)["take"]["id"] for each in generations) == before
    premises.check()
