"""Sending speech as it is made: encoded chunk by chunk, and stopped when the client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress

import anyio.to_thread
import structlog
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.audio.streams import StreamEncoder, StreamFormat, get_ready
from app.deps import Container
from app.generation.live import listening
from app.generation.live.listening import NotSpoken, Speech
from app.generation.live.orders import Order

log = structlog.get_logger()
SLOWEST, FASTEST = 0.5, 2.0  # what engines speak at; beyond, the audio is stretched
Wrap = Callable[[AsyncIterator[bytes], "Progress"], AsyncIterator[bytes]]


class Progress:
    """How much has been said, for those who count."""

    def __init__(self) -> None:
        self.seconds = 0.0


def engine_speed(asked: float) -> tuple[float, float]:
    """The speed to speak at, and the tempo to stretch what was spoken by: their product is `asked`."""
    speed = min(FASTEST, max(SLOWEST, asked))
    return speed, asked / speed


async def spoken(
    request: Request,
    container: Container,
    order: Order,
    form: StreamFormat,
    *,
    tempo: float = 1.0,
    wrap: Wrap | None = None,
    media_type: str | None = None,
) -> Response:
    """Answer with audio as it is made. Nothing is answered before the first of it is there.

    `wrap` may put the encoded bytes into something else, of `media_type`. Raises NotSpoken and AppErrors.
    """
    loading = asyncio.ensure_future(anyio.to_thread.run_sync(get_ready, form))  # while the engine works
    speech = await _while_connected(request, listening.speak(container, order))
    if speech is None:
        return Response(status_code=499)  # nobody reads it: the client left
    try:
        progress = Progress()
        await loading
        encoder = await anyio.to_thread.run_sync(
            lambda: StreamEncoder(form, speech.rate, tempo=tempo, seed=order.seed)
        )
        body = _encoded(speech, encoder, progress)
        headers = {
            "X-Moksori-Generation": speech.generation_id,
            "X-Moksori-Engine": speech.engine,
            "Cache-Control": "no-store",
        }
        return _Speaking(
            speech, wrap(body, progress) if wrap else body, media_type or form.media_type, headers
        )
    except BaseException:
        speech.close()
        raise


async def _while_connected(request: Request, work: Awaitable[Speech]) -> Speech | None:
    """What `work` gives, or None once the client has left; the work is stopped then."""
    speaking = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_until_disconnected(request))
    try:
        await asyncio.wait((speaking, leaving), return_when=asyncio.FIRST_COMPLETED)
        return speaking.result() if speaking.done() else None
    finally:
        for task in (speaking, leaving):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await leaving


async def _until_disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _encoded(speech: Speech, encoder: StreamEncoder, progress: Progress) -> AsyncIterator[bytes]:
    try:
        async for audio in speech.chunks():
            progress.seconds += len(audio) / speech.rate
            if data := await anyio.to_thread.run_sync(encoder.feed, audio):
                yield data
    except NotSpoken as error:
        # The status has been sent: all that is left is to cut the connection, so that it is seen (`_Speaking`).
        log.warning("tts.stream_cut", generation=speech.generation_id, code=error.reason)
        raise
    if data := await anyio.to_thread.run_sync(encoder.end):
        yield data


class _Speaking(StreamingResponse):
    """A stream that lets go of its worker however it ends."""

    def __init__(
        self, speech: Speech, body: AsyncIterator[bytes], media_type: str, headers: Mapping[str, str]
    ) -> None:
        super().__init__(body, media_type=media_type, headers=headers)
        self._speech = speech

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            # An answer that is left without its end is cut: the server closes the connection.
            with suppress(NotSpoken):
                await super().__call__(scope, receive, send)
        finally:
            self._speech.close()
