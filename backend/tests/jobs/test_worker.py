"""What a worker does beside its jobs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from app.jobs import Registry, Worker, liveness
from app.kit.database import Database
from tests.jobs.processes import until

HANGING = """
import re, threading
from app.jobs import worker
worker.HANG_SECONDS = 0.3
worker.watch_for_hang(threading.Event())
re.fullmatch("(a+)+", "a" * 60 + "b")
"""


def test_a_beat_that_breaks_is_not_the_last(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    beat, calls = liveness.beat, []

    def breaks_first(*arguments: object) -> bool:
        calls.append(arguments)
        if len(calls) == 1:
            raise UnicodeDecodeError("utf-8", b"", 0, 1, "a name")
        return beat(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(liveness, "beat", breaks_first)
    worker = Worker(database, Registry(), beat_seconds=0.01)
    worker.start()
    try:
        until(lambda: len(calls) > 2)
        assert not worker.given_up
    finally:
        worker.stop()


def test_a_process_in_which_nothing_runs_any_more_ends() -> None:
    hanging = subprocess.run(
        [sys.executable, "-c", HANGING], check=False, capture_output=True, text=True, timeout=60
    )
    assert hanging.returncode == 1
    assert "Timeout" in hanging.stderr
