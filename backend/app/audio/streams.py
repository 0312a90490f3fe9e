"""Encoding audio while it is being made: chunks of samples in, bytes that can be sent at once out.

`formats` writes whole files and goes back to their headers; what is streamed never can. PyAV (FFmpeg's
encoders) writes the compressed streams; it encodes our own audio and never sees an upload.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import soxr

from app.audio.formats import encode
from app.audio.shape import Audio, dither

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import OutputContainer

Codec = Literal["pcm", "wav", "ulaw", "alaw", "mp3", "aac", "flac", "opus"]
UNKNOWN_LENGTH = 0xFFFFFFFF  # in a WAV's header: as long as it goes on
_MEDIA_TYPES: dict[Codec, str] = {
    "pcm": "audio/pcm",
    "wav": "audio/wav",
    "ulaw": "audio/basic",
    "alaw": "audio/x-alaw-basic",
    "mp3": "audio/mpeg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "opus": "audio/ogg",
}
# FFmpeg's names: container, its options, encoder, sample format. Short Ogg pages, so that none holds audio
# back; no Xing frame, which would promise a length; no ID3 tag.
_FFMPEG: dict[str, tuple[str, dict[str, str], str, str]] = {
    "mp3": ("mp3", {"write_xing": "0", "id3v2_version": "0"}, "libmp3lame", "fltp"),
    "aac": ("adts", {}, "aac", "fltp"),
    "flac": ("flac", {"metadata_header_padding": "0"}, "flac", "s16"),
    "opus": ("ogg", {"page_duration": "100000"}, "libopus", "flt"),
}


@dataclass(frozen=True, slots=True)
class StreamFormat:
    """How a stream is written: mono, at `rate` Hz; `kbps` for the codecs that lose something."""

    codec: Codec
    rate: int
    kbps: int | None = None

    @property
    def media_type(self) -> str:
        return _MEDIA_TYPES[self.codec]


def get_ready(format: StreamFormat) -> None:
    """Load what the first stream would otherwise wait for."""
    if format.codec in _FFMPEG:
        import av  # noqa: F401


class _Writer(Protocol):
    def write(self, audio: Audio) -> bytes:
        """What can be sent once these samples are in."""

    def end(self) -> bytes:
        """What is left."""


class StreamEncoder:
    """One stream: `feed` chunks of (samples,) at `rate` Hz and send what comes back; `end` gives the rest.

    `tempo` makes it faster (2.0) or slower (0.5) without changing its pitch.
    """

    def __init__(self, format: StreamFormat, rate: int, *, tempo: float = 1.0, seed: int = 0) -> None:
        self._tempo = _Tempo(tempo, rate) if tempo != 1.0 else None
        self._resampler = (
            soxr.ResampleStream(rate, format.rate, 1, dtype="float32", quality="HQ")
            if rate != format.rate
            else None
        )
        self._writer: _Writer
        match format.codec:
            case "pcm" | "wav":
                self._writer = _Pcm(format.rate if format.codec == "wav" else None, seed)
            case "ulaw" | "alaw":
                self._writer = _G711(format.codec)
            case _:
                self._writer = _Ffmpeg(format)

    def feed(self, audio: Audio) -> bytes:
        if self._tempo:
            audio = self._tempo.feed(audio)
        return self._write(np.asarray(audio, np.float32), last=False)

    def end(self) -> bytes:
        rest = self._tempo.end() if self._tempo else np.zeros(0, np.float32)
        return self._write(rest, last=True) + self._writer.end()

    def _write(self, audio: Audio, *, last: bool) -> bytes:
        if self._resampler:
            audio = self._resampler.resample_chunk(audio, last=last)
        return self._writer.write(np.clip(audio, -1.0, 1.0)) if len(audio) else b""


class _Pcm:
    """Signed 16 bits, little-endian, dithered; with `wav_rate` under a WAV header without a length."""

    def __init__(self, wav_rate: int | None, seed: int) -> None:
        self._head = wav_header(wav_rate) if wav_rate else b""
        self._random = np.random.default_rng(seed)

    def write(self, audio: Audio) -> bytes:
        head, self._head = self._head, b""
        samples = np.rint(dither(audio, 16, self._random) * 32768).astype("<i2")
        return head + samples.tobytes()

    def end(self) -> bytes:
        head, self._head = self._head, b""
        return head


def wav_header(rate: int) -> bytes:
    """44 bytes: mono PCM of 16 bits at `rate` Hz, of a length that nobody knows yet."""
    fields = ((UNKNOWN_LENGTH, 4), (16, 4), (1, 2), (1, 2), (rate, 4), (rate * 2, 4), (2, 2), (16, 2))
    riff, size, *rest = [number.to_bytes(width, "little") for number, width in fields]
    return b"RIFF" + riff + b"WAVEfmt " + size + b"".join(rest) + b"data" + riff


class _G711:
    def __init__(self, codec: str) -> None:
        self._codec = codec

    def write(self, audio: Audio) -> bytes:
        return encode(audio, 8_000, self._codec)

    def end(self) -> bytes:
        return b""


class _Sink(io.RawIOBase):
    """Collects what FFmpeg writes. It cannot seek, so nothing is ever gone back to."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._bytes += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._bytes)
        self._bytes.clear()
        return taken


