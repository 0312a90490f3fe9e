"""The queue in front of an engine, for those who listen while it speaks."""

from __future__ import annotations

import queue
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from itertools import groupby

import numpy as np
import pytest

from app.speech.interface import Clip, Failure, Recording, SpeechError, Utterance, VoiceState
from app.speech.mock import MockEngine
from app.speech.speaker import Speaker, SpeakingCancelled

VOICE = MockEngine().condition([Recording(np.ones(100, np.float32), 16_000)])


@pytest.fixture
def speaker() -> Iterator[Speaker]:
    made = Speaker(MockEngine())
    yield made
    made.close()


def said(*texts: str, voice: VoiceState = VOICE) -> list[Utterance]:
    return [
        Utterance(f"u{number}", text, voice, interactive=True, stream=True)
        for number, text in enumerate(texts)
    ]


def test_clips_come_in_the_order_of_the_texts(speaker: Speaker) -> None:
    clips = list(speaker.in_order(said(*["안녕하세요 여러분"] * 7)))
    assert [name for name, _ in groupby(clips, key=lambda clip: clip.utterance_id)] == [
        f"u{n}" for n in range(7)
    ]
    assert [clip.utterance_id for clip in clips if clip.final] == [f"u{n}" for n in range(7)]
    assert speaker._sinks == {}


def test_only_a_little_is_spoken_ahead(speaker: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted: list[str] = []
    submit = speaker.submit

    def watched(utterance: Utterance, sink: object) -> None:
        submitted.append(utterance.id)
        submit(utterance, sink)  # type: ignore[arg-type]

    monkeypatch.setattr(speaker, "submit", watched)
    listening = speaker.in_order(said(*["안녕하세요 여러분"] * 7), ahead=2)
    next(listening)
    assert submitted == ["u0", "u1", "u2"]
    listening.close()
    assert submitted == ["u0", "u1", "u2"]
    assert speaker._sinks == {}


def test_a_failure_ends_it_and_cancels_the_rest(speaker: Speaker) -> None:
    with pytest.raises(SpeechError, match="can be spoken"):
        list(speaker.in_order(said("안녕하세요", "...", "안녕하세요")))
    assert speaker._sinks == {}


def test_who_no_longer_listens_is_noticed_while_waiting(
    speaker: Speaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speaker, "submit", lambda *_: None)  # an engine that never answers
    answers = iter([False, False, True])
    with pytest.raises(SpeakingCancelled):
        list(speaker.in_order(said("안녕하세요"), lambda: next(answers)))


class Breaking(MockEngine):
    """Ends as a whole over an empty text."""

    async def synthesize(self, utterances: AsyncIterable[Utterance]) -> AsyncIterator[Clip | Failure]:
        async for utterance in utterances:
            if not utterance.text:
                raise ZeroDivisionError
            yield Clip(utterance.id, np.ones(100, np.float32), 24_000, self.name)


def test_who_asks_again_as_soon_as_the_engine_broke_is_answered() -> None:
    speaker = Speaker(Breaking())
    answers: queue.SimpleQueue[Clip | Failure] = queue.SimpleQueue()

    def again(failed: Clip | Failure) -> None:
        answers.put(failed)
        speaker.submit(Utterance("again", "안녕하세요", VOICE), answers.put)

    try:
        for _ in range(20):
            speaker.submit(Utterance("broken", "", VOICE), again)
            failed, answer = answers.get(timeout=10), answers.get(timeout=10)
            assert isinstance(failed, Failure)
            assert failed.error.retry
            assert isinstance(answer, Clip)
        assert speaker._sinks == {}
    finally:
        speaker.close()
