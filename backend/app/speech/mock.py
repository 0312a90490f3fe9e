"""A sine wave for a voice: for working on everything around the engines without any of them."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterable, AsyncIterator, Sequence

import numpy as np

from app.speech.interface import (
    Audio,
    BadVoice,
    Clip,
    EngineStatus,
    Failure,
    Recording,
    SpeechError,
    Utterance,
    VoiceState,
)

RATE = 24_000
_SYLLABLE = 0.18  # seconds at speed 1, about what Korean announcements take
_EDGE = 0.05  # seconds of fading at both ends
_PIECE = RATE // 2  # samples of a streamed clip


class MockEngine:
    """Says every text as a tone: as long as its syllables need, as high as the recordings' hash says.

    Quick and deterministic; it speaks in order of arrival. Whatever it scores is simulated.
    """

    name = "mock"
    simulated = True
    sample_rate = RATE
    measures_elsewhere = False

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._speaking: set[str] = set()

    def load(self) -> None:
        """Nothing to load."""

    def close(self) -> None:
        """Nothing to give back."""

    def condition(self, recordings: Sequence[Recording]) -> VoiceState:
        """A tone between 110 and 330 Hz that depends on the recordings. Raises SpeechError without any."""
        digest = hashlib.blake2b(digest_size=4)
        for recording in recordings:
            if not np.any(recording.audio):
                raise SpeechError("A recording is silent.", "Leave it out.")
            digest.update(np.ascontiguousarray(recording.audio, np.float32).tobytes())
        if not recordings:
            raise SpeechError("There is no recording.", "Add recordings of the actor speaking.")
        hertz = 110 * 3 ** (int.from_bytes(digest.digest(), "little") / 2**32)
        return VoiceState(self.name, {"hertz": np.array([hertz], np.float32)}, {"simulated": True})

    async def synthesize(self, utterances: AsyncIterable[Utterance]) -> AsyncIterator[Clip | Failure]:
        """Speak utterances in order of arrival, until the iterable ends."""
        async for utterance in utterances:
            with self._lock:
                self._speaking.add(utterance.id)
            try:
                audio = _tone(utterance)
            except SpeechError as error:
                yield Failure(utterance.id, error)
                continue
            size = _PIECE if utterance.stream else len(audio)
            for start in range(0, len(audio), size):
                if utterance.id not in self._speaking:
                    break
                end = start + size
                yield Clip(utterance.id, audio[start:end], RATE, self.name, end >= len(audio))
                await asyncio.sleep(0)
            with self._lock:
                self._speaking.discard(utterance.id)

    def cancel(self, utterance_id: str) -> None:
        """Stop an utterance that is being streamed."""
        with self._lock:
            self._speaking.discard(utterance_id)

    def similarity(self, audio: Audio, sample_rate: int, voice: VoiceState) -> float | None:
        """1 for a tone as high as the voice's, 0 an octave off, at least -1: simulated."""
        rising = np.flatnonzero((audio[:-1] < 0) & (audio[1:] >= 0))
        if len(rising) < 2:
            return -1.0
        hertz = (len(rising) - 1) * sample_rate / (rising[-1] - rising[0])
        return float(max(1 - abs(np.log2(hertz / _hertz(voice))), -1.0))

    def ping(self) -> EngineStatus:
        """Always there."""
        return EngineStatus(self.name, True, "Sine waves, for development: nothing is spoken.")


def _hertz(voice: VoiceState) -> float:
    if voice.engine != MockEngine.name or "hertz" not in voice.arrays:
        raise BadVoice("This voice was not made by the mock engine.", "Train the model again.")
    return float(np.clip(voice.arrays["hertz"].ravel()[:1].sum(), 20, 2000))


def _tone(utterance: Utterance) -> Audio:
    """The utterance as a tone whose loudness follows its syllables; the seed sets where it begins."""
    if not 0.5 <= utterance.speed <= 2.0:
        raise SpeechError("The speed is outside 0.5–2.0.", "Choose a speed from 0.5 to 2.0.")
    syllables = sum(character.isalnum() for character in utterance.text)
    if not syllables:
        raise SpeechError("Nothing in this text can be spoken.", "Write words, not signs alone.")
    seconds = syllables * _SYLLABLE / utterance.speed + 2 * _EDGE
    at = np.arange(round(seconds * RATE)) / RATE
    phase = np.random.default_rng(utterance.seed & 0xFFFFFFFF).uniform(0, 2 * np.pi)
    beat = 0.75 - 0.25 * np.cos(2 * np.pi * at * utterance.speed / _SYLLABLE)
    fade = np.minimum(1, np.minimum(at, at[::-1]) / _EDGE)
    return (0.3 * fade * beat * np.sin(2 * np.pi * _hertz(utterance.voice) * at + phase)).astype(np.float32)
