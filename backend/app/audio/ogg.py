"""Ogg files that are the same each time: libsndfile gives every file's stream a random number."""

from __future__ import annotations

import struct
import zlib

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_HEADER = struct.Struct("<4sBBqIIIB")  # RFC 3533, section 6


def with_serial(data: bytes, serial: int = 1) -> bytes:
    """The file with this serial number on every page. It must hold one stream, as libsndfile writes it."""
    pages, start = [], 0
    while start < len(data):
        magic, version, flags, position, _, sequence, _, segments = _HEADER.unpack_from(data, start)
        if magic != b"OggS":
            raise ValueError(f"no Ogg page at byte {start}")
        table = start + _HEADER.size
        end = table + segments + sum(data[table : table + segments])
        head = (magic, version, flags, position, serial, sequence)
        page = _HEADER.pack(*head, 0, segments) + data[table:end]
        pages.append(_HEADER.pack(*head, _checksum(page), segments) + data[table:end])
        start = end
    return b"".join(pages)


def _checksum(page: bytes) -> int:
    """CRC-32 with the highest bit first, from 0 and not inverted: zlib's, read in a mirror."""
    mirrored = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
