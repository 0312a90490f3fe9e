from __future__ import annotations

import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.audio.streams import StreamEncoder, StreamFormat, wav_header

RATE = 22_050
FORMATS = [
    StreamFormat("pcm", 24_000),
    StreamFormat("wav", 16_000),
    StreamFormat("ulaw", 8_000),
    StreamFormat("alaw", 8_000),
    StreamFormat("mp3", 44_100, 128),
    StreamFormat("mp3", 22_050, 32),
    StreamFormat("aac", 24_000, 96),
    StreamFormat("flac", 24_000),
    StreamFormat("opus", 48_000, 64),
]
RAW = {"pcm": "s16le", "ulaw": "mulaw", "alaw": "alaw"}


def written(form: StreamFormat, audio: np.ndarray, step: int = 5_000, **options: float) -> list[bytes]:
    encoder = StreamEncoder(form, RATE, **options)
    return [
        *(encoder.feed(audio[start : start + step]) for start in range(0, len(audio), step)),
        encoder.end(),
    ]


def heard(form: StreamFormat, data: bytes, path) -> np.ndarray:
    """The stream as ffmpeg plays it, at the format's rate."""
    path.write_bytes(data)
    source = ["-f", RAW[form.codec], "-ar", str(form.rate), "-ac", "1"] if form.codec in RAW else []
    done = subprocess.run(
        ["ffmpeg", "-v", "error", *source, "-i", path, "-f", "f32le", "-ar", str(form.rate), "-ac", "1", "-"],
        capture_output=True, check=True,
    )  # fmt: skip
    assert done.stderr == b""
    return np.frombuffer(done.stdout, np.float32)


def pitch(audio: np.ndarray, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio)), 1 << 19))
    return float(np.argmax(spectrum) * rate / (1 << 19))


@pytest.mark.needs("ffprobe")
@pytest.mark.parametrize("form", FORMATS, ids=lambda form: f"{form.codec}-{form.rate}")
@pytest.mark.parametrize("tempo", [1.0, 0.5, 2.0])
def test_a_stream_plays_as_long_and_as_high_as_it_should(sine, tmp_path, form, tempo):
    data = b"".join(written(form, sine(2.0, RATE, frequency=440), tempo=tempo))
    audio = heard(form, data, tmp_path / "stream")
    assert len(audio) / form.rate == pytest.approx(2.0 / tempo, abs=0.08)
    assert pitch(audio, form.rate) == pytest.approx(440, abs=4)
    assert np.abs(audio[form.rate // 10 : form.rate // 2]).max() == pytest.approx(0.5, rel=0.15)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: f"{form.codec}-{form.rate}")
def test_bytes_come_before_the_end(sine, form):
    sent = written(form, sine(3.0, RATE))
    assert len(b"".join(sent[: len(sent) // 2])) > 0.3 * len(b"".join(sent))


@settings(max_examples=15, deadline=None)
@given(step=st.integers(100, 40_000))
def test_pcm_does_not_hear_where_it_was_cut(step):
    audio = (0.3 * np.sin(np.arange(RATE) / 20)).astype(np.float32)
    form = StreamFormat("pcm", RATE)
    pieces = np.frombuffer(b"".join(written(form, audio, step)), "<i2") / 32768
    assert np.abs(pieces - audio).max() <= 1.5 / 32768  # rounding and its dither


def test_the_same_audio_and_seed_are_the_same_bytes(sine):
    form, audio = StreamFormat("pcm", 24_000), sine(0.5, RATE)
    assert written(form, audio, seed=3) == written(form, audio, seed=3)
    assert written(form, audio, seed=3) != written(form, audio, seed=4)


def test_a_wav_of_unknown_length_begins_as_the_format_says():
    head = wav_header(24_000)
    assert len(head) == 44
    assert (head[:4], head[8:16], head[36:40]) == (b"RIFF", b"WAVEfmt ", b"data")
    assert head[4:8] == head[40:] == b"\xff" * 4
    assert int.from_bytes(head[24:28], "little") == 24_000


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: f"{form.codec}-{form.rate}")
def test_nothing_said_is_an_empty_stream(form):
    assert len(b"".join(written(form, np.zeros(0, np.float32)))) < 1000


@pytest.mark.parametrize("tempo", [0.25, 4.0])
def test_a_tempo_far_off_goes_by_steps(sine, tempo):
    data = b"".join(written(StreamFormat("pcm", RATE), sine(2.0, RATE), tempo=tempo))
    assert len(data) / 2 / RATE == pytest.approx(2.0 / tempo, rel=0.1)
