"""The real service and the real worker as forked processes, with faults in them, that start in a moment.

`app.cli serve` and `app.worker` run as they are, in processes forked from a server that has imported
everything. Of the service's own only the start of its worker is changed: it forks where it would execute.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import app.cli.processes
import app.main
import app.worker
from app import bootstrap
from app.config import Settings
from app.jobs import engine, liveness, supervisor
from app.text import normalize
from tests.faults.parts import SERVICE_PID, Faults, FaultyEngine, FaultyStore, Steps
from tests.jobs.processes import CONTEXT
from tests.running import environment_for, free_port

PATIENCE = 60.0
# The last word on what is imported before the fork: tests.jobs.processes has had the first.
CONTEXT.set_forkserver_preload(["tests.jobs.processes", "tests.faults.processes", "tests.faults.xtts"])
normalize("1번")  # reads its tables
FAULTS = "TEST_FAULTS"
PIDS = "TEST_PIDS"


def until(condition: Callable[[], Any], what: str = "it never came to that") -> Any:
    """What `condition` answers as soon as that is true; asks again every few milliseconds."""
    end = time.monotonic() + PATIENCE
    while not (answer := condition()):
        if time.monotonic() > end:
            raise AssertionError(what)
        time.sleep(0.02)
    return answer


def is_alive(pid: int) -> bool:
    return liveness._start_time(pid) is not None


# --- in the children ----------------------------------------------------------------------------------


def _begin(environment: dict[str, str]) -> None:
    os.environ.update(environment)
    with Path(environment[PIDS]).open("a") as file:
        print(os.getpid(), file=file)
    out = os.open(f"{environment[PIDS]}.out", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)


def _work(environment: dict[str, str], parent: Any = None) -> None:
    """A worker: its standard input is the pipe or socket that its parent holds, when one started it."""
    _begin(environment)
    if parent is not None:
        os.dup2(parent.fileno(), 0)
        sys.stdin = os.fdopen(os.dup(0))
        parent.close()
    _fork_instead()
    engine.POLL_ALONE_SECONDS = 0.1
    steps = Steps(Faults(**json.loads(environment[FAULTS])))
    steps.watch_commits()
    bootstrap.make_engine = lambda _name, _settings: FaultyEngine(steps)  # type: ignore[assignment]
    bootstrap.make_store = lambda settings: FaultyStore(settings.data_dir, steps)
    os._exit(app.worker.main())


class ForkedPopen:
    """As much of subprocess.Popen as the supervisor uses. Only the service's first worker has faults."""

    started = 0

    def __init__(self, _argv: list[str], *, stdin: int, env: dict[str, str]) -> None:
        ours = {name: value for name, value in env.items() if name.startswith(("MOKSORI_", "TEST_"))}
        ours.setdefault(SERVICE_PID, str(os.getpid()))
        faults = Faults(**json.loads(ours[FAULTS]))
        if ForkedPopen.started and faults.die_at:
            ours[FAULTS] = json.dumps(asdict(Faults()))
        ForkedPopen.started += 1
        if stdin == subprocess.PIPE:
            theirs, self.stdin = CONTEXT.Pipe(duplex=False)
        else:
            theirs, self.stdin = socket.socket(fileno=os.dup(stdin)), None
        self._process = CONTEXT.Process(target=_work, args=(ours, theirs))
        self._process.start()
        theirs.close()
        assert self._process.pid is not None
        self.pid: int = self._process.pid
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        self.returncode = self._process.exitcode
        if self.returncode is None:
            raise subprocess.TimeoutExpired("worker", timeout or 0)
        return self.returncode

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def _fork_instead() -> None:
    """Let the supervisors of this process fork their workers."""
    # It would start a server of its own, which had to import everything anew: ours is running.
    forkserver._forkserver.ensure_running = lambda: None  # type: ignore[method-assign]
    supervisor.subprocess.Popen = ForkedPopen  # type: ignore[attr-defined,misc,assignment]


def _serve(environment: dict[str, str]) -> None:
    _begin(environment)
    _fork_instead()
    app.main.Supervisor = partial(supervisor.Supervisor, first_pause=0.05, longest_pause=0.05)  # type: ignore[misc,assignment]
    app.cli.processes.serve(host=None, port=None)
    sys.stdout.flush()
    os._exit(0)


# --- in the test --------------------------------------------------------------------------------------


class Process:
    """A forked service or worker."""

    def __init__(self, target: Callable[..., None], environment: dict[str, str]) -> None:
        self._process = CONTEXT.Process(target=target, args=(environment,))
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()
        self.wait()

    def wait(self) -> int | None:
        """Its exit code, once it has ended: minus the signal's number when one ended it."""
        self._process.join(PATIENCE)
        assert self._process.exitcode is not None, "the process does not end"
        return self._process.exitcode


class House:
    """Starts services and workers over one data folder and database."""

    def __init__(self, settings: Settings) -> None:
        self.pids_file = settings.data_dir.parent / "pids"
        self._environment = environment_for(
            settings.data_dir, free_port(), database_url=settings.database, engine="mock", workers="1",
            beat_seconds="0.2", silent_seconds="60", sweep_seconds="0.5", worker_concurrency="8",
        )  # fmt: skip

    def _with(self, faults: Faults, settings: dict[str, str]) -> dict[str, str]:
        ours = {name: value for name, value in self._environment.items() if name.startswith("MOKSORI_")}
        changed = {f"MOKSORI_{name.upper()}": value for name, value in settings.items()}
        return ours | changed | {FAULTS: json.dumps(asdict(faults)), PIDS: str(self.pids_file)}

    def worker(self, faults: Faults = Faults(), **settings: str) -> Process:
        return Process(_work, self._with(faults, settings))

    def service(self, faults: Faults = Faults(), **settings: str) -> Process:
        """A service with its worker; the faults are its first worker's."""
        return Process(_serve, self._with(faults, settings))

    def pids(self) -> list[int]:
        return [int(line) for line in self.pids_file.read_text().split()] if self.pids_file.exists() else []

    def output(self) -> str:
        """What all of them printed, for a test that fails."""
        file = Path(f"{self.pids_file}.out")
        return file.read_text()[-3000:] if file.exists() else ""


@contextmanager
def house(settings: Settings) -> Iterator[House]:
    """A house that is empty again afterwards."""
    made = House(settings)
    try:
        yield made
    finally:
        # A service first: it would start the next worker.
        for _ in range(2):
            for pid in made.pids():
                if is_alive(pid):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        until(lambda: not any(is_alive(pid) for pid in made.pids()))
