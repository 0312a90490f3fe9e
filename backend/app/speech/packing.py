"""Voices and errors as messages of `pipe`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from app.speech.interface import SpeechError, VoiceState


def pack_voice(voice: VoiceState) -> tuple[dict[str, Any], list[bytes]]:
    """A voice as a header and its arrays' bytes."""
    arrays = {name: np.ascontiguousarray(array) for name, array in voice.arrays.items()}
    shapes = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    header = {"engine": voice.engine, "metadata": dict(voice.metadata), "arrays": shapes}
    return header, [array.tobytes() for array in arrays.values()]


def unpack_voice(header: dict[str, Any], blobs: Sequence[bytes]) -> VoiceState:
    """The inverse of `pack_voice`."""
    arrays = {
        name: np.frombuffer(blob, np.dtype(kind)).reshape(shape).copy()
        for (name, kind, shape), blob in zip(header["arrays"], blobs, strict=True)
    }
    return VoiceState(header["engine"], arrays, header["metadata"])


def voice_key(header: dict[str, Any], blobs: Sequence[bytes]) -> str:
    """What tells a packed voice from another: a hash of all of it."""
    digest = hashlib.blake2b(repr(header).encode(), digest_size=16)
    for blob in blobs:
        digest.update(blob)
    return digest.hexdigest()


def pack_error(error: SpeechError) -> dict[str, Any]:
    """An error as a header."""
    return {
        "error": type(error).__name__,
        "code": error.code,
        "message": str(error),
        "fix": error.fix,
        "retry": error.retry,
    }


def unpack_error(header: dict[str, Any]) -> SpeechError:
    """The inverse of `pack_error`; of a kind that this process does not know, what it says is kept."""
    error = _kinds(SpeechError).get(header["error"], SpeechError)(header["message"], header["fix"])
    error.code, error.retry = header["code"], header["retry"]
    return error


def _kinds(kind: type[SpeechError]) -> dict[str, type[SpeechError]]:
    found = {kind.__name__: kind}
    for each in kind.__subclasses__():
        found |= _kinds(each)
    return found
