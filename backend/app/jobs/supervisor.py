"""Keep one worker process running beside the service, for as long as the service lives.

The worker's standard input is a pipe that the service holds open: when the service ends, however it
ends, the worker reads its end and stops in good order. (A death signal from the kernel would come
from the thread that started the worker, not from the service, and would leave the worker no time to
hand its jobs back.) Or it is a socket, where parent and child have more to say to each other.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import structlog

log = structlog.get_logger()
SUPERVISED = "MOKSORI_SUPERVISED"  # "pipe" or "socket": what standard input is
# A worker that lived this long did not die of its start.
SETTLED_SECONDS = 30.0


class Supervisor:
    """Starts `argv`, starts it again when it dies (after growing pauses), and stops it at the end.

    With `serve`, each start has a socket for its standard input, whose other end `serve` gets in a thread of its own.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        serve: Callable[[socket.socket], None] | None = None,
        first_pause: float = 0.5,
        longest_pause: float = 30.0,
        stop_seconds: float = 30.0,
    ) -> None:
        self.starts = 0
        self._argv = list(argv)
        self._environment = environment or {}
        self._serve = serve
        self._first_pause = first_pause
        self._longest_pause = longest_pause
        self._stop_seconds = stop_seconds
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._watching: threading.Thread | None = None

    @property
    def pid(self) -> int | None:
        """The worker's process id; None while there is none."""
        child = self._child
        return child.pid if child is not None and child.returncode is None else None

    def start(self) -> None:
        self._spawn()
        self._watching = threading.Thread(target=self._watch, name="worker-supervisor", daemon=True)
        self._watching.start()

    def stop(self) -> None:
        """End the worker: SIGTERM, and SIGKILL when it takes too long. Returns when it is gone."""
        with self._lock:
            self._stopping.set()
            child = self._child
        if child is not None:
            child.terminate()
            try:
                child.wait(self._stop_seconds)
            except subprocess.TimeoutExpired:
                log.warning("worker.killed", pid=child.pid, waited=self._stop_seconds)
                child.kill()
                child.wait()
        if self._watching is not None:
            self._watching.join()
        if child is not None and child.stdin is not None:
            child.stdin.close()

    def _spawn(self) -> None:
        with self._lock:
            if self._stopping.is_set():
                return
            environment = {**os.environ, **self._environment}
            if self._serve is None:
                self._child = subprocess.Popen(
                    self._argv, stdin=subprocess.PIPE, env={**environment, SUPERVISED: "pipe"}
                )
            else:
                ours, theirs = socket.socketpair()
                with theirs:
                    try:
                        self._child = subprocess.Popen(
                            self._argv, stdin=theirs.fileno(), env={**environment, SUPERVISED: "socket"}
                        )
                    except OSError:
                        ours.close()
                        raise
                threading.Thread(
                    target=self._serve, args=(ours,), name="worker-connection", daemon=True
                ).start()
            self.starts += 1

    def _watch(self) -> None:
        pause = self._first_pause
        while not self._stopping.is_set():
            child = self._child
            if child is None:
                return
            began = time.monotonic()
            code = child.wait()
            if self._stopping.is_set():
                return
            if child.stdin is not None:
                child.stdin.close()
            if time.monotonic() - began >= SETTLED_SECONDS:
                pause = self._first_pause
            log.warning("worker.died", exit_code=code, again_in=pause)
            while not self._stopping.wait(pause):
                pause = min(pause * 2, self._longest_pause)
                try:
                    self._spawn()
                    break
                except OSError as error:  # no memory for another process, perhaps
                    log.error("worker.not_started", error=type(error).__name__, again_in=pause)


def follow_parent(patience: float = 30.0) -> None:
    """In the worker: stop (SIGTERM to itself) when the supervisor is gone; at the latest after `patience`.

    Does nothing in a process that no supervisor started.
    """
    if os.environ.get(SUPERVISED) != "pipe":
        return
    del os.environ[SUPERVISED]

    def wait() -> None:
        while sys.stdin.buffer.read(1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(patience)
        os._exit(1)

    threading.Thread(target=wait, name="follow-parent", daemon=True).start()


def connection() -> socket.socket | None:
    """The socket to the supervisor, in a process that was started with one."""
    if os.environ.get(SUPERVISED) != "socket":
        return None
    del os.environ[SUPERVISED]
    connection = socket.socket(fileno=os.dup(0))
    # Nobody else reads what is said there, nor does a child hold it open.
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return connection
