"""One utterance from text to audio in an actor's voice, phrase by phrase."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from app.speech.builtin import analysis
from app.speech.builtin.analysis import FRAME, RATE, Floats
from app.speech.builtin.espeak import Espeak
from app.speech.builtin.voice import Target
from app.speech.interface import Audio, SpeechError

MOST_CHARACTERS = 1000
_WORDS = 175  # espeak-ng's rate at speed 1, words a minute
_PAUSE = round(0.08 * RATE)  # silence this long ends a phrase
_EDGE = round(0.06 * RATE)  # silence kept before the first sound and after the last
_FADE = round(0.01 * RATE)
_SILENCE = 10 ** (-60 / 20)


def speak(
    text: str, target: Target, espeak: Espeak, *, language: str = "ko", speed: float = 1.0, seed: int = 0
) -> Iterator[tuple[Audio, bool]]:
    """Yield the audio of each phrase at RATE Hz, pauses included, and whether it is the last.

    Joined they are the utterance.
    What a phrase sounds like depends on the arguments alone, so a stream and a whole are the same samples.
    Raises SpeechError for a text, speed or language that cannot be spoken.
    """
    if not text.strip() or len(text) > MOST_CHARACTERS:
        raise SpeechError(f"A text has 1 to {MOST_CHARACTERS} characters.", "Split or fill in the text.")
    if not 0.5 <= speed <= 2.0:
        raise SpeechError("The speed is outside 0.5–2.0.", "Choose a speed from 0.5 to 2.0.")
    source, rate = espeak.say(text, voice=language, rate=round(_WORDS * speed))
    source = analysis.resample(source, rate)
    random = np.random.default_rng(seed & 0xFFFFFFFF)
    parts = phrases(source)
    if not parts:
        raise SpeechError("Nothing in this text can be spoken.", "Write words, not signs alone.")
    for part, (start, end) in enumerate(parts, 1):
        yield _phrase(source[start:end], target, random), part == len(parts)


def phrases(source: Audio) -> list[tuple[int, int]]:
    """Cut speech amid its pauses: start and end of each part, leaving out silence at both ends."""
    loud = np.flatnonzero(np.abs(source) > _SILENCE)
    if not len(loud):
        return []
    gaps = np.flatnonzero(np.diff(loud) > _PAUSE)
    cuts = [(int(loud[i]) + int(loud[i + 1])) // 2 for i in gaps]
    first, last = max(int(loud[0]) - _EDGE, 0), min(int(loud[-1]) + _EDGE, len(source))
    edges = [first, *cuts, last]
    return list(pairwise(edges))


def _phrase(source: Audio, target: Target, random: np.random.Generator) -> Audio:
    frames = analysis.analyze(source)
    f0, envelope, aperiodicity = target.convert(frames)
    audio = analysis.synthesize(f0 * _wander(len(f0), random), envelope, aperiodicity)
    audio = np.pad(audio, (0, max(len(source) - len(audio), 0)))[: len(source)]
    ramp = np.linspace(0, 1, _FADE, dtype=np.float32)
    audio[:_FADE] *= ramp
    audio[-_FADE:] *= ramp[::-1]
    return limit(audio)


def _wander(frames: int, random: np.random.Generator) -> Floats:
    """A slow drift of pitch, about 1 %, that the seed draws: no two takes of a person are the same."""
    knots = random.standard_normal(int(frames * FRAME * 4) + 4)
    at = np.arange(frames) * FRAME * 4
    drift = np.interp(at, np.arange(len(knots)), knots)
    return np.asarray(np.exp(0.01 * drift), np.float32)


def limit(audio: Audio) -> Audio:
    """Keep samples within -1..1: unchanged up to 0.8, bent smoothly above."""
    over = np.abs(audio) > 0.8
    bent = np.sign(audio) * (0.8 + 0.2 * np.tanh((np.abs(audio) - 0.8) / 0.2))
    return np.where(over, bent, audio).astype(np.float32)
