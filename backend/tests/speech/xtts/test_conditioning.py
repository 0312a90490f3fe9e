from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.speech.interface import BadRecording, Recording
from app.speech.xtts.model import Model
from tests.speech.xtts.checkpoints import recording

# (seconds, sample rate) of each sample, as in tools/reference/build.py
VOICES = {
    "one": [(6.7, 22050)],
    "several": [(7.31, 22050), (1.037, 24000), (0.5, 16000)],
    "shortest": [(0.36, 44100)],
    "longest": [(33.3, 22050)],
}


def recordings(name: str) -> list[Recording]:
    return [Recording(recording(n, seconds, rate), rate) for n, (seconds, rate) in enumerate(VOICES[name])]


@pytest.mark.parametrize("name", VOICES)
def test_as_coqui_tts(name: str, tiny: Model, reference: dict[str, NDArray[Any]]) -> None:
    voice = tiny.condition(recordings(name))
    for part in ("latents", "speaker"):
        np.testing.assert_allclose(voice.arrays[part], reference[f"voice/{name}/{part}"], atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 48000])
def test_other_rates_are_the_same_voice(tiny: Model, rate: int) -> None:
    sampled = tiny.condition([Recording(recording(0, 3.0, 22050), 22050)])
    again = tiny.condition([Recording(recording(0, 3.0, rate), rate)])
    speakers = [
        voice.arrays["speaker"] / np.linalg.norm(voice.arrays["speaker"]) for voice in (sampled, again)
    ]
    assert speakers[0] @ speakers[1] > 0.9


def test_similarity(tiny: Model) -> None:
    audio = recording(0, 3.0, 22050)
    voice = tiny.condition([Recording(audio, 22050)])
    alike = tiny.similarity(audio, 22050, voice)
    noise = np.random.default_rng(0).standard_normal(66150).astype(np.float32) * 0.1
    other = tiny.similarity(noise, 22050, voice)
    assert alike is not None
    assert other is not None
    assert alike == pytest.approx(1.0, abs=1e-4)
    assert other < alike - 0.001
    assert tiny.similarity(audio[:500], 22050, voice) is None


@pytest.mark.parametrize(
    "bad",
    [
        [],
        [Recording(np.zeros(0, np.float32), 22050)],
        [Recording(np.zeros(3000, np.float32), 22050)],
        [Recording(np.full(22050, np.nan, np.float32), 22050)],
        [Recording(np.zeros((22050, 2), np.float32), 22050)],
    ],
    ids=["none", "empty", "short", "not a number", "stereo"],
)
def test_refused(tiny: Model, bad: list[Recording]) -> None:
    with pytest.raises(BadRecording) as caught:
        tiny.condition(bad)
    assert caught.value.fix


def test_silence_is_conditioned_on(tiny: Model) -> None:
    voice = tiny.condition([Recording(np.zeros(22050, np.float32), 22050)])
    assert all(np.isfinite(array).all() for array in voice.arrays.values())
