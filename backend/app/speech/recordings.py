"""What both engines of XTTS ask of recordings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.speech.interface import Audio, BadRecording, Recording

LEAST_SECONDS = 0.1  # from which it can be told who speaks
LEAST_SECONDS_IN_ALL = 0.33  # the model conditions on nothing shorter


def samples_of(recordings: Sequence[Recording]) -> list[Audio]:
    """Each one's samples, at its own rate.

    Raises BadRecording for none, for numbers that are no audio, and for under a third of a second.
    """
    if not recordings:
        raise BadRecording("A voice needs at least one recording.", fix="Add a sample of the actor.")
    # Copies: an array may be read-only or run backwards, which PyTorch does not take.
    audios = [np.array(recording.audio, np.float32) for recording in recordings]
    if any(audio.ndim != 1 or not np.isfinite(audio).all() for audio in audios):
        raise BadRecording("A recording is not one channel of finite samples.", fix="Record it again.")
    seconds = [
        len(audio) / recording.sample_rate for audio, recording in zip(audios, recordings, strict=True)
    ]
    if min(seconds) < LEAST_SECONDS:
        raise BadRecording("A recording is shorter than a tenth of a second.", fix="Leave it out.")
    if sum(seconds) < LEAST_SECONDS_IN_ALL:
        raise BadRecording(
            f"The recordings last less than {LEAST_SECONDS_IN_ALL} s in all.", fix="Add a longer sample."
        )
    return audios
