from __future__ import annotations

import io
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from app.audio.formats import encode
from app.audio.loudness import loudness_lufs, true_peak_db
from app.audio.shape import sound_span
from app.exports.options import resolve
from app.exports.presets import PRESETS, Rendition, Sound
from app.exports.render import level, render
from app.exports.schemas import Options
from tests.service import buzz

RATE = 24_000
SOUND = Sound(lufs=-20.0, true_peak=-3.0, lead=0.2, tail=0.3)


def take(seconds: float = 2.0, level: float = 0.3) -> io.BytesIO:
    silence = np.zeros(RATE // 2, dtype=np.float32)
    return io.BytesIO(
        encode(np.concatenate([silence, buzz(seconds, RATE, pitch=180, level=level), silence]), RATE, "wav")
    )


def heard(data: bytes, rendition: Rendition) -> np.ndarray:
    raw = {"samplerate": rendition.rate, "channels": 1, "format": "RAW", "subtype": rendition.format.subtype}
    audio, rate = sf.read(
        io.BytesIO(data), dtype="float32", **(raw if rendition.format.container == "RAW" else {})
    )
    assert rate == rendition.rate and audio.ndim == 1
    return audio


@pytest.mark.parametrize("preset", ["asterisk", "freeswitch", "genesys-cloud", "avaya"])
def test_every_rendition_has_its_rate_level_and_silence(preset: str) -> None:
    renditions = PRESETS[preset].renditions
    for rendition, (data, seconds) in zip(renditions, render(take(), renditions, SOUND, 0.0), strict=True):
        audio = heard(data, rendition)
        assert len(audio) == round(seconds * rendition.rate)
        assert loudness_lufs(audio, rendition.rate) == pytest.approx(-20.0, abs=0.5)
        assert true_peak_db(audio) <= -2.7  # G.711's steps are that coarse up there
        begin, end = sound_span(audio, rendition.rate)
        assert begin / rendition.rate == pytest.approx(0.2, abs=0.06)
        assert seconds - end / rendition.rate == pytest.approx(0.3, abs=0.06)


def test_what_is_narrow_has_only_the_telephone_band() -> None:
    at = np.arange(RATE * 2) / RATE
    tones = sum(0.1 * np.sin(2 * np.pi * hertz * at) for hertz in (80, 1000, 3900)).astype(np.float32)
    narrow, wide = (
        Rendition("x", "", replace(PRESETS["asterisk"].renditions[4].format, rate=rate), narrow=is_narrow)
        for rate, is_narrow in ((8000, True), (16_000, False))
    )
    (first, _), (second, _) = render(io.BytesIO(encode(tones, RATE, "wav")), (narrow, wide), SOUND, 0.0)

    def share(audio: np.ndarray, rate: int, hertz: float) -> float:
        spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
        place = round(hertz * len(audio) / rate)
        return 20 * np.log10(spectrum[place - 5 : place + 6].max() / spectrum.max())

    assert share(heard(first, narrow), 8000, 80) < -30 and share(heard(first, narrow), 8000, 3900) < -20
    assert share(heard(second, wide), 16_000, 80) > -3 and share(heard(second, wide), 16_000, 3900) > -3


def test_a_pause_is_added_to_the_silence_at_the_end() -> None:
    rendition = PRESETS["asterisk"].renditions[2:3]
    (_, without), (_, with_pause) = (render(take(), rendition, SOUND, pause)[0] for pause in (0.0, 1.5))
    assert with_pause - without == pytest.approx(1.5, abs=1e-3)


def test_bits_that_are_lost_are_dithered_and_silence_is_not() -> None:
    (data, _) = render(take(), PRESETS["asterisk"].renditions[3:4], SOUND, 1.0)[0]
    audio = np.frombuffer(data, "<i2")
    assert not audio[-12_000:].any()  # digital silence has no hiss
    fade = np.abs(audio).astype(int)
    assert len(np.unique(fade[fade < 6])) == 6  # every small value occurs: no dead zone around nothing


def test_one_gain_is_enough_or_the_limiter_helps() -> None:
    quiet = buzz(2.0, RATE, level=0.05)
    assert loudness_lufs(level(quiet, RATE, SOUND), RATE) == pytest.approx(-20, abs=0.1)
    click = quiet.copy()
    click[RATE] = 0.6
    limited = level(click, RATE, SOUND)
    assert true_peak_db(limited) <= -2.99
    assert not level(np.zeros(RATE, np.float32), RATE, SOUND).any()
    assert len(level(np.zeros(0, np.float32), RATE, SOUND)) == 0


def test_the_same_take_gives_the_same_bytes() -> None:
    renditions = PRESETS["freeswitch"].renditions
    assert render(take(), renditions, SOUND, 0.0) == render(take(), renditions, SOUND, 0.0)


@pytest.mark.needs("sox", "ffprobe")
@pytest.mark.parametrize(
    ("preset", "format_name", "codec", "rate"),
    [
        ("asterisk", "wav", "pcm_s16le", 8000), ("freeswitch", "wav8000", "pcm_s16le", 8000),
        ("freeswitch", "wav16000", "pcm_s16le", 16_000), ("freeswitch", "wav32000", "pcm_s16le", 32_000),
        ("freeswitch", "wav48000", "pcm_s16le", 48_000), ("genesys-cloud", "ulaw", "pcm_mulaw", 8000),
        ("avaya", "ulaw", "pcm_mulaw", 8000), ("avaya", "alaw", "pcm_alaw", 8000),
    ],
)  # fmt: skip
def test_ffprobe_and_soxi_read_what_is_promised(
    tmp_path: Path, preset: str, format_name: str, codec: str, rate: int
) -> None:
    (rendition,) = [each for each in PRESETS[preset].renditions if each.name == format_name]
    (data, seconds) = render(take(0.8), (rendition,), SOUND, 0.0)[0]
    file = tmp_path / f"x.{rendition.format.extension}"
    file.write_bytes(data)
    probed = subprocess.run(
        ["ffprobe", "-v", "error", "-of", "csv=p=0", "-show_entries",
         "stream=codec_name,sample_rate,channels,bits_per_sample,duration", file],
        capture_output=True, text=True, check=True,
    ).stdout.strip().split(",")  # fmt: skip
    bits = 16 if codec == "pcm_s16le" else 8
    assert probed[:4] == [codec, str(rate), "1", str(bits)]
    assert float(probed[4]) == pytest.approx(seconds, abs=1e-5)
    told = [
        subprocess.run(["soxi", option, file], capture_output=True, text=True, check=True).stdout.strip()
        for option in ("-r", "-c", "-s")
    ]
    assert told == [str(rate), "1", str(round(seconds * rate))]


@pytest.mark.needs("sox")
@pytest.mark.parametrize(("name", "kind"), [("PCMU", "ul"), ("PCMA", "al")])
def test_sox_expands_headerless_files_to_what_the_wav_holds(tmp_path: Path, name: str, kind: str) -> None:
    wanted = {"wav8000", name}
    renditions = [each for each in PRESETS["freeswitch"].renditions if each.name in wanted]
    (wav, _), (headerless, seconds) = render(take(0.8), renditions, SOUND, 0.0)
    assert len(headerless) == round(seconds * 8000)
    (tmp_path / "x.raw").write_bytes(headerless)
    subprocess.run(
        ["sox", "-t", kind, "-r", "8000", "-c", "1", tmp_path / "x.raw", "-b", "16", tmp_path / "x.wav"],
        check=True,
    )
    expanded, _ = sf.read(tmp_path / "x.wav")
    exact = heard(wav, renditions[0])
    assert np.corrcoef(expanded, exact)[0, 1] > 0.999


@pytest.mark.needs("ffprobe")
@pytest.mark.parametrize(
    ("options", "codec", "rate"),
    [
        ({}, "pcm_s16le", 24_000), ({"codec": "pcm24", "rate": 44_100}, "pcm_s24le", 44_100),
        ({"codec": "alaw", "rate": 8000}, "pcm_alaw", 8000), ({"container": "flac", "rate": 16_000}, "flac", 16_000),
        ({"container": "mp3", "rate": 22_050}, "mp3", 22_050), ({"container": "ogg", "rate": 24_000}, "opus", 48_000),
        ({"container": "ogg", "codec": "vorbis", "rate": 32_000}, "vorbis", 32_000),
    ],
)  # fmt: skip
def test_custom_files_are_what_was_asked_for(tmp_path: Path, options: dict, codec: str, rate: int) -> None:
    (rendition,) = resolve("custom", Options(**options)).renditions
    (data, _) = render(take(0.8), (rendition,), SOUND, 0.0)[0]
    file = tmp_path / f"x.{rendition.format.extension}"
    file.write_bytes(data)
    probed = subprocess.run(
        ["ffprobe", "-v", "error", "-of", "csv=p=0", "-show_entries", "stream=codec_name,sample_rate,channels", file],
        capture_output=True, text=True, check=True,
    ).stdout.strip().split(",")  # fmt: skip
    assert probed == [codec, str(rate), "1"]
