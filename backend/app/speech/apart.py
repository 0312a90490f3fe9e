"""An engine in a process of its own: what holds it there, and a SpeechEngine here that passes everything on.

An engine on a GPU has to come to its next step within a millisecond. In a process where dozens of jobs run
Python too, it would wait for the interpreter's lock at each of a step's calls; so the jobs are in other
processes, each with a socket to this one. A message is one of `pipe`.
"""

from __future__ import annotations

import itertools
import json
import queue
import socket
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, suppress
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np
import structlog

from app.speech import pipe
from app.speech.interface import (
    Audio,
    Clip,
    EngineStatus,
    Failure,
    Recording,
    SpeechEngine,
    SpeechError,
    Utterance,
    VoiceState,
)
from app.speech.packing import pack_error, pack_voice, unpack_error, unpack_voice
from app.speech.posting import Post, posted
from app.speech.speaker import EngineStopped, Speaker

log = structlog.get_logger()
Message = tuple[dict[str, Any], list[bytes]]
# Calls of one process that are answered side by side; most wait for the engine, not for a core.
CALLS = 16


class Closing(Protocol):
    def close(self) -> None: ...


class EngineApart:
    """The engine behind `connection`. `twin` is one of the same kind, never loaded, that says what it is like.

    When the other process is gone, `lost` is called, before anybody can make anything of it, and what waits fails as
    EngineStopped.
    """

    measures_elsewhere = True

    def __init__(self, twin: SpeechEngine, connection: socket.socket, lost: Callable[[], None]) -> None:
        self.name, self.simulated, self.sample_rate = twin.name, twin.simulated, twin.sample_rate
        self._lost, self._connection = lost, connection
        self._in, self._out = connection.makefile("rb"), connection.makefile("wb")
        self._sending = threading.Lock()
        self._numbers = itertools.count()
        self._open = threading.Lock()  # around what is expected, and whether anything still can be
        self._gone = False
        self._answers: dict[int, Future[Message]] = {}
        self._posts: dict[str, Post] = {}
        threading.Thread(target=self._receive, name="engine-apart", daemon=True).start()

    def load(self) -> None:
        self._ask({"do": "load"})

    def close(self) -> None:
        """The engine is others' too, and stays."""

    def condition(self, recordings: Sequence[Recording]) -> VoiceState:
        # Hundreds of transcripts are longer than a header may be.
        told = json.dumps([[each.sample_rate, each.text] for each in recordings]).encode()
        header, blobs = self._ask({"do": "condition"}, told, *(_bytes(each.audio) for each in recordings))
        return unpack_voice(header["voice"], blobs)

    def similarity(self, audio: Audio, sample_rate: int, voice: VoiceState) -> float | None:
        packed, arrays = pack_voice(voice)
        request = {"do": "similarity", "rate": sample_rate, "voice": packed}
        header, _ = self._ask(request, _bytes(audio), *arrays)
        found: float | None = header["similarity"]
        return found

    async def synthesize(self, utterances: AsyncIterable[Utterance]) -> AsyncIterator[Clip | Failure]:
        async with aclosing(posted(utterances, self._speak, self.cancel)) as events:
            async for event in events:
                yield event

    def cancel(self, utterance_id: str) -> None:
        with self._open:
            post = self._posts.pop(utterance_id, None)
        if post is not None:
            post(None)
            self._send({"do": "cancel", "utterance": utterance_id})

    def ping(self) -> EngineStatus:
        header, _ = self._ask({"do": "ping"})
        return EngineStatus(**header["status"])

    def _speak(self, utterance: Utterance, post: Post) -> None:
        with self._open:
            gone = self._gone
            if not gone:
                self._posts[utterance.id] = post
        if gone:
            post(Failure(utterance.id, _stopped()))
            return
        voice, arrays = pack_voice(utterance.voice)
        told = {name: getattr(utterance, name) for name in _TOLD}
        self._send({"do": "speak", "utterance": told, "voice": voice}, *arrays)

    def _ask(self, request: dict[str, Any], *blobs: bytes | memoryview) -> Message:
        number, answer = next(self._numbers), Future[Message]()
        with self._open:
            if self._gone:
                raise _stopped()
            self._answers[number] = answer
        self._send({**request, "call": number}, *blobs)
        header, arrays = answer.result()
        if "error" in header:
            raise unpack_error(header)
        return header, arrays

    def _send(self, header: dict[str, Any], *blobs: bytes | memoryview) -> None:
        # Where nobody reads any more, the thread that receives sees that too.
        with self._sending, suppress(pipe.PipeClosed):
            pipe.send(self._out, header, *blobs)

    def _receive(self) -> None:
        try:
            with suppress(pipe.PipeClosed):
                while True:
                    self._take(*pipe.receive(self._in))
        finally:
            self._lost()
            self._end()

    def _end(self) -> None:
        with self._open:
            self._gone = True
            posts, self._posts = self._posts, {}
            answers, self._answers = self._answers, {}
        for utterance_id, post in posts.items():
            post(Failure(utterance_id, _stopped()))
        for answer in answers.values():
            answer.set_exception(_stopped())
        _hang_up(self._connection)  # whoever is sending notices, and lets go
        with self._sending:
            _close(self._connection, self._in, self._out)

    def _take(self, header: dict[str, Any], blobs: list[bytes]) -> None:
        if "call" in header:
            with self._open:
                answer = self._answers.pop(header["call"])
            answer.set_result((header, blobs))
            return
        name, event = header["utterance"], _event(header, blobs, self.name)
        final = isinstance(event, Failure) or event.final
        with self._open:
            post = self._posts.pop(name, None) if final else self._posts.get(name)
        if post is not None:  # else it was cancelled
            post(event)


