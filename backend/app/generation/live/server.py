"""The worker's side: takes orders on a loopback socket and speaks into it."""

from __future__ import annotations

import hmac
import json
import os
import secrets
import select
import socket
import threading
import time
from contextlib import closing, suppress
from typing import Any

import structlog

from app.deps import Container
from app.generation import speaking
from app.generation.live.frames import (
    AUDIO,
    BEGUN,
    ENDED,
    FAILED,
    LONGEST_ORDER,
    folder_of,
    frame,
    greeting,
    host_name,
    json_frame,
)
from app.generation.live.orders import Order
from app.generation.live.speech import FAILURES, Begun, Ended, speak
from app.kit.errors import AppError
from app.text import normalize

log = structlog.get_logger()
AT_ONCE = 64  # live requests of one worker; more are told to come again
ORDER_SECONDS = 10.0  # within which an order has to be here
STALLED_SECONDS = 120.0  # a listener who takes nothing for so long is let go


class LiveServer:
    """Listens for orders until stopped. Its address and secret are in a file that the service's user can read."""

    def __init__(self, container: Container, worker_id: str) -> None:
        self._container = container
        self._secret = secrets.token_hex(32)
        self._file = folder_of(container.settings.state_dir) / f"live-{worker_id}.json"
        self._room = threading.BoundedSemaphore(AT_ONCE)
        self._withdrawn, self._stopping = threading.Event(), threading.Event()
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._listen, name="live", daemon=True)

    def start(self) -> None:
        """Begin to listen, and say where. Where that is not possible, jobs do what would be spoken live."""
        try:
            self._socket = socket.create_server(("127.0.0.1", 0), backlog=AT_ONCE)
            self._write_file(self._socket.getsockname()[1])
        except OSError as error:
            log.warning("tts.live_not_offered", error=type(error).__name__)
            return
        self._thread.start()
        log.info("tts.live_offered")

    def withdraw(self) -> None:
        """Take no more orders; those under way go on."""
        self._withdrawn.set()
        with suppress(OSError):
            self._file.unlink(missing_ok=True)
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            self._socket.close()

    def stop(self, patience: float = 0.0) -> None:
        """Take no more orders, and end those under way, after `patience` seconds at most."""
        self.withdraw()
        end = time.monotonic() + patience
        for _ in range(AT_ONCE):  # who has all the room there is has it alone
            if not self._room.acquire(timeout=max(0.0, end - time.monotonic())):
                break
        self._stopping.set()

    def _write_file(self, port: int) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        facts = {"host": host_name(), "port": port, "secret": self._secret, "pid": os.getpid()}
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(facts, file)
        draft.replace(self._file)

    def _listen(self) -> None:
        normalize("1번")  # the rules and their tables, before anybody waits for them
        assert self._socket is not None
        while not self._withdrawn.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                if self._withdrawn.is_set():
                    return
                self._withdrawn.wait(0.1)  # out of files, perhaps
                continue
            threading.Thread(target=self._serve, args=(connection,), name="live-order", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with closing(connection):
            try:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.settimeout(ORDER_SECONDS)
                connection.sendall(greeting(self._secret))
                order = self._read_order(connection)
                if order is None:
                    return
                connection.settimeout(STALLED_SECONDS)
                if not self._room.acquire(blocking=False):
                    connection.sendall(json_frame(FAILED, _TOO_BUSY))
                    return
                try:
                    self._speak(connection, order)
                finally:
                    self._room.release()
            except OSError:
                pass  # the listener left; the work has been stopped
            except Exception as error:
                log.error("tts.live_failed", error=type(error).__name__, exc_info=error)

    def _read_order(self, connection: socket.socket) -> Order | None:
        line = bytearray()
        while not line.endswith(b"\n"):
            received = connection.recv(65_536)
            line += received
            if not received or len(line) > LONGEST_ORDER:
                return None
        try:
            request = json.loads(line)
            if not hmac.compare_digest(request.pop("secret"), self._secret):
                return None
            return Order(**request)
        except (ValueError, KeyError, TypeError):
            return None

    def _speak(self, connection: socket.socket, order: Order) -> None:
        def cancelled() -> bool:
            return self._stopping.is_set() or _has_left(connection)

        events = speak(self._container, order, cancelled)
        with closing(events):
            try:
                for event in events:
                    match event:
                        case Begun(generation_id, rate, engine):
                            facts: dict[str, Any] = {"id": generation_id, "rate": rate, "engine": engine}
                            connection.sendall(json_frame(BEGUN, facts))
                        case Ended(generation_id, seconds):
                            connection.sendall(json_frame(ENDED, {"id": generation_id, "seconds": seconds}))
                        case audio:
                            connection.sendall(frame(AUDIO, audio.tobytes()))
            except FAILURES as error:
                status = error.status if isinstance(error, AppError) else None
                retry = bool(getattr(error, "retry", False))
                failure = {**speaking.failure_of(error), "status": status, "retry": retry}
                connection.sendall(json_frame(FAILED, failure))


_TOO_BUSY = {
    "code": "too_busy",
    "message": f"{AT_ONCE} texts are being spoken at once.",
    "fix": "Try again in a moment.",
    "status": 429,
    "retry": True,
}


def _has_left(connection: socket.socket) -> bool:
    """Whether the other side has closed: it sends nothing after its order."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))
