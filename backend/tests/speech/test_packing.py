from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.speech.builtin.espeak import EngineCrashed
from app.speech.interface import BadVoice, EngineUnavailable, SpeechError, VoiceState
from app.speech.packing import pack_error, pack_voice, unpack_error, unpack_voice, voice_key

SHAPES = st.lists(st.integers(0, 4), min_size=1, max_size=3)
KINDS = st.sampled_from(["<f4", "<f8", "<i8", "|u1"])


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.tuples(SHAPES, KINDS), max_size=4))
def test_a_voice_comes_back(told) -> None:
    arrays = {
        name: np.arange(int(np.prod(shape))).astype(kind).reshape(shape)
        for name, (shape, kind) in told.items()
    }
    header, blobs = pack_voice(VoiceState("xtts", arrays, {"checkpoint": "1"}))
    found = unpack_voice(json.loads(json.dumps(header)), blobs)
    assert (found.engine, found.metadata) == ("xtts", {"checkpoint": "1"})
    assert set(found.arrays) == set(arrays)
    for name, array in arrays.items():
        assert found.arrays[name].dtype == array.dtype
        assert np.array_equal(found.arrays[name], array)
        assert found.arrays[name].flags.writeable


def test_voices_are_told_apart_by_all_of_them() -> None:
    keys = {
        voice_key(*pack_voice(VoiceState(engine, {"a": np.array(value, kind)}, {"m": metadata})))
        for engine in ("a", "b")
        for value, kind in (([1], "<f4"), ([2], "<f4"), ([[1]], "<f4"), ([1], "<i4"))
        for metadata in (1, 2)
    }
    assert len(keys) == 16


@pytest.mark.parametrize("kind", [SpeechError, EngineUnavailable, BadVoice, EngineCrashed])
def test_an_error_comes_back_as_what_it_was(kind: type[SpeechError]) -> None:
    found = unpack_error(json.loads(json.dumps(pack_error(kind("It is so.", "Do that.")))))
    assert type(found) is kind
    assert (str(found), found.fix, found.code, found.retry) == (
        "It is so.",
        "Do that.",
        kind.code,
        kind.retry,
    )


def test_an_error_of_a_kind_that_is_not_known_here_keeps_what_it_says() -> None:
    header = {"error": "Elsewhere", "code": "else", "message": "m", "fix": "f", "retry": True}
    found = unpack_error(header)
    assert type(found) is SpeechError
    assert (str(found), found.fix, found.code, found.retry) == ("m", "f", "else", True)
    assert (SpeechError.code, SpeechError.retry) == ("speech_failed", False)


def test_an_error_that_may_be_tried_again_says_so() -> None:
    error = SpeechError("busy")
    error.retry = True
    assert unpack_error(pack_error(error)).retry
