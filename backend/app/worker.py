"""The worker: measures, trains and speaks what the service was asked for. `python -m app.worker`.

It is one process, or where a GPU speaks a crew: one process that holds the engine and nothing else, and some that do
the jobs (docs/adr/0009 says why).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

import structlog

# Importing them registers their jobs.
import app.generation.workflows
import app.samples.workflows
import app.voice_models.workflows  # noqa: F401
from app import bootstrap
from app.config import load_settings
from app.deps import Container
from app.diagnosis import repairs
from app.generation.live.frames import folder_of
from app.generation.live.server import LiveServer
from app.generation.retention import drop_old_takes
from app.jobs import Gate, Worker, supervisor, watch_for_hang
from app.kit.logging import rotate, set_up_logging
from app.speech.apart import EngineApart, Host

log = structlog.get_logger()
MEASURING = 2  # samples measured side by side
# Scripts at work at once: twice the slots of xtts on a processor, three times those on a GPU.
AT_WORK, AT_WORK_ON_GPU = 64, 192
LIVE_SECONDS = 5.0  # that what is spoken live may take to its end, after jobs had 20
STOP_SECONDS = 26.0  # for the crew; the service gives the whole worker 30
# The engine's thread should get the interpreter back at once; Python's own 5 ms are four steps of a GPU.
SWITCH_SECONDS = 0.0002


class Upkeep(threading.Thread):
    """Now and then: ends what lost its job, sweeps strays, drops old takes, turns logs over."""

    def __init__(self, container: Container) -> None:
        super().__init__(name="upkeep", daemon=True)
        self.container, self.stopping = container, threading.Event()

    def run(self) -> None:
        while not self.stopping.wait(self.container.settings.sweep_seconds):
            self.once()

    def once(self) -> None:
        tasks: dict[str, Callable[[Container], int | None]] = {
            "settle": repairs.settle_work,
            "sweep": repairs.sweep_strays,
            "retention": drop_old_takes,
            "rotate": lambda container: rotate(container.settings.logs_dir),
        }
        for name, task in tasks.items():
            try:
                if count := task(self.container):
                    log.info("upkeep.done", task=name, count=count)
            except Exception as error:
                log.error("upkeep.failed", task=name, error=type(error).__name__, exc_info=error)


def main() -> int:
    engine = supervisor.connection()
    if engine is None:
        supervisor.follow_parent()
    settings = load_settings()
    set_up_logging(settings.logs_dir, process="worker")
    if engine is not None:
        apart = bootstrap.build(settings, lambda twin: EngineApart(twin, engine, lost=_die))
        return work(apart, Gate(folder_of(settings.state_dir) / "gate"))
    bootstrap.prepare_folders(settings)
    bootstrap.migrate(settings)
    container = bootstrap.build(settings)
    processes = bootstrap.worker_processes(settings, container.engine)
    if processes > 1:
        return lead(container, processes)
    return work(container)


def work(container: Container, gate: Gate | None = None) -> int:
    """Do jobs until told to stop; the exit code."""
    settings = container.settings
    upkeep = Upkeep(container)
    upkeep.start()
    worker = Worker(
        container.database,
        queues={"speech": settings.worker_concurrency or AT_WORK, "measure": MEASURING},
        container=container,
        beat_seconds=settings.beat_seconds,
        silent_seconds=settings.silent_seconds,
        retention_days=settings.job_retention_days,
        gate=gate,
    )
    live = LiveServer(container, worker.id)
    live.start()
    code = worker.run(live.withdraw)
    live.stop(LIVE_SECONDS)
    upkeep.stopping.set()
    container.speaker.close()
    return code


def lead(container: Container, processes: int) -> int:
    """Hold the engine for so many processes that do the jobs, until told to stop; the exit code.

    Should this one die, they die with it, at once: what they were about is begun again as after any crash.
    """
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    watch_for_hang(asked)
    sys.setswitchinterval(SWITCH_SECONDS)
    at_work = container.settings.worker_concurrency or AT_WORK_ON_GPU
    crew = [
        supervisor.Supervisor(
            [sys.executable, "-m", "app.worker"],
            environment={
                "MOKSORI_ENGINE": container.engine.name,
                "MOKSORI_WORKER_CONCURRENCY": str(-(-at_work // processes)),
            },
            serve=Host(container.speaker).serve,
            stop_seconds=STOP_SECONDS,
        )
        for _ in range(processes)
    ]
    for each in crew:
        each.start()
    log.info("worker.leads", processes=processes, engine=container.engine.name, pid=os.getpid())
    asked.wait()
    stopping = [threading.Thread(target=each.stop) for each in crew]
    for thread in stopping:
        thread.start()
    for thread in stopping:
        thread.join()
    container.speaker.close()
    return 0


def _die() -> NoReturn:
    """Leave as a process that crashed: what killed the engine may be one of the jobs here, and is looked for."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Jobs that were handed back may still sit in threads, which nothing else ends.
    os._exit(code)
