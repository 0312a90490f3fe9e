"""A sample's checked audio, as engines and measurements take it."""

from __future__ import annotations

import numpy as np
import soundfile

from app.models import Sample
from app.speech.interface import Recording
from app.storage.interface import AudioStore

BLOCK_SECONDS = 10


def read_recording(store: AudioStore, sample: Sample, most_seconds: float | None = None) -> Recording:
    """The recording, or its first `most_seconds`. Raises NotThere, soundfile.LibsndfileError."""
    with store.open("samples", sample.wav_key) as stream, soundfile.SoundFile(stream) as file:
        rate = file.samplerate
        left = file.frames if most_seconds is None else min(file.frames, int(most_seconds * rate))
        blocks = []
        # In blocks: a header that promises more than there is must not decide how much memory is asked for.
        while left > 0 and len(block := file.read(min(left, BLOCK_SECONDS * rate), dtype="float32")):
            blocks.append(block)
            left -= len(block)
    audio = np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.float32)
    return Recording(audio, rate, sample.text_content)
