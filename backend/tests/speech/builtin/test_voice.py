from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.speech.builtin import analysis
from app.speech.builtin import voice as module
from app.speech.builtin.espeak import Espeak
from app.speech.interface import BadVoice, Recording, SpeechError, VoiceState
from tests.speech.builtin.actors import prompts

pytestmark = pytest.mark.needs("asterisk-prompts")


@pytest.fixture(scope="module")
def espeak() -> Iterator[Espeak]:
    with Espeak() as espeak:
        yield espeak


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    return prompts("June", 12, 0)[0]


@pytest.fixture(scope="module")
def voice(espeak: Espeak, recordings: list[Recording]) -> VoiceState:
    return module.build(recordings, espeak)


def test_a_voice_knows_its_actors_pitch(voice: VoiceState):
    median, spread = voice.metadata["actor_pitch"]
    assert 160 < np.exp(median) < 260
    assert 0.05 < spread < 0.5


def test_the_band_of_telephone_recordings_is_found(voice: VoiceState):
    assert 3400 < analysis.grid_hz()[voice.metadata["top"] - 1] < 4400


def test_a_voice_is_bounded(espeak: Espeak, recordings: list[Recording], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST_FRAMES", 200)
    built = module.build(recordings, espeak)
    assert {len(built.arrays[name]) for name in ("envelope", "aperiodicity", "features")} == {200}


def test_the_same_recordings_make_the_same_voice(
    espeak: Espeak, recordings: list[Recording], voice: VoiceState
):
    again = module.build(recordings, espeak)
    assert again.metadata == voice.metadata
    for name, array in voice.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array)


def test_what_is_spoken_moves_to_the_actor(espeak: Espeak, voice: VoiceState):
    source = analysis.analyze(module.say(espeak, "고객님의 전화를 연결하고 있습니다.").audio)
    converted = module.target(voice).convert(source)
    assert len(converted) == len(source)
    np.testing.assert_array_equal(converted.f0 > 0, source.f0 > 0)
    pitch = np.median(converted.f0[converted.f0 > 0])
    assert pitch == pytest.approx(np.exp(voice.metadata["actor_pitch"][0]), rel=0.25)
    # What was loud stays loud: consonants and vowels keep their places.
    top = voice.metadata["top"]
    before, after = source.envelope[:, :top].mean(axis=1), converted.envelope[:, :top].mean(axis=1)
    assert np.corrcoef(before, after)[0, 1] > 0.9


@pytest.mark.parametrize(
    "change",
    [
        {"format": 0},
        {"top": 1000},
        {"top": "many"},
        {"gain": float("nan")},
        {"loud": float("inf")},
        {"actor_pitch": [5.0]},
        {"actor_pitch": None},
    ],
    ids=str,
)
def test_damaged_facts_are_refused(voice: VoiceState, change: dict[str, Any]):
    with pytest.raises(BadVoice):
        module.target(replace(voice, metadata={**voice.metadata, **change}))


@pytest.mark.parametrize("name", ["envelope", "aperiodicity", "features", "source_mean", "variance"])
@pytest.mark.parametrize("damage", ["missing", "short", "nan"])
def test_damaged_arrays_are_refused(voice: VoiceState, name: str, damage: str):
    arrays = {key: array.copy() for key, array in voice.arrays.items()}
    if damage == "missing":
        del arrays[name]
    elif damage == "short":
        arrays[name] = arrays[name][:1]
    else:
        arrays[name].flat[0] = np.nan
    with pytest.raises(BadVoice):
        module.target(replace(voice, arrays=arrays))


@pytest.mark.parametrize(
    "audio",
    [
        np.zeros(0, np.float32),
        np.zeros((8000, 2), np.float32),
        np.full(8000, np.nan, np.float32),
        np.random.default_rng(0).standard_normal(800).astype(np.float32) * 0.1,
    ],
    ids=["empty", "stereo", "not finite", "too short"],
)
def test_recordings_that_cannot_serve_say_so(espeak: Espeak, audio: np.ndarray):
    with pytest.raises(SpeechError) as caught:
        module.build([Recording(audio, 8000)], espeak)
    assert caught.value.fix
