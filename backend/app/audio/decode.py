"""Uploads, which are hostile, become a checked mono WAV, or a typed error that says what to do.

The work is done in a child process with limits on memory, time and output: a decoder that crashes, asks
for 256 GiB or never ends takes nothing with it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

BACKEND = Path(__file__).resolve().parents[2]
# How the names of files end that hold what `decode_child` takes.
SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus")
CHILD = [sys.executable, "-s", "-m", "app.audio.decode_child"]


class DecodeError(Exception):
    """An upload that cannot be used. `code` is stable; `fix` is what its sender can do."""

    code = "not_audio"
    fix = "Send a recording as WAV, FLAC, MP3, Ogg Vorbis or Ogg Opus."


class NotAudio(DecodeError):
    """Some other kind of file, or a kind of audio that is not taken."""


class Truncated(DecodeError):
    """Less audio than the file says, or an end that is missing."""

    code = "truncated"
    fix = "The file stops before its end. Export or copy it again, and send the whole of it."


class Damaged(DecodeError):
    """Broken inside: a decoder error on the way, or values that are not numbers."""

    code = "damaged"
    fix = "The file is broken inside. Export it again from the program that recorded it."


class Silent(DecodeError):
    code = "silent"
    fix = "There is no sound in it. Check the microphone and the exported track, and record again."


class TooShort(DecodeError):
    code = "too_short"
    fix = "A recording lasts at least half a second; a sentence of 3 to 15 seconds is best."


class TooLong(DecodeError):
    code = "too_long"
    fix = "A recording lasts at most two hours: cut it into parts, best into sentences."


class TooLarge(DecodeError):
    code = "too_large"
    fix = "Send FLAC in place of WAV, or cut it into parts."


class TooManyChannels(DecodeError):
    code = "too_many_channels"
    fix = "Send mono or stereo: export the voice's own track."


class BadSampleRate(DecodeError):
    code = "bad_sample_rate"
    fix = "Export at 44.1 or 48 kHz; 8 to 192 kHz are taken."


class ExpandsTooFar(DecodeError):
    code = "expands_too_far"
    fix = "The file unpacks to far more than a recording of its size. Send it as WAV or FLAC."


class DecodeTimeout(DecodeError):
    code = "decode_timeout"
    fix = "Reading it took too long. Send it as WAV or FLAC, or cut it into parts."


class DecodeCrashed(DecodeError):
    code = "decode_crashed"
    fix = "The decoder broke off on this file. Export it again, best as WAV or FLAC."


class NoSpace(OSError):
    """The checked WAV did not fit on the disk: the operator's trouble, not the upload's."""


ERRORS: dict[str, type[DecodeError]] = {
    kind.code: kind
    for kind in (
        NotAudio, Truncated, Damaged, Silent, TooShort, TooLong, TooLarge, TooManyChannels, BadSampleRate,
        ExpandsTooFar, DecodeTimeout, DecodeCrashed,
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What an upload may ask for. Sizes in bytes, times in seconds."""

    max_bytes: int = 200 * 2**20
    max_seconds: float = 7200.0
    min_seconds: float = 0.5
    max_channels: int = 2
    min_rate: int = 8_000
    max_rate: int = 192_000
    # Opus at 6 kbit/s, the least that speech is sent with, unpacks 128-fold; short files are spared.
    max_expansion: float = 200.0
    expansion_from: int = 32 * 2**20
    # Two hours at 48 kHz and 16 bit are 691 MB.
    max_output: int = 700_000_000
    # Sounds below this peak are no sound: -60 dB.
    silence: float = 1e-3
    memory: int = 768 * 2**20
    cpu_seconds: int = 90
    wall_seconds: float = 120.0


@dataclass(frozen=True, slots=True)
class DecodedInfo:
    """What an upload was: `frames` at `sample_rate` Hz, `channels` before they were mixed to one."""

    format: str
    subtype: str
    sample_rate: int
    channels: int
    frames: int
    seconds: float


LIMITS = DecodeLimits()


def check_upload(source: Path, target_wav: Path, *, limits: DecodeLimits = LIMITS) -> DecodedInfo:
    """Decode `source` into `target_wav`, mono PCM_16 at its own rate; blocks for some 0.3 s or more.

    16 bit, because every engine and browser reads it, and a room's noise lies far above its steps; the
    upload itself is kept beside it. Raises a DecodeError, or NoSpace; then there is no target.
    """
    source, target_wav = source.resolve(), target_wav.resolve()
    size = source.stat().st_size
    if size > limits.max_bytes:
        raise TooLarge(f"{size} bytes, of at most {limits.max_bytes}")
    if size == 0:
        raise NotAudio("an empty file")
    try:
        answer = _run_child(source, target_wav, limits)
        if "error" in answer:
            if answer["error"] == "no_space":
                raise NoSpace(answer["errno"], os.strerror(answer["errno"]), str(target_wav))
            raise ERRORS.get(answer["error"], DecodeCrashed)(answer["detail"])
        return DecodedInfo(**answer["info"])
    except BaseException:
        with suppress(FileNotFoundError):
            target_wav.unlink()
        raise


def _run_child(source: Path, target: Path, limits: DecodeLimits) -> dict[str, Any]:
    request = {"source": str(source), "target": str(target), "limits": asdict(limits)}
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": os.pathsep.join(str(place) for place in (BACKEND, *sys.path[1:]) if str(place)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "1",  # else its threads' stacks alone pass the memory limit
    }
    try:
        child = subprocess.run(
            CHILD,
            input=json.dumps(request).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
            timeout=limits.wall_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DecodeTimeout(f"over {limits.wall_seconds:g} s") from error
    if child.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        raise DecodeTimeout(f"over {limits.cpu_seconds} s of work")
    try:
        if child.returncode:
            raise ValueError
        answer: dict[str, Any] = json.loads(child.stdout)
    except ValueError as error:
        raise DecodeCrashed(f"the decoder ended with {child.returncode}") from error
    return answer
