"""`posted` with an engine that keeps what it was given, and answers when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import numpy as np
import pytest

from app.speech.interface import Clip, Failure, SpeechError, Utterance, VoiceState
from app.speech.posting import Post, posted

VOICE = VoiceState("none", {})


class Answering:
    def __init__(self) -> None:
        self.posts: dict[str, Post] = {}
        self.cancelled: list[str] = []

    def add(self, utterance: Utterance, post: Post) -> None:
        self.posts[utterance.id] = post

    def clip(self, name: str, final: bool = True) -> None:
        self.posts[name](Clip(name, np.zeros(1, np.float32), 24_000, "none", final))


async def arriving(number: int, then: Exception | None = None) -> AsyncIterator[Utterance]:
    for each in range(number):
        yield Utterance(str(each), "가", VOICE)
    if then:
        raise then


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_what_is_posted_comes_in_its_order_until_all_have_ended() -> None:
    async def run() -> list[str]:
        engine, came = Answering(), []
        async with aclosing(posted(arriving(3), engine.add, engine.cancelled.append)) as events:
            waiting = asyncio.ensure_future(anext(events))
            await settled()
            engine.clip("2", final=False)
            engine.posts["1"](Failure("1", SpeechError("no")))
            engine.posts["0"](None)
            engine.clip("2")
            came.append(await waiting)
            came += [event async for event in events]
        assert engine.cancelled == []
        return [f"{event.utterance_id} {type(event).__name__}" for event in came]

    assert asyncio.run(run()) == ["2 Clip", "1 Failure", "2 Clip"]


def test_a_source_that_breaks_ends_it_and_cancels_the_rest() -> None:
    async def run() -> list[str]:
        engine = Answering()
        with pytest.raises(ZeroDivisionError):
            async for _ in posted(arriving(2, ZeroDivisionError()), engine.add, engine.cancelled.append):
                pass
        engine.clip("0")  # nobody listens any more
        return sorted(engine.cancelled)

    assert asyncio.run(run()) == ["0", "1"]
