from __future__ import annotations

import errno
import io
import json
import struct
import subprocess
import sys
import wave
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from app.audio import decode, decode_child
from app.audio.completeness import check_complete
from app.audio.decode import LIMITS, DecodedInfo, DecodeError, check_upload

KINDS = {
    "wav16": ("WAV", "PCM_16"),
    "wav24": ("WAV", "PCM_24"),
    "wav-float": ("WAV", "FLOAT"),
    "wav-ulaw": ("WAV", "ULAW"),
    "wavex": ("WAVEX", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
}


def encoded(audio, rate: int = 24_000, kind: str = "wav16") -> bytes:
    file = io.BytesIO()
    container, subtype = KINDS[kind]
    with sf.SoundFile(
        file, "w", rate, 1 if audio.ndim == 1 else audio.shape[1], subtype, format=container
    ) as sound:
        for start in range(0, len(audio), 1 << 14):
            sound.write(audio[start : start + (1 << 14)])
    return file.getvalue()


def _answer_here(source: Path, target: Path, limits: decode.DecodeLimits) -> dict:
    try:
        return {"info": decode_child.decode(source, target, asdict(limits))}
    except decode_child.Refused as refusal:
        return {"error": refusal.code, "detail": str(refusal)}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decodes in this process: for the many cases that need no process of their own."""
    monkeypatch.setattr(decode, "_run_child", _answer_here)


def checked(upload: Path) -> tuple[DecodedInfo, np.ndarray]:
    """What an upload was, and its audio, (samples,)."""
    target = upload.with_name("checked.wav")
    info = check_upload(upload, target)
    return info, sf.read(target, dtype="float32")[0]


def refused(folder: Path, data: bytes, **limits) -> DecodeError:
    """What an upload of these bytes is refused with; and nothing may be left behind."""
    source, target = folder / "upload.wav", folder / "checked.wav"
    source.write_bytes(data)
    with pytest.raises(DecodeError) as caught:
        check_upload(source, target, limits=replace(LIMITS, **limits))
    assert sorted(path.name for path in folder.iterdir()) == ["upload.wav"]
    assert caught.value.fix
    return caught.value


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_becomes_a_mono_wav(tmp_path, voice, kind):
    audio = voice(1.5)
    source, target = tmp_path / "upload", tmp_path / "checked.wav"
    source.write_bytes(encoded(audio, kind=kind))
    info = check_upload(source, target)
    assert (info.format, info.subtype) == KINDS[kind]
    assert (info.sample_rate, info.channels, info.seconds) == (24_000, 1, pytest.approx(1.5, abs=0.06))
    with wave.open(str(target)) as wav:
        assert (wav.getnchannels(), wav.getsampwidth(), wav.getframerate()) == (1, 2, 24_000)
        assert wav.getnframes() == info.frames
    checked, _ = sf.read(target, dtype="float32")
    count = min(len(checked), len(audio))
    likeness = np.corrcoef(checked[:count], audio[:count])[0, 1]
    assert likeness > (0.9 if kind in ("mp3", "vorbis", "opus") else 0.999)


@pytest.mark.usefixtures("here")
def test_lossless_audio_is_kept_to_the_bit(tmp_path, voice):
    audio = np.round(voice(1.0) * 32767) / 32768
    (tmp_path / "a").write_bytes(encoded(audio, kind="flac"))
    decoded, kept = checked(tmp_path / "a")
    np.testing.assert_array_equal(kept, audio.astype(np.float32))
    assert (decoded.sample_rate, decoded.channels, decoded.seconds) == (24_000, 1, 1.0)


@pytest.mark.usefixtures("here")
def test_two_channels_are_mixed_down(tmp_path, sine):
    both = np.stack([sine(1, frequency=300), sine(1, frequency=500)], axis=1)
    (tmp_path / "a").write_bytes(encoded(both))
    decoded, mixed = checked(tmp_path / "a")
    assert decoded.channels == 2
    np.testing.assert_allclose(mixed, both.mean(axis=1), atol=1e-4)


@pytest.mark.usefixtures("here")
def test_a_name_decides_nothing(tmp_path, voice):
    for name in ("a.raw", "a.vox", "a.txt", "-a", "a b;$(touch x).wav", "목소리.mp3"):
        (tmp_path / name).write_bytes(encoded(voice(0.6)))
        assert check_upload(tmp_path / name, tmp_path / "checked.wav").format == "WAV"


@pytest.mark.usefixtures("here")
def test_a_stream_whose_writer_could_not_go_back_is_whole(tmp_path, voice):
    for length in (0xFFFFFFFF, 0x7FFFFFFF):
        data = bytearray(encoded(voice(1.0)))
        data[40:44] = data[4:8] = struct.pack("<I", length)
        (tmp_path / "a").write_bytes(data)
        assert check_upload(tmp_path / "a", tmp_path / "checked.wav").seconds == pytest.approx(1.0)


def png() -> bytes:
    return b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("a.wav", b"RIFF" * 1000)
    return file.getvalue()


def aiff() -> bytes:
    file = io.BytesIO()
    sf.write(file, np.ones(24_000) * 0.1, 24_000, format="AIFF")
    return file.getvalue()


NOT_AUDIO = {
    "nothing": b"",
    "one byte": b"R",
    "zeros": bytes(100_000),
    "text": "안녕하세요, 고객님. ".encode() * 500,
    "png": png(),
    "zip": archive(),
    "another container": aiff(),
    "an MP3's first letters": b"\xff\xfb" + np.random.default_rng(0).bytes(50_000),
    "a tag, then text": b"ID3\x04\0\0\0\0\0\x0a" + b"x" * 5000,
    "RIFF of another kind": b"RIFF\x10\x27\0\0AVI " + bytes(10_000),
    "WAV without data": b"RIFF\x10\x27\0\0WAVEjunk\x04\x27\0\0" + bytes(9_988) + b"fmt ",
    "FLAC in name only": b"fLaC" + bytes(10_000),
    "WAV of an unknown codec": b"RIFF\x10\x27\0\0WAVEfmt \x10\0\0\0"
    + struct.pack("<HHIIHH", 0x7777, 1, 24000, 24000, 1, 8) + b"data\x10\x27\0\0" + bytes(10_000),
}  # fmt: skip


@pytest.mark.parametrize("data", NOT_AUDIO.values(), ids=NOT_AUDIO)
@pytest.mark.usefixtures("here")
def test_what_is_no_audio_is_refused(tmp_path, data):
    assert refused(tmp_path, data).code in ("not_audio", "truncated" if data[:4] == b"fLaC" else "not_audio")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.3, 0.9, "last byte"])
@pytest.mark.usefixtures("here")
def test_a_file_cut_short_is_truncated(tmp_path, voice, kind, share):
    data = encoded(voice(3.0), kind=kind)
    end = len(data) - 1 if share == "last byte" else int(len(data) * share)
    assert refused(tmp_path, data[:end]).code == "truncated"


def ogg_pages(data: bytes) -> list[bytes]:
    starts = [at for at in range(len(data)) if data.startswith(b"OggS", at)]
    return [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]


@pytest.mark.parametrize("kind", ["vorbis", "opus"])
@pytest.mark.usefixtures("here")
def test_ogg_cut_between_two_pages_is_truncated(tmp_path, voice, kind):
    pages = ogg_pages(encoded(voice(8.0), kind=kind))
    assert len(pages) > 3
    assert refused(tmp_path, b"".join(pages[:-1])).code == "truncated"


@pytest.mark.usefixtures("here")
def test_mp3_cut_between_two_frames_is_truncated_where_its_first_frame_tells(tmp_path, voice):
    """LAME's own frame, here written by ffmpeg, holds the length of the whole."""
    (tmp_path / "a.wav").write_bytes(encoded(voice(3.0)))
    written = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", tmp_path / "a.wav", "-b:a", "64k", "-f", "mp3", tmp_path / "a.mp3"],
        check=True,
    )
    assert written.returncode == 0
    data = (tmp_path / "a.mp3").read_bytes()
    for name in ("a.wav", "a.mp3"):
        (tmp_path / name).unlink()
    frame = 72 * 64_000 // 24_000
    assert data.count(b"Info") == 1
    cut = data[: len(data) - 20 * frame]
    assert check_complete(io.BytesIO(cut), len(cut))[0] == "truncated"
    assert refused(tmp_path, cut).code == "truncated"
    (tmp_path / "upload.wav").write_bytes(data)
    assert check_upload(tmp_path / "upload.wav", tmp_path / "out.wav").seconds == pytest.approx(3.0, abs=0.06)


