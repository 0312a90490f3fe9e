"""The real service as a process of its own, for tests that need all of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from app.remote import Remote

START_SECONDS = 110


@dataclass
class Running:
    """A running service: its address, an administrator's token, its data folder and its process."""

    url: str
    token: str
    data: Path
    process: subprocess.Popen[bytes]
    environment: dict[str, str]

    def remote(self) -> Remote:
        return Remote(self.url, self.token)


def environment_for(data: Path, port: int, **settings: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MOKSORI_")}
    return clean | {
        "MOKSORI_DATA_DIR": str(data),
        "MOKSORI_HOST": "127.0.0.1",
        "MOKSORI_PORT": str(port),
        **{f"MOKSORI_{name.upper()}": value for name, value in settings.items()},
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(environment: dict[str, str], cwd: Path) -> subprocess.Popen[bytes]:
    """Start the service and return once it is ready, its workers too."""
    workers = int(environment.get("MOKSORI_WORKERS", "1"))
    out = (cwd / "service.out").open("ab")
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "serve"],
        env=environment, cwd=cwd, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    out.close()
    url = f"http://127.0.0.1:{environment['MOKSORI_PORT']}"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(httpx.HTTPError):
            answer = httpx.get(f"{url}/readyz", timeout=5)
            if answer.is_success and answer.json()["workers"] >= workers:
                return process
        process_wait(process, 0.1)
    process.kill()
    process.wait()
    raise AssertionError((cwd / "service.out").read_text()[-3000:])


def process_wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for the process to end, or that long."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def running_service(data: Path, cwd: Path | None = None, **settings: str) -> Iterator[Running]:
    """A service on a free port over `data`, ended afterwards."""
    cwd = cwd or data
    data.mkdir(parents=True, exist_ok=True)
    environment = environment_for(data, free_port(), **settings)
    process = start(environment, cwd)
    try:
        token = subprocess.run(
            [sys.executable, "-m", "app.cli", "token", "create", "--name", "test", "--role", "admin", "--quiet"],
            env=environment, cwd=cwd, capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        url = f"http://127.0.0.1:{environment['MOKSORI_PORT']}"
        running = Running(url, token, data, process, environment)
    except BaseException:
        stop(process)
        raise
    try:
        yield running
    finally:
        stop(running.process)  # a test may have started it anew
