from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from app.audio.formats import encode
from app.audio.ogg import with_serial


def written(audio, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, audio, 24_000, format="OGG", subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_file_with_another_serial_is_the_same_audio(voice, subtype):
    data = written(voice(2.0), subtype)
    other = with_serial(data, 7)
    assert other != data
    assert len(other) == len(data)
    assert other[14:18] == (7).to_bytes(4, "little")
    heard, _ = soundfile.read(io.BytesIO(data))
    again, _ = soundfile.read(io.BytesIO(other))
    assert np.array_equal(heard, again)
    serial = int.from_bytes(data[14:18], "little")
    assert with_serial(other, serial) == data  # libsndfile's own checksums


@pytest.mark.parametrize("format", ["ogg", "opus"])
def test_the_same_audio_is_the_same_file(voice, format):
    audio = voice(1.0)
    assert encode(audio, 24_000, format) == encode(audio, 24_000, format)


def test_what_is_no_ogg_is_refused():
    with pytest.raises(ValueError, match="byte 0"):
        with_serial(b"RIFF" + bytes(40))