class _Ffmpeg:
    """A compressed stream."""

    def __init__(self, format: StreamFormat) -> None:
        import av  # most of a service's life goes by without

        container, options, encoder, self._samples = _FFMPEG[format.codec]
        self._sink, self._rate, self._at = _Sink(), format.rate, 0
        self._container: OutputContainer = av.open(
            self._sink, "w", format=container, options={"flush_packets": "1", **options}
        )
        self._stream: AudioStream = self._container.add_stream(encoder, rate=format.rate)  # type: ignore[assignment]
        self._stream.layout, self._stream.format = "mono", self._samples  # type: ignore[assignment]
        self._stream.thread_count = 1  # type: ignore[attr-defined]
        if format.kbps:
            self._stream.bit_rate = format.kbps * 1000

    def write(self, audio: Audio) -> bytes:
        import av

        if self._samples == "s16":
            audio = np.clip(np.rint(audio * 32768), -32768, 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(audio[None]), format=self._samples, layout="mono"
        )
        frame.sample_rate, frame.pts = self._rate, self._at
        self._at += len(audio)
        self._container.mux(self._stream.encode(frame))
        return self._sink.take()

    def end(self) -> bytes:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._sink.take()


class _Tempo:
    """FFmpeg's `atempo`: overlapping pieces moved to where they fit best (WSOLA), so pitch stays."""

    def __init__(self, tempo: float, rate: int) -> None:
        import av

        self._rate, self._at = rate, 0
        self._graph = av.filter.Graph()
        self._source = self._graph.add_abuffer(sample_rate=rate, format="flt", layout="mono")
        filters = [self._source, *(self._graph.add("atempo", str(factor)) for factor in _factors(tempo))]
        sink = self._graph.add("abuffersink")
        for one, next_one in zip(filters, [*filters[1:], sink], strict=True):
            one.link_to(next_one)
        self._graph.configure()

    def feed(self, audio: Audio) -> Audio:
        import av

        if not len(audio):
            return np.zeros(0, np.float32)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(audio[None], np.float32), format="flt", layout="mono"
        )
        frame.sample_rate, frame.pts = self._rate, self._at
        self._at += len(audio)
        self._graph.push(frame)
        return self._pulled()

    def end(self) -> Audio:
        self._graph.push(None)
        return self._pulled()

    def _pulled(self) -> Audio:
        import av

        parts: list[Audio] = [np.zeros(0, np.float32)]
        while True:
            try:
                parts.append(self._graph.pull().to_ndarray()[0])  # type: ignore[union-attr]
            except (av.BlockingIOError, av.EOFError):
                return np.concatenate(parts)


def _factors(tempo: float) -> list[float]:
    """A tempo as steps of at most a factor of two each, beyond which the filter leaves pieces out."""
    steps: list[float] = []
    while not 0.5 <= tempo <= 2.0:
        steps.append(2.0 if tempo > 1 else 0.5)
        tempo /= steps[-1]
    return [*steps, tempo]