@pytest.mark.usefixtures("here")
def test_mp3_with_tags_at_both_ends_is_whole(tmp_path, voice):
    mp3 = encoded(voice(1.0), kind="mp3")
    tag = b"ID3\x04\0\0" + bytes([0, 0, 3, 104]) + b"TIT2" + bytes(484)
    for data in (
        tag + mp3,
        mp3 + b"TAG" + bytes(125),
        tag + mp3 + b"TAG" + bytes(125),
        mp3 + b"APETAGEX" + bytes(24),
    ):
        (tmp_path / "a").write_bytes(data)
        assert check_upload(tmp_path / "a", tmp_path / "out.wav").seconds == pytest.approx(1.0, abs=0.1)


def forge_flac_length(data: bytes, frames: int) -> bytes:
    """STREAMINFO's last 36 bits before its MD5 are the number of samples (RFC 9639, 8.2)."""
    bits = int.from_bytes(data[18:26], "big")
    return data[:18] + (bits >> 36 << 36 | frames).to_bytes(8, "big") + data[26:]


def test_a_flac_with_a_forged_length(tmp_path, voice):
    data = encoded(voice(3.0), kind="flac")
    assert refused(tmp_path, forge_flac_length(data, (1 << 36) - 1)).code == "too_long"  # read whole: 256 GiB
    assert refused(tmp_path, forge_flac_length(data, 24_000 * 60)).code == "truncated"
    (tmp_path / "upload.wav").write_bytes(forge_flac_length(data, 0))  # zero: not told
    assert check_upload(tmp_path / "upload.wav", tmp_path / "out.wav").seconds == 3.0


