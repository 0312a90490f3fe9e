from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from app.generation.turns import Turns


def test_no_more_have_a_turn_than_there_are_places() -> None:
    turns, both_in, together = Turns(2), threading.Barrier(2), []
    inside = 0
    lock = threading.Lock()

    def work(number: int) -> None:
        nonlocal inside
        with turns.turn(first=number % 3 == 0):
            with lock:
                inside += 1
                together.append(inside)
            if number < 2:
                both_in.wait(10)  # two do get in at once
            with lock:
                inside -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    assert max(together) == 2
    assert len(together) == 40


def test_who_is_waited_for_goes_first() -> None:
    turns, order, waiting = Turns(1), [], threading.Semaphore(0)

    class Line(threading.Condition):
        """Tells when another one has begun to wait."""

        def wait(self, timeout: float | None = None) -> bool:
            waiting.release()
            return super().wait(timeout)

    turns._changed = Line()

    def work(name: str) -> None:
        with turns.turn(first=name == "first"):
            order.append(name)

    with ThreadPoolExecutor(4) as pool:
        with turns.turn(first=False):
            for name in ("one", "two", "three", "first"):
                pool.submit(work, name)
            for _ in range(4):
                assert waiting.acquire(timeout=10)
    assert order[0] == "first"
    assert sorted(order[1:]) == ["one", "three", "two"]


def test_a_turn_ends_with_an_error() -> None:
    turns = Turns(1)
    for _ in range(2):
        try:
            with turns.turn(first=True):
                raise ZeroDivisionError
        except ZeroDivisionError:
            continue
    with turns.turn(first=False):
        assert turns._free == 0
    assert turns._free == 1
