from __future__ import annotations

import hashlib
import io
import json
import subprocess

import numpy as np
import pytest
import soundfile as sf

from app.audio.formats import (
    FORMATS,
    UnknownFormat,
    encode,
    encode_to,
    format_named,
    rate_of,
    telephone_preview,
)

# What ffprobe calls the codec, by the format's name.
CODECS = {
    "wav": "pcm_s16le", "flac": "flac", "mp3": "mp3", "ogg": "vorbis", "opus": "opus", "wav8": "pcm_s16le",
    "wav16": "pcm_s16le", "wav-ulaw": "pcm_mulaw", "wav-alaw": "pcm_alaw",
}  # fmt: skip
# How sox is told what a headerless file holds.
HEADERLESS = {
    "ulaw": ("mu-law", 8, 8_000), "alaw": ("a-law", 8, 8_000), "sln": ("signed-integer", 16, 8_000),
    "sln16": ("signed-integer", 16, 16_000), "pcm": ("signed-integer", 16, 24_000),
}  # fmt: skip


def test_every_format_is_told_or_headerless():
    assert set(FORMATS) == set(CODECS) | set(HEADERLESS)
    assert all(name == entry.name and entry.media_type and entry.extension for name, entry in FORMATS.items())


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.needs("ffprobe")
def test_containers_are_what_ffprobe_reads(tmp_path, voice, name):
    entry = FORMATS[name]
    path = tmp_path / f"take.{entry.extension}"
    path.write_bytes(encode(voice(2.0), 24_000, name))
    told = json.loads(
        subprocess.run(
            ["ffprobe", "-v", "error", "-of", "json", "-show_streams", "-show_format", path],
            capture_output=True, check=True,
        ).stdout
    )  # fmt: skip
    (stream,) = told["streams"]
    assert stream["codec_name"] == CODECS[name]
    assert stream["channels"] == 1
    # Opus always plays at 48 kHz, whatever went in.
    assert int(stream["sample_rate"]) == (48_000 if name == "opus" else entry.rate or 24_000)
    assert float(told["format"]["duration"]) == pytest.approx(2.0, abs=0.09)


@pytest.mark.parametrize("name", HEADERLESS)
@pytest.mark.needs("sox")
def test_headerless_files_are_samples_and_nothing_else(tmp_path, voice, sine, name):
    encoding, bits, rate = HEADERLESS[name]
    tone = sine(2.0, 24_000, frequency=440, level=0.5)
    path = tmp_path / "take.raw"
    path.write_bytes(encode(tone, 24_000, name))
    assert path.stat().st_size == 2 * rate * bits // 8
    wav = tmp_path / "heard.wav"
    subprocess.run(
        ["sox", "-t", "raw", "-e", encoding, "-b", str(bits), "-r", str(rate), "-c", "1", "-L", path,
         "-e", "signed-integer", "-b", "16", wav],
        check=True,
    )  # fmt: skip
    heard, heard_rate = sf.read(wav)
    assert heard_rate == rate and len(heard) == 2 * rate
    expected = sine(2.0, rate, frequency=440, level=0.5)
    assert np.sqrt(np.mean((heard - expected)[200:-200] ** 2)) < 0.01


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_sounds_as_it_was(voice, name):
    entry = FORMATS[name]
    audio = voice(1.5, 16_000)
    data = io.BytesIO(encode(audio, 16_000, name))
    if entry.container == "RAW":
        heard, rate = sf.read(data, samplerate=entry.rate, channels=1, format="RAW", subtype=entry.subtype)
    else:
        heard, rate = sf.read(data)
    expected = audio if rate == 16_000 else None
    assert len(heard) / rate == pytest.approx(1.5, abs=0.09)
    level = np.sqrt(np.mean(heard**2)) / np.sqrt(np.mean(audio**2))
    assert 0.7 < level < 1.1
    if expected is not None:
        assert np.corrcoef(heard[: len(audio)], audio[: len(heard)])[0, 1] > 0.9


@pytest.mark.parametrize("name", ["ogg", "opus", "mp3", "flac"])
def test_minutes_are_written_in_blocks(noise, name):
    """A minute of Vorbis in one call would end the process."""
    rate = 48_000 if name == "ogg" else 16_000
    data = encode(noise(61.0, rate, level=0.1), rate, name)
    assert sf.info(io.BytesIO(data)).duration == pytest.approx(61.0, abs=0.1)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000])