@pytest.mark.usefixtures("here")
def test_a_flac_broken_in_its_middle_is_damaged(tmp_path, noise):
    data = bytearray(encoded(noise(20.0, level=0.2), kind="flac"))
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    assert refused(tmp_path, bytes(data)).code in ("damaged", "truncated")


@pytest.mark.parametrize("kind", ["flac", "vorbis"])
def test_silence_that_unpacks_far_is_stopped_on_its_way(tmp_path, silence, kind):
    data = encoded(silence(360, 48_000), 48_000, kind)
    assert len(data) < 200_000
    assert refused(tmp_path, data).code == "expands_too_far"


@pytest.mark.usefixtures("here")
def test_what_unpacks_past_the_greatest_output_is_stopped(tmp_path, voice):
    assert refused(tmp_path, encoded(voice(2.0)), max_output=40_000).code == "expands_too_far"


def wav_header(channels: int, rate: int, frames: int = 48_000) -> bytes:
    data = frames * channels * 2
    return (
        b"RIFF" + struct.pack("<I", 36 + data) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, channels, rate,
        (rate * channels * 2) & 0xFFFFFFFF, channels * 2, 16) + b"data" + struct.pack("<I", data)
    )  # fmt: skip


@pytest.mark.parametrize("channels", [3, 6, 1024])
@pytest.mark.usefixtures("here")
def test_too_many_channels(tmp_path, channels):
    data = wav_header(channels, 24_000, 1000) + bytes(1000 * channels * 2)
    assert refused(tmp_path, data).code == "too_many_channels"


@pytest.mark.parametrize("rate", [1, 4_000, 384_000, 2**31 - 1])
@pytest.mark.usefixtures("here")
def test_a_sample_rate_nobody_records_at(tmp_path, rate):
    assert refused(tmp_path, wav_header(1, rate, 1000) + bytes(2000)).code == "bad_sample_rate"


@pytest.mark.usefixtures("here")
def test_too_short_and_just_long_enough(tmp_path, voice):
    assert refused(tmp_path, encoded(voice(0.49))).code == "too_short"
    assert refused(tmp_path, encoded(voice(0.0)[:0])).code == "too_short"
    (tmp_path / "upload.wav").write_bytes(encoded(voice(0.5)))
    assert check_upload(tmp_path / "upload.wav", tmp_path / "out.wav").seconds == 0.5


def test_too_long(tmp_path, voice):
    header = wav_header(1, 8_000, 7201 * 8_000)
    with (tmp_path / "upload.wav").open("wb") as file:
        file.write(header)
        file.truncate(len(header) + 7201 * 16_000)
    with pytest.raises(decode.TooLong):
        check_upload(tmp_path / "upload.wav", tmp_path / "out.wav")
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.usefixtures("here")
def test_too_long_without_saying_so(tmp_path, voice):
    data = forge_flac_length(encoded(voice(4.0), kind="flac"), 0)
    assert refused(tmp_path, data, max_seconds=3.0).code == "too_long"


def test_too_large_is_seen_before_it_is_read(tmp_path):
    with (tmp_path / "upload.wav").open("wb") as file:
        file.truncate(200 * 2**20 + 1)
    with pytest.raises(decode.TooLarge):
        check_upload(tmp_path / "upload.wav", tmp_path / "out.wav")


@pytest.mark.parametrize("offset", [0.0, 0.25])
@pytest.mark.usefixtures("here")
def test_no_sound(tmp_path, noise, offset):
    assert refused(tmp_path, encoded(noise(2.0, level=1e-4) + np.float32(offset))).code == "silent"


