from __future__ import annotations

import io
import tracemalloc

import numpy as np
import pytest
import soundfile

from app.models import Sample
from app.samples.recordings import read_recording
from app.storage.memory import MemoryStore
from tests.service import wav

RATE = 16_000
AUDIO = np.round(np.random.default_rng(1).uniform(-0.9, 0.9, 60 * RATE) * 2**15).astype(np.float32) / 2**15


def kept(data: bytes) -> tuple[MemoryStore, Sample]:
    store = MemoryStore()
    store.put("samples", "a.wav", io.BytesIO(data))
    return store, Sample(wav_key="a.wav", wav_bytes=len(wav(AUDIO)), text_content="안녕")


@pytest.mark.parametrize(("most", "seconds"), [(None, 60), (1.5, 1.5), (90.0, 60), (0.0, 0)])
def test_a_recording_is_read_as_far_as_it_is_of_use(most: float | None, seconds: float) -> None:
    recording = read_recording(*kept(wav(AUDIO)), most)
    np.testing.assert_array_equal(recording.audio, AUDIO[: int(seconds * RATE)])
    assert (recording.sample_rate, recording.text) == (RATE, "안녕")


def test_a_recording_takes_the_memory_of_its_audio_once() -> None:
    """Two of two hours are measured side by side."""
    store, sample = kept(wav(AUDIO))
    tracemalloc.start()
    recording = read_recording(store, sample)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * recording.audio.nbytes


def test_a_header_does_not_decide_how_much_memory_is_asked_for() -> None:
    forged = bytearray(wav(AUDIO, kind="FLAC"))
    promise = int.from_bytes(forged[18:26]) | (2**36 - 1)  # STREAMINFO: the last 36 bits count the frames
    forged[18:26] = promise.to_bytes(8)
    with pytest.raises(soundfile.LibsndfileError):  # and no MemoryError: 256 GiB
        read_recording(*kept(bytes(forged)))


def test_of_a_file_that_was_altered_to_stereo_the_first_channel_is_read() -> None:
    recording = read_recording(*kept(wav(np.stack([AUDIO, -AUDIO], axis=1))))
    np.testing.assert_array_equal(recording.audio, AUDIO)
