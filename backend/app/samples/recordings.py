"""A sample's checked audio, as engines and measurements take it."""

from __future__ import annotations

import numpy as np
import soundfile

from app.models import Sample
from app.speech.interface import Recording
from app.storage.interface import AudioStore


def read_recording(store: AudioStore, sample: Sample, most_seconds: float | None = None) -> Recording:
    """The recording, or its first `most_seconds`. Raises NotThere, soundfile.LibsndfileError."""
    with store.open("samples", sample.wav_key) as stream, soundfile.SoundFile(stream) as file:
        rate = file.samplerate
        # A header that promises more than there is does not decide how much memory is asked for: a checked WAV has
        # two bytes a frame. It is read straight to where it stays; two hours are 1.4 GB.
        frames = min(file.frames, sample.wav_bytes // 2)
        if most_seconds is not None:
            frames = min(frames, int(most_seconds * rate))
        audio = file.read(out=np.empty((frames, file.channels), dtype=np.float32))
    return Recording(audio[:, 0], rate, sample.text_content)
