"""Wyoming's own client, through `moksori wyoming`, against the running service."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import numpy as np
import pytest
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncClient
from wyoming.error import Error
from wyoming.event import Event, Eventable, async_read_event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeStopped,
    SynthesizeVoice,
)

from app.clients.wyoming import Handler
from tests.clients.conftest import PITCHES, TEXT, House, pcm, tone
from tests.running import free_port, stop

ANSWER_SECONDS = 60


@pytest.fixture(scope="module")
def door(house: House) -> Iterator[str]:
    """The address at which `moksori wyoming` listens."""
    uri = f"tcp://127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "wyoming", "--listen", uri, "--url", house.service.url],
        env=house.service.environment | {"MOKSORI_TOKEN": house.service.token}, cwd=house.service.data,
    )  # fmt: skip
    try:
        house.until(lambda: asyncio.run(_answers(uri)), seconds=60)
        yield uri
    finally:
        stop(process)
        assert process.returncode in (0, -signal.SIGTERM)


async def _answers(uri: str) -> bool:
    try:
        async with AsyncClient.from_uri(uri):
            return True
    except OSError:
        return False


@asynccontextmanager
async def talking(uri: str) -> AsyncIterator[AsyncClient]:
    async with asyncio.timeout(ANSWER_SECONDS), AsyncClient.from_uri(uri) as client:
        yield client


async def ask(client: AsyncClient, *events: Eventable) -> None:
    for event in events:
        await client.write_event(event.event())


async def heard(client: AsyncClient, end: type[AudioStop | SynthesizeStopped | Error]) -> list[Event]:
    """Events up to one of this kind."""
    events: list[Event] = []
    while not events or not end.is_type(events[-1].type):
        event = await client.read_event()
        assert event is not None, [each.type for each in events]
        events.append(event)
    return events


def sound(events: list[Event]) -> np.ndarray:
    starts = [AudioStart.from_event(event) for event in events if AudioStart.is_type(event.type)]
    assert [(start.rate, start.width, start.channels) for start in starts] == [(24_000, 2, 1)]
    assert sum(AudioStop.is_type(event.type) for event in events) == 1
    chunks = [AudioChunk.from_event(event).audio for event in events if AudioChunk.is_type(event.type)]
    return pcm(b"".join(chunks))


def test_it_says_which_voices_there_are(house: House, door: str) -> None:
    async def describe() -> Info:
        async with talking(door) as client:
            await ask(client, Ping(text="here?"), Describe())
            pong = await client.read_event()
            assert pong is not None
            assert Pong.from_event(pong).text == "here?"
            event = await client.read_event()
            assert event is not None
            return Info.from_event(event)

    [program] = asyncio.run(describe()).tts
    assert program.supports_synthesize_streaming
    assert {house.voices[name] for name in PITCHES} <= {voice.name for voice in program.voices}
    assert all(voice.languages == ["ko"] and voice.installed for voice in program.voices)


def test_a_text_is_spoken(house: House, door: str) -> None:
    async def speak(voice: str | None) -> np.ndarray:
        async with talking(door) as client:
            await ask(client, Synthesize(TEXT, SynthesizeVoice(name=voice) if voice else None))
            return sound(await heard(client, AudioStop))

    for asked, voice in (("둘", "둘"), (house.voices["셋"], "셋"), (None, "하나")):
        audio = asyncio.run(speak(asked))
        assert len(audio) / 24_000 == pytest.approx(2.46, abs=0.2)
        assert tone(audio) == pytest.approx(house.tones[voice], rel=0.01)


def test_a_text_in_pieces_is_spoken_sentence_by_sentence(house: House, door: str) -> None:
    async def stream() -> tuple[list[Event], list[Event]]:
        async with talking(door) as client:
            await ask(
                client,
                SynthesizeStart(voice=SynthesizeVoice(name="둘")),
                SynthesizeChunk("안녕하세"),
                SynthesizeChunk("요. 고객센"),
            )
            early = [await client.read_event(), await client.read_event()]  # before the text is over
            await ask(client, SynthesizeChunk("터입니다."), Synthesize(TEXT), SynthesizeStop())
            return [event for event in early if event], await heard(client, SynthesizeStopped)

    early, late = asyncio.run(stream())
    assert [AudioStart.is_type(early[0].type), AudioChunk.is_type(early[1].type)] == [True, True]
    audio = sound(early + late)
    assert 2.0 < len(audio) / 24_000 < 3.2  # once, although Home Assistant sent it twice
    assert tone(audio) == pytest.approx(house.tones["둘"], rel=0.01)


def test_what_cannot_be_spoken_is_said(door: str) -> None:
    async def refused(text: str, voice: str) -> Error:
        async with talking(door) as client:
            await ask(client, Synthesize(text, SynthesizeVoice(name=voice)))
            return Error.from_event((await heard(client, Error))[-1])

    assert asyncio.run(refused(TEXT, "nobody")).code == "voice_not_found"
    unclear = asyncio.run(refused("漢", "둘"))
    assert unclear.code == "unclear_text"
    assert unclear.text


def test_its_generations_have_a_name_of_their_own(house: House, door: str) -> None:
    with house.service.remote() as remote:
        titles = {script["title"] for script in remote.pages("/voice-actors/tts-scripts")}
    assert "Wyoming" in titles


# --- strangers --------------------------------------------------------------------------------------

SECRET = "비밀표식"
LONG_LINE = b'{"type": "synthesize", "data": {"text": "' + b"x" * 70_000 + b'"}}\n'


class _Out:
    """What a handler writes, in place of a connection."""

    def __init__(self) -> None:
        self.sent, self.closed = b"", False

    def writelines(self, parts: tuple[bytes, ...]) -> None:
        self.sent += b"".join(parts)

    def write(self, data: bytes) -> None:
        self.sent += data

    async def drain(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


async def _told(raw: bytes) -> Error | None:
    """What a client is told that sends this, and waits."""
    reader, out = asyncio.StreamReader(), _Out()
    reader.feed_data(raw)
    silent = httpx.MockTransport(lambda _: httpx.Response(200, content=b"\0\0"))
    async with httpx.AsyncClient(transport=silent, base_url="http://test") as client:
        async with asyncio.timeout(10):
            await Handler(client, reader, out).run()  # type: ignore[arg-type]
    assert out.closed
    answer = asyncio.StreamReader()
    answer.feed_data(out.sent)
    answer.feed_eof()
    event = await async_read_event(answer)
    return Error.from_event(event) if event else None


@pytest.mark.parametrize(
    "raw",
    [
        b'{"type": "describe", "payload_length": 9000000000}\n',
        b'{"type": "describe", "data_length": 9000000000}\n',
        b'{"type": "describe", "data_length": -1}\n',
        b'{"type": "describe", "data_length": "many"}\n',
        b'{"type": "synthesize", "data_length": 2}\n[]',
        f'{{"type": "synthesize", "data": {{"text": "{SECRET}\\ud800"}}}}\n'.encode(),
        f'{{"type": "synthesize", "data": {{"text": ["{SECRET}"]}}}}\n'.encode(),
        f'{{"type": "synthesize", "data": "{SECRET}"}}\n'.encode(),
        b'{"type": "synthesize", "data": {"text": "x", "voice": "y"}}\n',
        b'{"type": "synthesize"}\n',
        b'{"type": "synthesize-start"}\n{"type": "synthesize-chunk", "data": {"text": null}}\n',
        b"[]\n",
        b"GET / HTTP/1.1\r\n",
        LONG_LINE,
    ],
)
def test_what_is_no_event_is_said_and_never_printed(raw: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    told = asyncio.run(_told(raw))
    assert told
    assert told.code == "bad_event"
    printed = capfd.readouterr()
    assert SECRET not in told.text + printed.out + printed.err