def test_any_rate_finds_one_that_the_codec_carries(sine, name, rate):
    entry = FORMATS[name]
    out = rate_of(entry, rate)
    assert out == entry.rate if entry.rate else out >= rate
    assert len(encode(sine(0.5, rate), rate, name)) > 100


def test_clips_are_written_as_one_stream_without_seams(sine):
    tone = sine(2.0, 24_000, frequency=440)
    whole, parts = io.BytesIO(), io.BytesIO()
    encode_to(whole, [tone], 24_000, "sln16")
    frames = encode_to(parts, [tone[:100], tone[100:7777], tone[:0], tone[7777:]], 24_000, "sln16")
    one, other = (np.frombuffer(file.getvalue(), dtype="<i2").astype(int) for file in (whole, parts))
    assert frames == 32_000 and len(one) == len(other) == 32_000
    assert np.abs(one - other).max() <= 3  # each its own dither


@pytest.mark.parametrize("name", HEADERLESS)
def test_headerless_formats_stream_to_what_cannot_seek(voice, name):
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.chunks: list[bytes] = []

        def write(self, data) -> int:
            self.chunks.append(bytes(data))
            return len(data)

        def seekable(self) -> bool:
            return False

        def seek(self, *_):
            raise io.UnsupportedOperation

        tell = seek

    pipe = Pipe()
    audio = voice(2.0)
    encode_to(pipe, [audio], 24_000, name)
    assert len(pipe.chunks) > 1
    assert b"".join(pipe.chunks) == encode(audio, 24_000, name)


@pytest.mark.parametrize("name", ["wav", "flac", "mp3", "ulaw", "sln16"])
def test_the_same_audio_gives_the_same_bytes(voice, name):
    one, two = (hashlib.sha256(encode(voice(1.0), 24_000, name)).digest() for _ in range(2))
    assert one == two


def test_loud_audio_is_clipped_and_not_wrapped(sine):
    for name in ("wav", "sln", "ulaw"):
        data = encode(sine(0.5, 8_000, frequency=200, level=2.0), 8_000, name)
        entry = FORMATS[name]
        raw = {"samplerate": 8_000, "channels": 1, "format": "RAW", "subtype": entry.subtype}
        heard, _ = sf.read(io.BytesIO(data), **(raw if entry.container == "RAW" else {}))
        assert np.abs(np.diff(heard)).max() < 0.6


def test_digital_silence_stays_so(silence):
    assert set(encode(silence(1.0), 24_000, "sln")) == {0}
    assert set(encode(silence(1.0), 24_000, "ulaw")) == {0xFF}  # G.711: minus nothing, inverted
    assert set(encode(silence(1.0), 24_000, "alaw")) == {0xD5}


def test_nothing_at_all_is_encoded_as_nothing():
    for name, form in FORMATS.items():
        data = encode(np.zeros(0, dtype=np.float32), 24_000, name)
        if form.container == "WAV":
            assert len(sf.read(io.BytesIO(data))[0]) == 0
        elif form.container != "OGG":  # which has headers and a page of nothing
            assert data == b""


def test_a_name_that_no_format_has():
    with pytest.raises(UnknownFormat, match="flac"):
        format_named("wma")
    with pytest.raises(UnknownFormat):
        encode(np.zeros(10, dtype=np.float32), 8_000, "../etc")


@pytest.mark.needs("sox")
def test_the_telephone_preview_is_the_mulaw_round_trip(tmp_path, sine):
    low, mid, high = (sine(1.0, 24_000, frequency=frequency, level=0.25) for frequency in (80, 1000, 6000))
    heard, rate = sf.read(io.BytesIO(telephone_preview(low + mid + high, 24_000)))
    assert rate == 8_000 and len(heard) == 8_000
    assert heard[500:-500].std() == pytest.approx(0.25 / np.sqrt(2), rel=0.05)  # only the middle tone is left
    # sox expands the same bytes to the same wave.
    (tmp_path / "a.ulaw").write_bytes(encode(mid, 24_000, "ulaw"))
    subprocess.run(
        [
            "sox",
            "-t",
            "ul",
            "-r",
            "8000",
            tmp_path / "a.ulaw",
            "-e",
            "signed",
            "-b",
            "16",
            tmp_path / "a.wav",
        ],
        check=True,
    )
    expanded, _ = sf.read(tmp_path / "a.wav")
    levels = np.unique(np.round(expanded * 32768).astype(int))
    assert len(levels) <= 256
    assert np.abs(heard[500:-500] - expanded[500:-500]).max() < 0.05
