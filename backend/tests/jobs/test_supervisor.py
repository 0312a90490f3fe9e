"""The supervisor with a worker that does nothing but say that it is there."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.jobs import supervisor as supervisor_module
from app.jobs.liveness import _start_time
from app.jobs.supervisor import Supervisor
from tests.jobs.processes import until

# Loaded by itself: the package around it would take these children seconds to import.
LOAD = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("supervisor", {supervisor_module.__file__!r})
supervisor = importlib.util.module_from_spec(spec)
spec.loader.exec_module(supervisor)
"""
CHILD = f"""{LOAD}
import os
supervisor.follow_parent(patience=5)
with open(sys.argv[1], "a") as file:
    print(os.getpid(), file=file)
import signal
signal.pause()
"""
PARENT = f"""{LOAD}
import time
supervisor.Supervisor([sys.executable, *sys.argv[1:]]).start()
time.sleep(600)
"""


def pids(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def is_alive(pid: int) -> bool:
    return _start_time(pid) is not None


ECHO = f"""{LOAD}
connection = supervisor.connection()
assert supervisor.connection() is None and sys.stdin.read() == ""
supervisor.follow_parent()
while line := connection.recv(100):
    if line == b"end":
        sys.exit(3)
    connection.sendall(line.upper() + sys.argv[1].encode())
"""


@pytest.fixture
def starts(tmp_path: Path) -> Path:
    return tmp_path / "starts"


@pytest.fixture
def supervisor(starts: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor([sys.executable, "-c", CHILD, str(starts)], first_pause=0.01)
    supervisor.start()
    yield supervisor
    supervisor.stop()


def test_a_worker_that_dies_is_started_again(supervisor: Supervisor, starts: Path) -> None:
    until(lambda: len(pids(starts)) == 1)
    [first] = pids(starts)
    assert supervisor.pid == first
    os.kill(first, signal.SIGKILL)
    until(lambda: len(pids(starts)) == 2)
    assert supervisor.pid == pids(starts)[1]
    assert supervisor.starts == 2


@pytest.mark.parametrize("serve", [None, socket.socket.close])
def test_where_no_process_can_be_had_it_is_tried_again(
    starts: Path, monkeypatch: pytest.MonkeyPatch, serve: Callable[[socket.socket], None] | None
) -> None:
    supervisor = Supervisor([sys.executable, "-c", CHILD, str(starts)], first_pause=0.01, serve=serve)
    popen, refused = subprocess.Popen, []

    def short(*arguments: Any, **options: Any) -> Any:
        if len(refused) < 2:
            refused.append(arguments)
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return popen(*arguments, **options)

    supervisor.start()
    until(lambda: len(pids(starts)) == 1)
    monkeypatch.setattr(subprocess, "Popen", short)
    os.kill(pids(starts)[0], signal.SIGKILL)
    until(lambda: len(pids(starts)) == 2)
    supervisor.stop()
    assert (len(refused), supervisor.starts) == (2, 2)


def test_the_worker_ends_with_stop(supervisor: Supervisor, starts: Path) -> None:
    until(lambda: len(pids(starts)) == 1)
    supervisor.stop()
    assert not is_alive(pids(starts)[0])
    assert supervisor.pid is None
    assert supervisor.starts == 1


def test_the_worker_ends_with_a_service_that_was_killed(starts: Path) -> None:
    service = subprocess.Popen([sys.executable, "-c", PARENT, "-c", CHILD, str(starts)])
    until(lambda: len(pids(starts)) == 1)
    [worker] = pids(starts)
    service.kill()
    service.wait()
    until(lambda: not is_alive(worker))


def test_a_deaf_worker_is_killed(starts: Path) -> None:
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN); print(0, file=open(sys.argv[1], 'a'))"
    deaf = CHILD.replace("signal.pause()", f"{ignore}\nwhile True: signal.pause()")
    supervisor = Supervisor([sys.executable, "-c", deaf, str(starts)], stop_seconds=0.1)
    supervisor.start()
    until(lambda: len(pids(starts)) == 2)
    supervisor.stop()
    assert not is_alive(pids(starts)[0])


def test_each_start_has_a_connection_of_its_own() -> None:
    connections: list[socket.socket] = []
    supervisor = Supervisor(
        [sys.executable, "-c", ECHO, "!"], first_pause=0.01, serve=connections.append, environment={"A": "b"}
    )
    supervisor.start()
    for number in range(2):
        until(lambda number=number: len(connections) == number + 1)
        with connections[number] as connection:
            connection.sendall(b"here")
            assert connection.recv(100) == b"HERE!"
            if not number:
                connection.sendall(b"end")
                assert connection.recv(100) == b""
            else:
                supervisor.stop()
                assert connection.recv(100) == b""
    assert supervisor.starts == 2


def test_nobody_has_a_connection_who_was_given_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert supervisor_module.connection() is None
    monkeypatch.setenv(supervisor_module.SUPERVISED, "pipe")
    assert supervisor_module.connection() is None
