"""Voices and errors as messages of `pipe`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from app.speech import interface
from app.speech.builtin.espeak import EngineCrashed
from app.speech.interface import BadVoice, EngineUnavailable, SpeechError, VoiceState

_ERRORS: dict[str, type[SpeechError]] = {
    kind.__name__: kind for kind in (SpeechError, EngineUnavailable, BadVoice, EngineCrashed)
}


def pack_voice(voice: VoiceState) -> tuple[dict[str, Any], list[bytes]]:
    """A voice as a header and its arrays' bytes."""
    arrays = {name: np.ascontiguousarray(array) for name, array in voice.arrays.items()}
    shapes = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    header = {"engine": voice.engine, "metadata": dict(voice.metadata), "arrays": shapes}
    return header, [array.tobytes() for array in arrays.values()]


def unpack_voice(header: dict[str, Any], blobs: Sequence[bytes]) -> VoiceState:
    """The inverse of `pack_voice`; its arrays are read-only."""
    arrays = {
        name: np.frombuffer(blob, np.dtype(kind)).reshape(shape)
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
    kind = type(error).__name__
    return {"error": kind if kind in _ERRORS else "SpeechError", "message": str(error), "fix": error.fix}


def unpack_error(header: dict[str, Any]) -> interface.SpeechError:
    """The inverse of `pack_error`."""
    return _ERRORS.get(header["error"], SpeechError)(header["message"], header["fix"])
