"""The service's side: finds a worker that speaks live, and listens; else waits for the durable job."""

from __future__ import annotations

import asyncio
import hmac
import json
import random
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import anyio.to_thread
import numpy as np
import structlog

from app.deps import Container
from app.generation import service
from app.generation.live.frames import (
    AUDIO,
    BEGUN,
    ENDED,
    FAILED,
    HEAD,
    folder_of,
    greeting,
    host_name,
)
from app.generation.live.orders import Order, follow, script_of
from app.kit.errors import AppError
from app.lexicons.service import readings
from app.speech.interface import Audio

log = structlog.get_logger()
CONNECT_SECONDS = 2.0
JOB_SECONDS = 600.0  # how long the durable job is waited for
CHUNK = 1 << 15
# What is wrong with the text stays wrong; what the engine could not do may be mended by its operator.
_STATUS = {"speech_failed": 422, "unclear_text": 422, "voice_unusable": 409, "storage_full": 507}


class NotSpoken(AppError):
    """A text that could not be spoken; `answer` is the HTTP status, `retry` whether another try may help."""

    code, title = "not_spoken", "This text could not be spoken"

    def __init__(self, failure: dict[str, Any]) -> None:
        detail = " ".join(part for part in (failure["message"], failure.get("fix")) if part)
        super().__init__(detail)
        self.reason: str = failure["code"]
        self.answer: int = failure.get("status") or _STATUS.get(self.reason, 503)
        self.retry: bool = bool(failure.get("retry"))


class Speech(Protocol):
    """Audio that is being made: (samples,) at `rate` Hz, chunk by chunk. `close` stops the work."""

    generation_id: str
    engine: str
    rate: int

    def chunks(self) -> AsyncIterator[Audio]:
        """The audio; it ends once the take is kept. Raises NotSpoken when it breaks off."""

    def close(self) -> None:
        """Let go: what was not over is cancelled. Never waits."""


async def speak(container: Container, order: Order) -> Speech:
    """Have an order spoken; returns when its first audio is there. Raises NotSpoken, or another AppError."""
    workers = await anyio.to_thread.run_sync(_workers, container.settings.state_dir)
    for address in workers:
        live = await _LiveSpeech.ask(address, order)
        if live is not None:
            return live
    log.info("tts.no_live_worker")
    return await _JobSpeech.ask(container, order)


def _workers(state_dir: Path) -> list[dict[str, Any]]:
    """Addresses of this machine's workers, in no order: each gets its share."""
    found = []
    for file in folder_of(state_dir).glob("live-*.json"):
        try:
            address = json.loads(file.read_text())
        except (OSError, ValueError):
            continue
        if address.get("host") == host_name():
            found.append({**address, "file": file})
    random.shuffle(found)
    return found


class _LiveSpeech:
    """Audio from a worker's socket."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, begun: dict[str, Any]
    ) -> None:
        self._reader, self._writer = reader, writer
        self.generation_id: str = begun["id"]
        self.engine: str = begun["engine"]
        self.rate: int = begun["rate"]

    @classmethod
    async def ask(cls, address: dict[str, Any], order: Order) -> _LiveSpeech | None:
        """None where no worker answers; from the first audio on it is the one."""
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", address["port"])
                hello = await reader.readline()
        except ConnectionRefusedError:
            address["file"].unlink(missing_ok=True)  # of a worker that died
            return None
        except (OSError, TimeoutError):
            if writer is not None:
                writer.close()
            return None
        try:
            if not hmac.compare_digest(hello, greeting(address["secret"])):
                writer.close()
                return None
            request = json.dumps({"secret": address["secret"], **asdict(order)}, ensure_ascii=False)
            writer.write(request.encode("utf-8", "replace") + b"\n")
            kind, payload = await _read_frame(reader)
            if kind == FAILED:
                raise NotSpoken(json.loads(payload))
            assert kind == BEGUN
            return cls(reader, writer, json.loads(payload))
        except BaseException:
            writer.close()
            raise

    async def chunks(self) -> AsyncIterator[Audio]:
        while True:
            kind, payload = await _read_frame(self._reader)
            match kind:
                case _ if kind == AUDIO:
                    yield np.frombuffer(payload, np.float32)
                case _ if kind == ENDED:
                    return
                case _:
                    raise NotSpoken(json.loads(payload))

    def close(self) -> None:
        self._writer.close()


async def _read_frame(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    try:
        kind, length = HEAD.unpack(await reader.readexactly(HEAD.size))
        return kind, await reader.readexactly(length)
    except (asyncio.IncompleteReadError, OSError):
        raise NotSpoken(_WORKER_LOST) from None


_WORKER_LOST = {
    "code": "worker_lost",
    "message": "The worker that spoke this ended.",
    "fix": "Ask again; another one starts by itself.",
    "status": 503,
    "retry": True,
}


class _JobSpeech:
    """A finished take: where no worker speaks live on this machine, the job queue does."""

    def __init__(self, generation_id: str, engine: str, audio: Audio, rate: int) -> None:
        self.generation_id, self.engine, self.rate = generation_id, engine, rate
        self._audio = audio

    @classmethod
    async def ask(cls, container: Container, order: Order) -> _JobSpeech:
        enqueued = asyncio.ensure_future(anyio.to_thread.run_sync(_enqueue, container, order))
        try:
            # Whoever leaves now may leave in the middle of the commit: the job is there then, and has an id.
            return await cls._wait(container, await asyncio.shield(enqueued))
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_cancel, container, await enqueued)
            raise

    @classmethod
    async def _wait(cls, container: Container, generation_id: str) -> _JobSpeech:
        deadline, pause = time.monotonic() + JOB_SECONDS, 0.05
        while time.monotonic() < deadline:
            over = await anyio.to_thread.run_sync(_look, container, generation_id)
            if over is not None:
                audio, rate = over
                return cls(generation_id, container.engine.name, audio, rate)
            await asyncio.sleep(pause)
            pause = min(0.5, pause * 1.5)
        await anyio.to_thread.run_sync(_cancel, container, generation_id)
        raise NotSpoken(_NO_WORKER)

    async def chunks(self) -> AsyncIterator[Audio]:
        for start in range(0, len(self._audio), CHUNK):
            yield self._audio[start : start + CHUNK]

    def close(self) -> None:
        pass


_NO_WORKER = {
    "code": "no_worker",
    "message": f"No worker spoke this within {JOB_SECONDS:.0f} s.",
    "fix": "Start one: moksori worker.",
    "status": 503,
}


def _enqueue(container: Container, order: Order) -> str:
    with container.database.session() as session:
        script = script_of(session, order)
        follow(script, order)
        model = service.ready_model(session, script)
        reading = readings(session, best_effort=container.settings.best_effort).of(script)
        generation = service.asked(container, script, model, reading)
        service.request(container, session, [generation], interactive=True)
        return generation.id


def _look(container: Container, generation_id: str) -> tuple[Audio, int] | None:
    """The take's audio once it is there. Raises NotSpoken when the generation ended without one."""
    import soundfile

    with container.database.reading() as session:
        [shown] = service.outs(container, session, [service.get(session, generation_id)])
        if shown.status in ("failed", "cancelled"):
            failure = shown.failure.model_dump() if shown.failure else _WORKER_LOST
            raise NotSpoken(failure)
        if shown.status != "done":
            return None
        file, *_ = service.open_audio(container, session, generation_id, "wav", None)
    with file:
        audio, rate = soundfile.read(file, dtype="float32")
    return audio, rate


def _cancel(container: Container, generation_id: str) -> None:
    with container.database.session() as session:
        service.cancel(container, session, [generation_id])
