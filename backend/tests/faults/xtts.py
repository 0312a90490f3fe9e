"""Workers that speak with the xtts engine on a tiny checkpoint, and what goes wrong inside it.

The engine is the real one. A fault is raised by the runner's step, by the voicing, or by the kernel, which
refuses memory beyond a limit. There is no GPU: that it is lost is said.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import app.worker
from app import bootstrap
from app.jobs import engine
from app.speech.xtts import XttsEngine
from app.speech.xtts.batch import Batch
from app.speech.xtts.gpu import losing
from app.speech.xtts.runner import Runner
from app.speech.xtts.voicing import Voicing
from tests.faults import processes
from tests.faults.parts import Faults
from tests.faults.processes import House, Process

FAULTS = "TEST_XTTS_FAULTS"


@dataclass(frozen=True)
class XttsFaults:
    """`checkpoint` is the engine's. Steps and voicings are counted from 1, once the file `armed` is there."""

    checkpoint: str
    armed: str = ""
    slots: int = 4
    die_at_step: int = 0
    die_at_voicing: int = 0
    lost_at_step: int = 0  # the GPU, and all that comes after fails too
    no_memory_at_steps: tuple[int, ...] = ()
    no_memory_at_voicings: tuple[int, ...] = ()
    # Bytes of address space that the worker may add once the engine is loaded; 0: as many as it likes.
    room: int = 0
    # A line for each time that the batch was made smaller: how many slots are left.
    log: str = ""


def _make_faulty(faults: XttsFaults) -> None:
    """Let everything that speaks in this process have these faults."""
    armed = Path(faults.armed)

    lost = threading.Event()
    losing.is_lost = lambda _device: lost.is_set()

    def counted(
        function: Callable[..., Any], counts: Callable[..., bool], die: int, short: Any, lose: int = 0
    ) -> Any:
        calls = 0

        def call(*arguments: Any) -> Any:
            nonlocal calls
            if counts(*arguments) and armed.is_file():
                calls += 1
                if calls == die:
                    os.kill(os.getpid(), signal.SIGKILL)
                if calls == lose:
                    lost.set()
                if lost.is_set():
                    raise RuntimeError("an illegal memory access was encountered")
                if calls in short:
                    raise torch.OutOfMemoryError("no memory")
            return function(*arguments)

        return call

    Runner.start = counted(  # type: ignore[method-assign]
        Runner.start,
        lambda self, _some: len(self.rows) > 1,
        faults.die_at_step,
        faults.no_memory_at_steps,
        faults.lost_at_step,
    )
    Voicing.__call__ = counted(  # type: ignore[method-assign]
        Voicing.__call__, lambda _, some: bool(some), faults.die_at_voicing, faults.no_memory_at_voicings
    )
    shrink = Batch._shrink

    def shrunk(self: Batch, error: Exception) -> None:
        shrink(self, error)
        with Path(faults.log).open("a") as file:
            print(self.slots, type(error).__name__, file=file)

    Batch._shrink = shrunk  # type: ignore[method-assign]


def _engine(faults: XttsFaults) -> Any:
    class Limited(XttsEngine):
        def load(self) -> None:
            fresh = self._worker is None
            super().load()
            if fresh and faults.room:
                used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
                resource.setrlimit(resource.RLIMIT_AS, (used + faults.room, resource.RLIM_INFINITY))

    return Limited(Path(faults.checkpoint), precision="fp32", slots=faults.slots, threads=1)


def _work(environment: dict[str, str]) -> None:
    """`app.worker` as it is, with the xtts engine in it."""
    processes._begin(environment)
    engine.POLL_ALONE_SECONDS = 0.1
    faults = XttsFaults(**json.loads(environment[FAULTS]))
    _make_faulty(faults)
    bootstrap.make_engine = lambda _name, _settings: _engine(faults)  # type: ignore[assignment]
    os._exit(app.worker.main())


def worker(house: House, faults: XttsFaults) -> Process:
    return Process(_work, house._with(Faults(), {}) | {FAULTS: json.dumps(asdict(faults))})