class Host:
    """The process's one engine, for as many others as connect."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker

    def serve(self, connection: socket.socket) -> None:
        """Do what the other end asks for until it is gone; what it was waiting for is cancelled then."""
        with ThreadPoolExecutor(CALLS, "engine-call") as calls:
            _Guest(self._speaker, connection, calls).serve()


class _Guest:
    """One process that speaks with the engine of this one."""

    def __init__(self, speaker: Speaker, connection: socket.socket, calls: ThreadPoolExecutor) -> None:
        self._speaker, self._connection, self._calls = speaker, connection, calls
        self._in, self._out = connection.makefile("rb"), connection.makefile("wb")
        # A guest that reads nothing for a while holds up nobody: a thread of its own writes to it.
        self._outbox: queue.SimpleQueue[tuple[dict[str, Any], Sequence[bytes | memoryview]] | None] = (
            queue.SimpleQueue()
        )
        self._speaking: set[str] = set()

    def serve(self) -> None:
        writing = threading.Thread(target=self._write, name="engine-guest", daemon=True)
        writing.start()
        try:
            with suppress(pipe.PipeClosed):
                while True:
                    self._take(*pipe.receive(self._in))
        finally:
            self._speaker.cancel(sorted(self._speaking))
            _hang_up(self._connection)
            self._outbox.put(None)
            writing.join()
            _close(self._connection, self._in, self._out)

    def _write(self) -> None:
        with suppress(pipe.PipeClosed):
            while (message := self._outbox.get()) is not None:
                pipe.send(self._out, message[0], *message[1])

    def _take(self, header: dict[str, Any], blobs: list[bytes]) -> None:
        match header["do"]:
            case "speak":
                voice = unpack_voice(header["voice"], blobs)
                utterance = Utterance(voice=voice, **header["utterance"])
                self._speaking.add(utterance.id)
                try:
                    self._speaker.submit(utterance, self._post)
                except Exception as error:
                    self._post(Failure(utterance.id, _told(error, "speak")))
            case "cancel":
                self._speaker.cancel([header["utterance"]])
            case _:
                self._calls.submit(self._answer, header, blobs)

    def _post(self, event: Clip | Failure) -> None:
        name = event.utterance_id
        if isinstance(event, Failure):
            self._speaking.discard(name)
            self._outbox.put(({"utterance": name, **pack_error(event.error)}, ()))
            return
        if event.final:
            self._speaking.discard(name)
        facts = {"utterance": name, "rate": event.sample_rate, "final": event.final}
        self._outbox.put((facts, (_bytes(event.audio),)))

    def _answer(self, header: dict[str, Any], blobs: list[bytes]) -> None:
        try:
            answer, arrays = self._called(header, blobs)
        except Exception as error:
            answer, arrays = pack_error(_told(error, header["do"])), []
        self._outbox.put(({**answer, "call": header["call"]}, arrays))

    def _called(self, header: dict[str, Any], blobs: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        engine = self._speaker.engine
        match header["do"]:
            case "load":
                self._speaker.load()
                return {}, []
            case "condition":
                told = zip(blobs[1:], json.loads(blobs[0]), strict=True)
                voice = engine.condition([Recording(_audio(blob), rate, text) for blob, (rate, text) in told])
                packed, arrays = pack_voice(voice)
                return {"voice": packed}, arrays
            case "ping":
                return {"status": asdict(engine.ping())}, []
            case "similarity":
                voice = unpack_voice(header["voice"], blobs[1:])
                found = engine.similarity(_audio(blobs[0]), header["rate"], voice)
                return {"similarity": found}, []
        raise SpeechError("Unknown request.")


_TOLD = ("id", "text", "language", "speed", "seed", "interactive", "stream")


def _event(header: dict[str, Any], blobs: list[bytes], engine: str) -> Clip | Failure:
    if "error" in header:
        return Failure(header["utterance"], unpack_error(header))
    return Clip(header["utterance"], _audio(blobs[0]), header["rate"], engine, header["final"])


def _told(error: Exception, what: str) -> SpeechError:
    """What a guest is told. Of a mistake of ours only its type: its message might hold what nobody may log."""
    if isinstance(error, SpeechError):
        return error
    log.error("tts.call_failed", call=what, error=type(error).__name__, exc_info=error)
    return SpeechError(f"The engine failed: {type(error).__name__}.")


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):  # the other end has gone first
        connection.shutdown(socket.SHUT_RDWR)


def _close(*ends: Closing) -> None:
    for each in ends:
        with suppress(OSError):  # what could not be sent any more
            each.close()


def _bytes(audio: Audio) -> memoryview:
    return np.ascontiguousarray(audio, np.float32).data.cast("B")


def _audio(blob: bytes) -> Audio:
    return np.frombuffer(blob, np.float32).copy()  # one that may be written to, as everybody expects


def _stopped() -> EngineStopped:
    return EngineStopped("The engine's process ended.")
