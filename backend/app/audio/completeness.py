"""Whether an audio file is what its header says and goes on to its end, from the bytes alone.

Decoders are lenient: they play what is there. A recording cut short by a broken upload must not become a
sample without its last words, so the containers' own marks are read here: the RIFF data length (Microsoft
RIFF specification), the end-of-stream flag of the last Ogg page (RFC 3533), and the chain of MPEG frame
headers with LAME's Xing or Info frame (ISO/IEC 11172-3). FLAC's length is compared after decoding.

Standard library only: it runs in the decoding child before any decoder is loaded.
"""

from __future__ import annotations

from typing import BinaryIO, NamedTuple

Refusal = tuple[str, str]  # a code of `app.audio.decode.ERRORS`, and a detail

_STREAMED = {0, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFF000, 0xFFFFF000}  # what writers to a pipe leave as a length
_OGG_TAIL = 66_000  # a page has at most 65,307 bytes
_MAX_CHUNKS = 1000


def check_complete(file: BinaryIO, size: int) -> str | Refusal:
    """The kind of file ("WAV", "FLAC", "OGG", "MP3"), or why it is refused. `file` is at its start."""
    head = file.read(12)
    if head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE":
        return _check_wav(file, size, long=head[:4] == b"RF64")
    if head[:4] == b"fLaC":
        return "FLAC"
    if head[:4] == b"OggS":
        return _check_ogg(file, size)
    if head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0):
        return _check_mp3(file, size)
    return "not_audio", "it does not begin like any audio file that is taken"


def _check_wav(file: BinaryIO, size: int, *, long: bool) -> str | Refusal:
    position, long_data = 12, 0
    for _ in range(_MAX_CHUNKS):
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return (
                ("truncated", "no audio in it") if size < 64 or position > size else ("not_audio", "no data")
            )
        name, length = header[:4], int.from_bytes(header[4:], "little")
        if name == b"ds64":
            long_data = int.from_bytes(file.read(16)[8:], "little")
        if name == b"data":
            if long and length == 0xFFFFFFFF:
                length = long_data
            there = size - position - 8
            if length not in _STREAMED and length > there:
                return "truncated", f"{there} of {length} bytes of audio"
            return "WAV"
        position += 8 + length + length % 2
    return "not_audio", "no data among its first chunks"


def _check_ogg(file: BinaryIO, size: int) -> str | Refusal:
    """The last page must be whole and carry the end-of-stream flag."""
    start = max(0, size - _OGG_TAIL)
    file.seek(start)
    tail = file.read()
    at = len(tail)
    while (at := tail.rfind(b"OggS", 0, at)) >= 0:
        page = tail[at:]
        if len(page) < 27 or len(page) < 27 + page[26]:
            continue  # its header is cut, or these letters are only data
        length = 27 + page[26] + sum(page[27 : 27 + page[26]])
        if page[4] != 0:
            continue
        if len(page) < length:
            return "truncated", "its last page is cut"
        if not page[5] & 4:
            return "truncated", "its end is missing"
        return "OGG"
    return "truncated", "its last page is cut"


class _Frame(NamedTuple):
    length: int
    side: int  # bytes between the header and a Xing frame's mark


_BITRATES = {  # kbit/s by (MPEG 1?, layer), ISO/IEC 11172-3 and 13818-3
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


def _frame(header: bytes) -> _Frame | None:
    """What a four-byte MPEG audio header says; None where it is none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bitrate_index, rate_index, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or bitrate_index in (0, 15) or rate_index == 3:
        return None
    first = version == 3
    bitrate, rate = _BITRATES[first, layer][bitrate_index] * 1000, _RATES[version][rate_index]
    if layer == 1:
        length = (12 * bitrate // rate + padding) * 4
    else:
        length = (144 if first or layer == 2 else 72) * bitrate // rate + padding
    mono = header[3] >> 6 == 3
    side = (17 if mono else 32) if first else (9 if mono else 17)
    return _Frame(length, side)


def _check_mp3(file: BinaryIO, size: int) -> str | Refusal:
    """The frames must follow each other to the end, the last one whole, as many bytes as Xing says."""
    file.seek(0)
    data = file.read()
    position = 0
    if data[:3] == b"ID3":
        # A tag's length has seven bits a byte (ID3v2.4, 6.2); zeros may follow it.
        position = 10 + sum(
            (byte & 0x7F) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=False)
        )
        if position >= size:
            return "truncated", "nothing after its tag"
        while position < size and data[position] == 0:
            position += 1
        if data[position : position + 4] == b"fLaC":
            return "FLAC"
    end = size - 128 if data[-128:-125] == b"TAG" else size

    first = _frame(data[position : position + 4])
    if first is None:
        return "not_audio", "no MPEG frame where the first should be"
    mark = position + 4 + first.side
    if data[mark : mark + 4] in (b"Xing", b"Info") and data[mark + 7] & 2:
        at = mark + 8 + (4 if data[mark + 7] & 1 else 0)
        told = int.from_bytes(data[at : at + 4], "big")
        if told > end - position:
            return "truncated", f"{end - position} of {told} bytes of audio"

    frames = 0
    while position < end:
        frame = _frame(data[position : position + 4])
        if frame is None:
            # Tags of other programs may follow the audio; anything else is no MP3 from its first frames on.
            return "MP3" if frames >= 3 else ("not_audio", "no chain of MPEG frames")
        frames += 1
        position += frame.length
    return "MP3" if position == end else ("truncated", "its last frame is cut")
