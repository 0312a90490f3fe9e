"""What the service costs and how it responds: `python tools/bench_service.py [--scripts 1000]`.

A real service with the mock engine on SQLite, in a fresh folder: start to ready, a diagnosis with 1,000
samples, peak memory of the service and its worker, and how long one waits whose announcement overtakes a
batch of 1,000 scripts. Then jobs a second on both databases (see bench_jobs.py). Prints a table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "backend"))

import bench_diagnosis

from app.config import Settings
from app.jobs import Jobs
from app.jobs.tables import JobWorker
from app.kit.database import Database
from app.main import create_app
from app.models import Script
from app.remote import Remote
from tests.running import Running, running_service
from tests.running import start as start_service
from tests.running import stop as stop_service
from tests.service import Service, serving

OVERTAKERS = 5


def machine() -> str:
    """The processor's name and how many there are of it."""
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"{found[1] if found else platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def peak_memory(pid: int) -> float:
    """A process's most resident memory so far, MB."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else float("nan")


def worker_pid(database: Database) -> int:
    """The process id of the living worker, as the database knows it."""
    [worker] = [each for each in Jobs(database).workers() if each.alive]
    with database.reading() as session:
        return int(session.get_one(JobWorker, worker.id).process.split("|")[1])


def make_scripts(settings: Settings, number: int) -> list[str]:
    """Scripts with a trained voice, without the work of a training; the first ids are for a batch."""
    with serving(create_app(settings), settings) as service:
        return add_scripts(service, number)


def add_scripts(service: Service, number: int) -> list[str]:
    model = service.model()
    with service.container.database.session() as session:
        rows = [
            Script(
                voice_model_id=model,
                title="",
                text="고객센터입니다. 잠시만 기다려 주십시오.",
            )
            for _ in range(number)
        ]
        session.add_all(rows)
        session.flush()
        return [row.id for row in rows]


def overtaken(remote: Remote, scripts: list[str]) -> tuple[float, float, float]:
    """(longest wait in line, longest time to a finished take, takes a second), with all else in one batch."""
    batch = remote.call(
        "POST",
        "/voice-actors/tts-scripts/batch-generate",
        json={"script_ids": scripts[OVERTAKERS:]},
    )
    waits, ends = [], []
    for script in scripts[:OVERTAKERS]:
        began = time.monotonic()
        answer = remote.call("POST", f"/voice-actors/tts-scripts/{script}/generate")
        path, status, wait = (
            f"/voice-actors/tts-generations/{answer['generation_id']}",
            "queued",
            0.0,
        )
        while status in ("queued", "running"):
            status = remote.call("GET", path)["status"]
            wait = wait or (time.monotonic() - began if status != "queued" else 0.0)
        waits.append(wait)
        ends.append(time.monotonic() - began)
    over: Any = remote.wait_for_batch(batch["batch_id"], lambda _: None)
    return max(waits), max(ends), over["per_minute"] / 60


def measure(running: Running, settings: Settings, scripts: list[str]) -> list[tuple[str, str]]:
    with running.remote() as remote:
        wait, end, rate = overtaken(remote, scripts)
    database = Database(settings.database)
    try:
        worker = peak_memory(worker_pid(database))
    finally:
        database.close()
    return [
        (
            f"interactive request under a batch of {len(scripts) - OVERTAKERS}: in line",
            f"{wait:.2f} s",
        ),
        ("the same, until its take is there", f"{end:.2f} s"),
        ("takes of that batch (mock engine)", f"{rate:.1f} /s"),
        ("peak memory of the service", f"{peak_memory(running.process.pid):.0f} MB"),
        ("peak memory of the worker", f"{worker:.0f} MB"),
    ]


def service_figures(number: int) -> list[tuple[str, str]]:
    with tempfile.TemporaryDirectory(prefix="moksori-bench-") as name:
        data = Path(name)
        with running_service(data, engine="mock") as running:
            settings = Settings(_env_file=None, data_dir=data, engine="mock", workers=0)  # type: ignore[call-arg]
            stop_service(running.process)
            scripts = make_scripts(settings, number + OVERTAKERS)
            began = time.monotonic()
            running.process = start_service(running.environment, data)
            ready = time.monotonic() - began
            return [
                ("service start to ready, its worker too", f"{ready:.1f} s"),
                *measure(running, settings, scripts),
            ]


def job_figures(number: int) -> list[tuple[str, str]]:
    """By bench_jobs.py in a process of its own: it forks its worker, which wants one without threads."""
    command = [
        sys.executable,
        str(Path(__file__).with_name("bench_jobs.py")),
        "--jobs",
        str(number),
        "--backlog",
        "0",
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"database"')]
    return [
        (f"{what}, {figures['database']}", f"{figures[key]:.0f} /s")
        for figures in found
        for what, key in (
            ("one-step jobs", "one_step_jobs_per_s"),
            ("jobs that publish", "publishing_jobs_per_s"),
        )
    ]


def diagnosis_figures(number: int) -> list[tuple[str, str]]:
    return [
        (f"diagnosis with {number} samples, {kind}: median (slowest)",
         f"{found['median_ms']:.0f} ({found['slowest_ms']:.0f}) ms")
        for kind, url in bench_diagnosis.databases()
        for found in [bench_diagnosis.measure(url, number)]
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scripts", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=1000)
    options = parser.parse_args()
    print(f"{machine()}, {len(os.sched_getaffinity(0))} of them used", flush=True)
    for part, number in (
        (service_figures, options.scripts),
        (diagnosis_figures, options.samples),
        (job_figures, options.jobs),
    ):
        for what, figure in part(number):
            print(f"{what:<58} {figure:>16}", flush=True)
    print(f"Load of the whole machine, over the last five minutes: {os.getloadavg()[1]:.1f}")


if __name__ == "__main__":
    main()
