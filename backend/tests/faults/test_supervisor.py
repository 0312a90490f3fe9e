"""`make run`: the service as it is started, and the worker that it keeps."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

from app.jobs.liveness import _start_time
from tests.faults.processes import until
from tests.running import Running, running_service
from tests.service import TEXT, buzz, wav


def worker_pid(running: Running) -> int | None:
    """The living worker's process id, as it noted it itself."""
    with closing(sqlite3.connect(running.data / "data" / "moksori.sqlite3", timeout=30)) as database:
        rows = database.execute("SELECT process FROM job_workers WHERE ended_at IS NULL").fetchall()
    pids = [int(process.split("|")[1]) for (process,) in rows]
    return next((pid for pid in pids if _start_time(pid)), None)


def test_a_killed_worker_is_started_again_and_ends_with_the_service(tmp_path: Path) -> None:
    with (
        running_service(tmp_path / "data", engine="mock", beat_seconds="0.5") as running,
        running.remote() as remote,
    ):
        actor = remote.call(
            "POST", "/voice-actors/", json={"name": "성우", "gender": "male", "age_range": "30s"}
        )["id"]
        recording = tmp_path / "a.wav"
        recording.write_bytes(wav(buzz(2.0)))
        remote.upload_sample(actor, recording, TEXT)
        body = {"voice_actor_id": actor, "model_name": "m"}
        model = remote.call("POST", "/voice-actors/models", json=body)["id"]
        first = worker_pid(running)
        assert first is not None
        remote.call("POST", f"/voice-actors/models/{model}/train")
        os.kill(first, signal.SIGKILL)
        second = until(lambda: pid if (pid := worker_pid(running)) not in (None, first) else None)
        until(lambda: remote.call("GET", f"/voice-actors/models/{model}")["status"] == "ready")
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(60) in (0, -signal.SIGTERM)
        assert _start_time(second) is None
