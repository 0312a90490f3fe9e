"""The worker: measures, trains and speaks what the service was asked for. `python -m app.worker`."""

from __future__ import annotations

import os
import sys
import threading

import structlog

# Importing them registers their jobs.
import app.generation.workflows
import app.samples.workflows
import app.voice_models.workflows  # noqa: F401
from app import bootstrap
from app.config import load_settings
from app.deps import Container
from app.diagnosis import repairs
from app.generation.live.server import LiveServer
from app.generation.retention import drop_old_takes
from app.jobs import Worker
from app.jobs.supervisor import follow_parent
from app.kit.logging import rotate, set_up_logging

log = structlog.get_logger()
MEASURING = 2  # samples measured side by side


class Upkeep(threading.Thread):
    """Now and then: ends what lost its job, sweeps strays, drops old takes, turns logs over."""

    def __init__(self, container: Container) -> None:
        super().__init__(name="upkeep", daemon=True)
        self.container, self.stopping = container, threading.Event()

    def run(self) -> None:
        while not self.stopping.wait(self.container.settings.sweep_seconds):
            self.once()

    def once(self) -> None:
        for name, task in (
            ("settle", repairs.settle_work),
            ("sweep", repairs.sweep_strays),
            ("retention", drop_old_takes),
        ):
            try:
                if count := task(self.container):
                    log.info("upkeep.done", task=name, count=count)
            except Exception as error:
                log.error("upkeep.failed", task=name, error=type(error).__name__, exc_info=error)
        rotate(self.container.settings.logs_dir)


def main() -> int:
    follow_parent()
    settings = load_settings()
    set_up_logging(settings.logs_dir, process="worker")
    bootstrap.prepare_folders(settings)
    bootstrap.migrate(settings)
    container = bootstrap.build(settings)
    upkeep = Upkeep(container)
    upkeep.start()
    worker = Worker(
        container.database,
        queues={"speech": settings.worker_concurrency, "measure": MEASURING},
        container=container,
        beat_seconds=settings.beat_seconds,
        silent_seconds=settings.silent_seconds,
        retention_days=settings.job_retention_days,
    )
    live = LiveServer(container, worker.id)
    live.start()
    code = worker.run()
    live.stop()
    upkeep.stopping.set()
    container.speaker.close()
    return code


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Jobs that were handed back may still sit in threads, which nothing else ends.
    os._exit(code)
