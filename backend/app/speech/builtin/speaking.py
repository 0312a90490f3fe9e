"""One utterance from text to audio in an actor's voice, phrase by phrase."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np

from app.speech.builtin import analysis, prosody
from app.speech.builtin.analysis import FRAME, RATE, Floats, Frames
from app.speech.builtin.espeak import Espeak
from app.speech.builtin.voice import Target, say
from app.speech.interface import Audio, SpeechError

MOST_CHARACTERS = 1000
_WORDS = 145  # espeak-ng's words a minute at speed 1: some 4.6 syllables a second, as announcers speak
_SLOWEST = 90  # words a minute; below, espeak-ng hardly slows down and WORLD stretches
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
    rate = max(round(_WORDS * speed), _SLOWEST)
    spoken = say(espeak, text, language, rate)
    source = analysis.resample(spoken.audio, spoken.sample_rate)
    scale = RATE / spoken.sample_rate
    words = [replace(word, start=round(word.start * scale)) for word in spoken.words]
    random = np.random.default_rng(seed & 0xFFFFFFFF)
    parts = phrases(source)
    if not parts:
        raise SpeechError("Nothing in this text can be spoken.", "Write words, not signs alone.")
    stretch = max(rate / (_WORDS * speed), 1.0)
    firsts = [start for start, _ in parts[1:]]
    for part, (start, end) in enumerate(parts, 1):
        frames = analysis.analyze(source[start:end])
        melody = None
        if language.split("-", maxsplit=1)[0] == "ko":
            inside = [word for word in words if bisect(firsts, word.start) == part - 1]
            melody = prosody.contour(inside, len(frames), start) + _wander(len(frames), random)
        audio = analysis.synthesize(_stretched(target.convert(frames, melody), stretch))
        yield _finish(audio, round((end - start) * stretch)), part == len(parts)


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


def _stretched(frames: Frames, factor: float) -> Frames:
    """The same speech `factor` times as long, for a factor of 1 and more."""
    if factor < 1.02:
        return frames
    at = np.linspace(0, len(frames) - 1, round(len(frames) * factor))
    low = at.astype(int)
    high = np.minimum(low + 1, len(frames) - 1)
    part = (at - low).astype(np.float32)[:, None]
    rows = frames.envelope[low] * (1 - part) + frames.envelope[high] * part
    nearest = np.rint(at).astype(int)  # pitch and noise have edges that a mean would blur
    return Frames(frames.f0[nearest], rows, frames.aperiodicity[nearest])


def _finish(audio: Audio, length: int) -> Audio:
    """Fit to `length` samples, fade both ends (they lie in pauses), and keep within -1..1."""
    audio = np.pad(audio, (0, max(length - len(audio), 0)))[:length]
    ramp = np.linspace(0, 1, _FADE, dtype=np.float32)
    audio[:_FADE] *= ramp
    audio[-_FADE:] *= ramp[::-1]
    return limit(audio)


def _wander(frames: int, random: np.random.Generator) -> Floats:
    """A slow drift of pitch, (frames,) in standard deviations, that the seed draws."""
    knots = random.standard_normal(int(frames * FRAME * 4) + 4)
    at = np.arange(frames) * FRAME * 4
    return np.asarray(0.1 * np.interp(at, np.arange(len(knots)), knots), np.float32)


def limit(audio: Audio) -> Audio:
    """Keep samples within -1..1: unchanged up to 0.8, bent smoothly above."""
    over = np.abs(audio) > 0.8
    bent = np.sign(audio) * (0.8 + 0.2 * np.tanh((np.abs(audio) - 0.8) / 0.2))
    return np.where(over, bent, audio).astype(np.float32)
