"""The child process that decodes one upload: limits first, then the decoder, block by block.

Started by `app.audio.decode` alone: a JSON request on standard input, a JSON answer on standard output.
"""

from __future__ import annotations

import errno
import json
import resource
import sys
import wave
from pathlib import Path
from typing import Any

FORMATS = {"WAV", "WAVEX", "RF64", "FLAC", "MP3", "OGG"}
BLOCK = 1 << 16  # frames read at a time
UNKNOWN = 1 << 62  # libsndfile's answer for a length that the file does not tell


class Refused(Exception):
    """The upload cannot be used; `code` is one of `app.audio.decode.ERRORS`."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def limit(limits: dict[str, Any]) -> None:
    """Bind this process: memory, processor time, size of what it writes, no core dump, few files."""
    resource.setrlimit(resource.RLIMIT_AS, (limits["memory"],) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu_seconds"], limits["cpu_seconds"] + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits["max_output"] + 4096,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def decode(source: Path, target: Path, limits: dict[str, Any]) -> dict[str, Any]:
    """Write `target`, mono PCM_16; returns the fields of DecodedInfo. Raises Refused, OSError."""
    import numpy as np
    import soundfile as sf

    from app.audio.completeness import check_complete

    class Stream(sf.SoundFile):  # type: ignore[misc]
        """Only read onwards: else soundfile seeks after each block, which fails without a length."""

        def seekable(self) -> bool:
            return False

    size = source.stat().st_size
    with source.open("rb", buffering=0) as raw:
        kind = check_complete(raw, size)
        if isinstance(kind, tuple):
            raise Refused(*kind)
        raw.seek(0)
        try:
            # By descriptor: given a name, libsndfile would guess headerless formats from its ending.
            upload = Stream(raw.fileno(), closefd=False)
        except (sf.LibsndfileError, TypeError) as error:
            raise Refused("not_audio", "no decoder takes it") from error
        with upload:
            rate, channels, told = upload.samplerate, upload.channels, upload.frames
            info = {"format": upload.format, "subtype": upload.subtype, "sample_rate": rate}
            if upload.format not in FORMATS:
                raise Refused("not_audio", f"{upload.format} is not taken")
            if channels > limits["max_channels"]:
                raise Refused("too_many_channels", f"{channels} channels")
            if not limits["min_rate"] <= rate <= limits["max_rate"]:
                raise Refused("bad_sample_rate", f"{rate} Hz")
            if told < UNKNOWN and told > limits["max_seconds"] * rate:
                raise Refused("too_long", f"{told / rate:.0f} s")

            frames, low, high = 0, np.inf, -np.inf
            block = np.empty((BLOCK, channels), dtype=np.float32)
            with target.open("wb") as out, wave.open(out, "wb") as wav:
                wav.setparams((1, 2, rate, 0, "NONE", ""))
                while True:
                    try:
                        read = upload.read(out=block)
                    except sf.LibsndfileError as error:
                        at_end = raw.tell() == size
                        code = "truncated" if at_end else "damaged"
                        raise Refused(code, f"broken after {frames / rate:.1f} s") from error
                    if not len(read):
                        break
                    frames += len(read)
                    mono = read[:, 0] if channels == 1 else read.mean(axis=1)
                    if not np.isfinite(mono).all():
                        raise Refused("damaged", "values that are not numbers")
                    if frames > limits["max_seconds"] * rate:
                        raise Refused("too_long", f"over {limits['max_seconds']:g} s")
                    unpacked = frames * channels * 2
                    if unpacked > max(limits["expansion_from"], limits["max_expansion"] * size):
                        raise Refused("expands_too_far", f"{size} bytes unpack to over {unpacked}")
                    if frames * 2 > limits["max_output"]:
                        raise Refused("expands_too_far", f"over {limits['max_output']} bytes")
                    low, high = min(low, float(mono.min())), max(high, float(mono.max()))
                    pcm = np.rint(np.clip(mono, -1.0, 32767 / 32768) * 32768).astype("<i2")
                    wav.writeframesraw(pcm.tobytes())
    # Encoder delay (MP3) and streams recorded from their middle on (Ogg) are told differently; the bytes of
    # both were checked to their end before.
    slack = {"MP3": 2 * 1152, "OGG": rate}.get(info["format"], 0)
    if told < UNKNOWN and frames < told - slack:
        raise Refused("truncated", f"{frames / rate:.1f} s of {told / rate:.1f} s")
    if frames < limits["min_seconds"] * rate:
        raise Refused("too_short", f"{frames / rate:.2f} s")
    if (high - low) / 2 < limits["silence"]:  # half the range, so that a constant offset is no sound
        raise Refused("silent", "no sound")
    return {**info, "channels": channels, "frames": frames, "seconds": frames / rate}


def main() -> None:
    """One request, one answer."""
    request = json.load(sys.stdin)
    limit(request["limits"])
    answer: dict[str, Any]
    try:
        info = decode(Path(request["source"]), Path(request["target"]), request["limits"])
        answer = {"info": info}
    except Refused as refusal:
        answer = {"error": refusal.code, "detail": str(refusal)}
    except MemoryError:
        answer = {"error": "expands_too_far", "detail": "more memory than a recording needs"}
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        answer = {"error": "no_space", "errno": error.errno, "detail": ""}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
