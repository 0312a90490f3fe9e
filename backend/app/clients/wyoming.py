"""Wyoming, the protocol of Home Assistant: `moksori wyoming` speaks it, and asks the service's own API.

Text may come piece by piece (`synthesize-start`, `-chunk`, `-stop`): each sentence is spoken as soon as it
is whole. Home Assistant also sends the whole text in between, for servers that know no pieces; it is not
spoken twice.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from functools import partial
from importlib.metadata import version
from typing import Annotated, Any

import httpx
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Attribution, Describe, Info, TtsProgram, TtsVoice
from wyoming.ping import Ping, Pong
from wyoming.server import AsyncEventHandler, AsyncServer
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeStopped,
)

RATE, WIDTH, CHANNELS = 24_000, 2, 1  # the API's `pcm`
LONGEST = 4_000  # characters that are spoken at once, and kept while a sentence goes on
LONGEST_PART = 1 << 20  # bytes of each of the two parts that may follow an event's line
_SENTENCE = re.compile(r"[.?!…。]+[\"'”’)\]]*\s+|\n+")
_TIMEOUT = httpx.Timeout(30, read=600)
_CREDIT = Attribution(name="Moksori", url="")


def api_client(url: str, token: str) -> httpx.AsyncClient:
    """A client of the service at `url`."""
    headers = {"Authorization": f"Bearer {token}", "X-Moksori-Client": "Wyoming"}
    return httpx.AsyncClient(base_url=f"{url.rstrip('/')}/v1", headers=headers, timeout=_TIMEOUT)


def server_at(listen: str) -> AsyncServer:
    """For `tcp://HOST:PORT` or `unix://PATH`. Raises ValueError for any other address."""
    if not listen.startswith(("tcp://", "unix://")):
        raise ValueError(listen)
    return AsyncServer.from_uri(listen)


async def serve(server: AsyncServer, url: str, token: str) -> None:
    """Speak Wyoming until cancelled."""
    async with api_client(url, token) as client:
        await server.run(partial(Handler, client))


class Refused(Exception):
    """The service did not speak; the message says why, and `code` names it."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


Length = Annotated[int, Field(ge=0, le=LONGEST_PART)]


class _Head(BaseModel):
    """An event's line: what it is, and how much follows."""

    type: str
    data: dict[str, Any] | None = None
    data_length: Length | None = None
    payload_length: Length | None = None


_DATA = TypeAdapter(dict[str, Any])


class _Voice(BaseModel):
    name: str | None = None


class _Said(BaseModel):
    """What is looked at of the data of an event about speech."""

    voice: _Voice | None = None


class _Text(_Said):
    text: str


