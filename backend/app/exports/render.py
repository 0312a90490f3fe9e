"""A take as the files of a package: trimmed, filtered, at a set loudness, encoded. Pure functions on arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from app.audio.formats import encode
from app.audio.loudness import loudness_lufs, set_loudness, true_peak_db
from app.audio.shape import limit_band, resample, trim
from app.exports.presets import Rendition, Sound

Audio = NDArray[np.float32]


def render(
    take: BinaryIO, renditions: Sequence[Rendition], sound: Sound, pause: float
) -> list[tuple[bytes, float]]:
    """Each rendition's file and its seconds. `take` is a mono WAV; `pause` is added to the silence at the end."""
    with take:
        audio, rate = sf.read(take, dtype="float32")
    trimmed = trim(audio, rate, lead=sound.lead, tail=sound.tail + pause)
    shaped: dict[tuple[int, bool], Audio] = {}
    files = []
    for each in renditions:
        key = each.rate, each.narrow
        if key not in shaped:
            shaped[key] = _shaped(trimmed, rate, each, sound, shaped)
        data = encode(shaped[key], each.rate, each.format)
        files.append((data, len(shaped[key]) / each.rate))
    return files


def _shaped(
    audio: Audio, rate: int, rendition: Rendition, sound: Sound, known: dict[tuple[int, bool], Audio]
) -> Audio:
    """The audio at a rendition's rate and level.

    Resampling upwards adds nothing between the samples that the true peak has not seen, so the level is set
    once for all rates above the take's own; below it, and in the narrow band, some sound is gone.
    """
    if rendition.rate >= rate and not rendition.narrow:
        if (rate, False) not in known:
            known[rate, False] = level(audio, rate, sound)
        return resample(known[rate, False], rate, rendition.rate)
    converted = resample(audio, rate, rendition.rate)
    if rendition.narrow:
        converted = limit_band(converted, rendition.rate)
    return level(converted, rendition.rate, sound)


def level(audio: Audio, rate: int, sound: Sound) -> Audio:
    """At the set loudness, its true peak below the limit. A plain gain where that is enough: it is half the work."""
    if not len(audio) or not np.any(audio):
        return audio
    gain = sound.lufs - loudness_lufs(audio, rate)
    if true_peak_db(audio) + gain <= sound.true_peak:
        louder: Audio = (audio * np.float32(10 ** (gain / 20))).astype(np.float32)
        return louder
    return set_loudness(audio, rate, sound.lufs, sound.true_peak).audio