@pytest.mark.usefixtures("here")
def test_a_quiet_recording_is_not_silent(tmp_path, voice):
    (tmp_path / "a").write_bytes(encoded(voice(1.0, level=0.004)))
    assert check_upload(tmp_path / "a", tmp_path / "out.wav").seconds == 1.0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.usefixtures("here")
def test_values_that_are_not_numbers(tmp_path, voice, value):
    audio = voice(1.0)
    audio[1000] = value
    assert refused(tmp_path, encoded(audio, kind="wav-float")).code == "damaged"


@pytest.mark.usefixtures("here")
def test_float_audio_beyond_full_scale_is_clipped_and_not_wrapped(tmp_path, sine):
    (tmp_path / "a").write_bytes(encoded(sine(1.0, level=3.0), kind="wav-float"))
    _, audio = checked(tmp_path / "a")
    assert audio.max() == pytest.approx(1.0, abs=1e-4) and audio.min() == -1.0
    assert np.mean(np.abs(np.diff(audio)) > 1.5) == 0  # no jump from one end to the other


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("import os; os.abort()", "decode_crashed"),
        ("import sys; sys.exit(3)", "decode_crashed"),
        ("print('no JSON')", "decode_crashed"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "decode_timeout"),
        (
            "import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nwhile True: pass",
            "decode_timeout",
        ),
        ("import sys; sys.stdin.read(); import signal; signal.pause()", "decode_timeout"),
    ],
)
def test_a_child_that_goes_wrong(tmp_path, monkeypatch, program, code):
    monkeypatch.setattr(decode, "CHILD", [sys.executable, "-c", program])
    assert refused(tmp_path, b"RIFF", wall_seconds=2.0).code == code


def child(folder: Path, target: Path, data: bytes, **limits) -> dict:
    (folder / "upload").write_bytes(data)
    request = {"source": str(folder / "upload"), "target": str(target), "limits": asdict(LIMITS) | limits}
    ended = subprocess.run(decode.CHILD, input=json.dumps(request).encode(), capture_output=True, check=True,
                           env={"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(decode.BACKEND)})  # fmt: skip
    return json.loads(ended.stdout)


def test_a_full_disk_is_not_the_uploads_fault(tmp_path, voice):
    answer = child(tmp_path, Path("/dev/full"), encoded(voice(1.0)))
    assert (answer["error"], answer["errno"]) == ("no_space", errno.ENOSPC)


def test_no_space_reaches_the_caller_as_an_oserror(tmp_path, voice, monkeypatch):
    monkeypatch.setattr(
        decode, "_run_child", lambda *_: {"error": "no_space", "errno": errno.ENOSPC, "detail": ""}
    )
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(OSError) as caught:
        check_upload(tmp_path / "a", tmp_path / "out.wav")
    assert caught.value.errno == errno.ENOSPC


def test_the_limits_bind():
    program = """
import errno, tempfile
from app.audio.decode_child import limit
limit({"memory": 300 * 2**20, "cpu_seconds": 5, "max_output": 100_000})
try:
    bytearray(400 * 2**20)
except MemoryError:
    print("memory")
with tempfile.TemporaryFile(buffering=0) as file:
    try:
        while file.write(b"x" * 10_000): pass
    except OSError as error:
        print(errno.errorcode[error.errno], file.tell() <= 104_096)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=decode.BACKEND
    )
    assert ended.stdout.split() == ["memory", "EFBIG", "True"]


def test_memory_does_not_grow_with_the_audio(tmp_path, noise):
    """Ten minutes decode in the memory that a second needs; a whole-file read would take 110 MB more."""
    program = f"""
import resource, sys
from pathlib import Path
sys.path.insert(0, {str(decode.BACKEND)!r})
from app.audio.decode import check_upload
print(check_upload(Path(sys.argv[1]), Path(sys.argv[2])).seconds)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
    peaks = []
    for seconds in (1, 600):
        (tmp_path / "a").write_bytes(
            encoded(np.tile(noise(10, 24_000, level=0.1), 60)[: seconds * 24_000], kind="flac")
        )
        ended = subprocess.run([sys.executable, "-c", program, tmp_path / "a", tmp_path / "out.wav"],
                               capture_output=True, text=True, check=True)  # fmt: skip
        found, peak = ended.stdout.split()
        assert float(found) == seconds
        peaks.append(int(peak))
    assert peaks[1] - peaks[0] < 16_000  # KiB
    assert peaks[1] < 200_000
