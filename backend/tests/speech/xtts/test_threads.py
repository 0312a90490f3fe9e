"""The number of threads follows what is fastest, whatever the machine does meanwhile."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from app.speech.xtts.threads import Threads, alone, wait_briefly


class Machine:
    """Steps take as long as `cost` says for the threads in use; no time passes otherwise."""

    def __init__(self, most: int, cost: dict[int, float]) -> None:
        self.now, self.used, self.cost = 0.0, most, cost
        self.threads = Threads(most, self.use, lambda: self.now)

    def use(self, number: int) -> None:
        self.used = number

    def steps(self, count: int, rows: int = 1) -> float:
        """Seconds they took."""
        start = self.now
        for _ in range(count):
            with self.threads(rows):
                self.now += self.cost[self.used]
        return self.now - start


def test_all_cores_while_they_are_free() -> None:
    machine = Machine(2, {1: 0.080, 2: 0.046})
    assert machine.steps(1000) < 1000 * 0.046 * 1.02
    assert machine.threads.number == 2


def test_a_step_that_is_far_slower_ends_a_trial() -> None:
    machine = Machine(2, {1: 0.080, 2: 0.046})
    assert machine.steps(32) == pytest.approx(31 * 0.046 + 0.080)
    machine = Machine(2, {1: 0.050, 2: 0.046})
    assert machine.steps(32) == pytest.approx(29 * 0.046 + 3 * 0.050)


def test_one_while_another_program_holds_a_core_and_back_again() -> None:
    machine = Machine(2, {1: 0.080, 2: 0.150})
    machine.steps(25)
    assert machine.threads.number == 1
    machine.cost = {1: 0.080, 2: 0.046}
    machine.steps(600)
    assert machine.threads.number == 2


def test_a_machine_of_many_cores_finds_the_best_number() -> None:
    machine = Machine(16, {1: 1.0, 2: 0.6, 4: 0.4, 8: 0.5, 16: 0.9})
    machine.steps(3000)
    assert machine.threads.number == 4


def test_steps_of_other_rows_are_not_compared() -> None:
    """A larger batch takes longer: that says nothing of threads."""
    machine = Machine(2, {1: 0.080, 2: 0.046})
    for rows in (1, 2, 4, 8, 16, 32) * 5:
        machine.cost = {1: 0.080 * rows, 2: 0.046 * rows}
        machine.steps(17, rows)
    assert machine.threads.number == 2


def test_everything_else_has_all_cores() -> None:
    machine = Machine(4, dict.fromkeys((1, 2, 4), 1.0))
    for _ in range(100):
        machine.steps(1)
        assert machine.used == 4


def test_a_step_that_breaks_gives_all_cores_back() -> None:
    machine = Machine(2, {1: 0.01, 2: 1.0})
    machine.steps(30)
    with pytest.raises(ValueError, match="broken"), machine.threads(1):
        assert machine.used == 1
        raise ValueError("broken")
    assert machine.used == 2


def test_one_core_is_left_alone() -> None:
    machine = Machine(1, {1: 1.0})
    machine.used = 0
    machine.cost[0] = 1.0
    machine.steps(100)
    assert machine.used == 0


@pytest.mark.parametrize(("set_before", "spin"), [({}, "5000"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_waiting_threads_look_for_a_while(
    set_before: dict[str, str], spin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")  # so that it is taken back afterwards
        monkeypatch.delenv(name)
    for name, value in set_before.items():
        monkeypatch.setenv(name, value)
    wait_briefly()
    assert os.environ["GOMP_SPINCOUNT"] == spin


def test_what_the_operator_chose_for_waiting_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setenv("GOMP_SPINCOUNT", "")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    wait_briefly()
    assert "GOMP_SPINCOUNT" not in os.environ


def test_a_thread_that_computes_alone_leaves_the_others_theirs(three_threads: None) -> None:
    with ThreadPoolExecutor(1) as other:
        assert other.submit(torch.get_num_threads).result() == 3
        with pytest.raises(ValueError), alone():
            assert torch.get_num_threads() == 1
            assert other.submit(torch.get_num_threads).result() == 3
            raise ValueError
    assert torch.get_num_threads() == 3