class Handler(AsyncEventHandler):
    """One connection. What its client sends is a stranger's: it is bounded, checked, and never printed."""

    def __init__(
        self, client: httpx.AsyncClient, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        super().__init__(reader, writer)
        self._client = client
        self._text: str | None = None  # what of a text in pieces has not been spoken
        self._voice: _Voice | None = None
        self._sounding = False

    async def run(self) -> None:
        """Answer events until the client leaves, or one cannot be answered, which it is told."""
        with closing(self.writer), suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                while await self.handle_event(await self._read()):
                    pass
            except Refused as error:
                await self.write_event(Error(text=str(error), code=error.code).event())
            except ValidationError:
                text = "This is no event with what belongs to it, or one that is too long."
                await self.write_event(Error(text=text, code="bad_event").event())
            except httpx.HTTPError as error:
                text = f"The service does not answer ({type(error).__name__})."
                await self.write_event(Error(text=text, code="no_service").event())

    async def _read(self) -> Event:
        """The next event; a payload is not for us. Raises ValidationError, or IncompleteReadError at the end."""
        try:
            line = await self.reader.readuntil()
        except asyncio.LimitOverrunError:
            line = b""  # which is no event either
        head = _Head.model_validate_json(line)
        data = await self.reader.readexactly(head.data_length or 0)
        await self.reader.readexactly(head.payload_length or 0)
        return Event(head.type, (head.data or {}) | (_DATA.validate_json(data) if data else {}))

    async def handle_event(self, event: Event) -> bool:
        """Answer one event. Raises Refused, ValidationError or httpx.HTTPError."""
        if Describe.is_type(event.type):
            await self.write_event((await self._info()).event())
        elif Ping.is_type(event.type):
            await self.write_event(Pong(text=Ping.from_event(event).text).event())
        elif SynthesizeStart.is_type(event.type):
            self._text, self._voice = "", _Said.model_validate(event.data).voice
        elif SynthesizeChunk.is_type(event.type) and self._text is not None:
            self._text += _Text.model_validate(event.data).text
            await self._say_sentences()
        elif SynthesizeStop.is_type(event.type) and self._text is not None:
            rest, self._text = self._text, None
            await self._say(rest)
            await self._fall_silent()
            await self.write_event(SynthesizeStopped().event())
        elif Synthesize.is_type(event.type) and self._text is None:
            request = _Text.model_validate(event.data)
            self._voice = request.voice
            await self._say(request.text)
            await self._fall_silent()
        return True

    async def _say_sentences(self) -> None:
        assert self._text is not None
        while match := _SENTENCE.search(self._text):
            sentence, self._text = self._text[: match.end()], self._text[match.end() :]
            await self._say(sentence)
        if len(self._text) > LONGEST:
            sentence, self._text = self._text, ""
            await self._say(sentence)

    async def _say(self, text: str) -> None:
        for start in range(0, len(text), LONGEST):
            if piece := text[start : start + LONGEST].strip():
                async for audio in self._spoken(piece):
                    await self._sound(audio)

    async def _sound(self, audio: bytes) -> None:
        if not self._sounding:
            await self.write_event(AudioStart(rate=RATE, width=WIDTH, channels=CHANNELS).event())
            self._sounding = True
        chunk = AudioChunk(rate=RATE, width=WIDTH, channels=CHANNELS, audio=audio)
        await self.write_event(chunk.event())

    async def _fall_silent(self) -> None:
        if not self._sounding:  # nothing was to be said: an empty answer is one too
            await self.write_event(AudioStart(rate=RATE, width=WIDTH, channels=CHANNELS).event())
        await self.write_event(AudioStop().event())
        self._sounding = False

    async def _spoken(self, text: str) -> AsyncIterator[bytes]:
        """The service's PCM, in whole samples."""
        voice = (self._voice and self._voice.name) or "alloy"
        body: dict[str, Any] = {"model": "tts-1", "input": text, "voice": voice, "response_format": "pcm"}
        async with self._client.stream("POST", "/audio/speech", json=body) as answer:
            if answer.is_error:
                await answer.aread()
                raise _refusal(answer)
            odd = b""
            async for data in answer.aiter_bytes():
                data = odd + data
                whole = len(data) - len(data) % WIDTH
                odd = data[whole:]
                if whole:
                    yield data[:whole]

    async def _info(self) -> Info:
        answer = await self._client.get("/audio/voices")
        if answer.is_error:
            raise _refusal(answer)
        voices = [
            TtsVoice(
                name=each["id"], description=each["name"], attribution=_CREDIT, installed=True,
                version=None, languages=["ko"],
            )
            for each in answer.json()["voices"]
        ]  # fmt: skip
        program = TtsProgram(
            name="moksori", description="Announcements in the voices of real actors", attribution=_CREDIT,
            installed=True, version=version("moksori"), voices=voices, supports_synthesize_streaming=True,
        )  # fmt: skip
        return Info(tts=[program])


def _refusal(answer: httpx.Response) -> Refused:
    try:
        error = answer.json()["error"]
        return Refused(error["message"], error["code"])
    except (ValueError, KeyError, TypeError):
        return Refused(f"The service answered {answer.status_code}.", "refused")
