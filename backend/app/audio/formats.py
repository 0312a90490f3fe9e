"""The formats in which audio is given out, as a table, and writing them in blocks.

G.711 is ITU-T's 8-bit companding for telephony; `.ulaw`, `.alaw`, `.sln` and `.sln16` are Asterisk's names
for headerless files. soundfile (libsndfile) writes them all.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray

from app.audio.ogg import with_serial
from app.audio.shape import dither, limit_band, resample

Audio = NDArray[np.float32]

# libsndfile's Vorbis encoder keeps a whole call's frames on the stack: a minute in one call ends the process.
BLOCK = 1 << 14


class UnknownFormat(ValueError):
    """No format has that name; the message lists those that are."""


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write audio. `rate` in Hz; None keeps the audio's own where the codec can carry it."""

    name: str
    media_type: str
    extension: str
    rate: int | None
    container: str  # libsndfile's, RAW for headerless
    subtype: str
    bits: int | None = None  # of linear PCM that is dithered
    rates: tuple[int, ...] = ()  # those a codec can carry; empty: any
    compression: float | None = None  # libsndfile's level, 0–1


_OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)

FORMATS: dict[str, Format] = {
    entry.name: entry
    for entry in (
        Format("wav", "audio/wav", "wav", None, "WAV", "PCM_16", bits=16),
        Format("flac", "audio/flac", "flac", None, "FLAC", "PCM_16", bits=16),
        Format("mp3", "audio/mpeg", "mp3", None, "MP3", "MPEG_LAYER_III", rates=_MP3_RATES, compression=0.2),
        Format("ogg", "audio/ogg", "ogg", None, "OGG", "VORBIS"),
        Format("opus", "audio/ogg; codecs=opus", "opus", None, "OGG", "OPUS", rates=_OPUS_RATES),
        Format("pcm", "audio/pcm", "pcm", 24_000, "RAW", "PCM_16", bits=16),
        Format("ulaw", "audio/basic", "ulaw", 8_000, "RAW", "ULAW"),
        Format("alaw", "audio/x-alaw-basic", "alaw", 8_000, "RAW", "ALAW"),
        Format("sln", "application/octet-stream", "sln", 8_000, "RAW", "PCM_16", bits=16),
        Format("sln16", "application/octet-stream", "sln16", 16_000, "RAW", "PCM_16", bits=16),
        Format("wav8", "audio/wav", "wav", 8_000, "WAV", "PCM_16", bits=16),
        Format("wav16", "audio/wav", "wav", 16_000, "WAV", "PCM_16", bits=16),
        Format("wav-ulaw", "audio/wav", "wav", 8_000, "WAV", "ULAW"),
        Format("wav-alaw", "audio/wav", "wav", 8_000, "WAV", "ALAW"),
    )
}


def format_named(name: str) -> Format:
    """The table's entry. Raises UnknownFormat."""
    try:
        return FORMATS[name]
    except KeyError:
        raise UnknownFormat(f"{name!r} is none of {', '.join(FORMATS)}") from None


def rate_of(format: Format, rate: int) -> int:
    """The rate at which audio of `rate` Hz is written: the format's, or the codec's next one above."""
    if format.rate is not None:
        return format.rate
    if not format.rates or rate in format.rates:
        return rate
    return next((each for each in format.rates if each >= rate), format.rates[-1])


def encode(audio: Audio, rate: int, format: str | Format, *, seed: int = 0) -> bytes:
    """The whole file as bytes; see `encode_to`. The same audio and seed give the same bytes."""
    entry = format_named(format) if isinstance(format, str) else format
    file = io.BytesIO()
    encode_to(file, [audio], rate, entry, seed=seed)
    return with_serial(file.getvalue()) if entry.container == "OGG" else file.getvalue()


def encode_to(
    file: BinaryIO, clips: Iterable[Audio], rate: int, format: str | Format, *, seed: int = 0
) -> int:
    """Write clips of `rate` Hz, one after the other, as one file; returns the frames written.

    `file` must be seekable for containers (WAV, FLAC, MP3, Ogg); headerless formats only need `write`.
    Where the rate differs, clips are resampled as one stream, without seams. 16-bit PCM is dithered (TPDF),
    the same for the same `seed`; G.711's steps are coarser than a dither that would help, so it has none.
    """
    entry = format_named(format) if isinstance(format, str) else format
    out_rate = rate_of(entry, rate)
    random = np.random.default_rng(seed)
    frames = 0
    headerless = entry.container == "RAW"
    target = _Sink(file) if headerless else file
    with sf.SoundFile(
        target,
        "w",
        samplerate=out_rate,
        channels=1,
        format=entry.container,
        subtype=entry.subtype,
        endian="LITTLE" if headerless else "FILE",
        compression_level=entry.compression,
    ) as sound:
        for clip in _at_rate(clips, rate, out_rate):
            audio = np.clip(clip, -1.0, 1.0)
            if entry.bits is not None:
                audio = dither(audio, entry.bits, random)
            for start in range(0, len(audio), BLOCK):
                sound.write(audio[start : start + BLOCK])
            frames += len(audio)
    return frames


def telephone_preview(audio: Audio, rate: int) -> bytes:
    """How a caller hears it: through 300–3400 Hz and 8 kHz µ-law and back, as a WAV of 8 kHz PCM_16."""
    narrow = limit_band(resample(audio, rate, 8_000), 8_000)
    coded = encode(narrow, 8_000, "ulaw")
    heard, _ = sf.read(
        io.BytesIO(coded), samplerate=8_000, channels=1, format="RAW", subtype="ULAW", dtype="float32"
    )
    return encode(heard, 8_000, "wav8")


def _at_rate(clips: Iterable[Audio], rate: int, out_rate: int) -> Iterator[Audio]:
    if rate == out_rate:
        yield from (np.asarray(clip, dtype=np.float32) for clip in clips)
        return
    stream = soxr.ResampleStream(rate, out_rate, 1, dtype="float32", quality="HQ")
    for clip in clips:
        yield stream.resample_chunk(np.asarray(clip, dtype=np.float32))
    yield stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True)


class _Sink(io.RawIOBase):
    """Lets libsndfile write a headerless file to something that cannot seek: it only asks where it is."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._written = file, 0

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._file.write(data)
        self._written += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._written

    def tell(self) -> int:
        return self._written
