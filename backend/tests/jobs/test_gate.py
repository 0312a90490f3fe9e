import os
import shutil
import signal
import threading
from multiprocessing.connection import Connection
from pathlib import Path

from app.jobs.gate import Gate
from tests.jobs.processes import CONTEXT


def test_many_are_inside_together() -> None:
    gate = Gate()
    together = threading.Barrier(3)

    def enter() -> None:
        with gate.shared():
            together.wait(10)

    threads = [threading.Thread(target=enter) for _ in range(2)]
    for thread in threads:
        thread.start()
    together.wait(10)  # would break if one kept the other out
    for thread in threads:
        thread.join(10)


def test_one_alone_waits_for_the_others_and_holds_newcomers_back() -> None:
    gate = Gate()
    order: list[str] = []
    first_is_in, first_may_go = threading.Event(), threading.Event()
    alone_waits, alone_may_go = threading.Event(), threading.Event()

    def first() -> None:
        with gate.shared():
            first_is_in.set()
            first_may_go.wait(10)
            order.append("first")

    def alone() -> None:
        alone_waits.set()
        with gate.alone():
            alone_may_go.wait(10)
            order.append("alone")

    def newcomer() -> None:
        with gate.shared():
            order.append("newcomer")

    threads = [threading.Thread(target=target) for target in (first, alone, newcomer)]
    threads[0].start()
    assert first_is_in.wait(10)
    threads[1].start()
    assert alone_waits.wait(10)
    while not gate._waiting_alone:
        pass
    threads[2].start()
    assert order == []
    first_may_go.set()
    alone_may_go.set()
    for thread in threads:
        thread.join(10)
    assert order == ["first", "alone", "newcomer"]


def test_an_error_inside_opens_the_gate_again() -> None:
    gate = Gate()
    for side in (gate.alone, gate.shared, gate.alone):
        try:
            with side():
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
    with gate.alone():
        pass


def _inside(folder: Path, side: str, pipe: Connection) -> None:
    """A process that comes in on one side, says so, and leaves when it is told to."""
    gate = Gate(folder)
    pipe.send("here")
    with getattr(gate, side)():
        pipe.send("in")
        pipe.recv()
    pipe.send("out")


class Other:
    def __init__(self, folder: Path, side: str) -> None:
        self.pipe, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_inside, args=(folder, side, theirs))
        self.process.start()
        theirs.close()
        assert self.pipe.recv() == "here"

    def is_in(self, seconds: float = 20.0) -> bool:
        return self.pipe.poll(seconds) and self.pipe.recv() == "in"

    def leave(self) -> None:
        self.pipe.send("go")
        assert self.pipe.recv() == "out"
        self.process.join()
        self.pipe.close()


def test_processes_with_one_folder_share_one_gate(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    first, second = Other(tmp_path, "shared"), Other(tmp_path, "shared")
    assert first.is_in()
    assert second.is_in()
    alone = Other(tmp_path, "alone")
    assert not alone.is_in(0.2)
    first.leave()
    newcomer = Other(tmp_path, "shared")
    assert not newcomer.is_in(0.2)  # it would keep the one that waits to be alone waiting for ever
    second.leave()
    assert alone.is_in()
    assert not newcomer.is_in(0.2)
    alone.leave()
    assert newcomer.is_in()
    with gate.shared():
        pass
    newcomer.leave()
    with gate.alone():
        pass


def test_a_folder_that_was_cleared_away_keeps_nobody_out(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    for side in (gate.shared, gate.alone):
        with side():
            shutil.rmtree(tmp_path / "gate")


def test_who_dies_alone_keeps_nobody_out(tmp_path: Path) -> None:
    alone = Other(tmp_path, "alone")
    assert alone.is_in()
    assert alone.process.pid is not None
    os.kill(alone.process.pid, signal.SIGKILL)
    alone.process.join()
    with Gate(tmp_path).shared(), Gate(tmp_path).shared():
        pass
    alone.pipe.close()
