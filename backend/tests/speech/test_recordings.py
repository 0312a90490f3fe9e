from __future__ import annotations

import numpy as np
import pytest

from app.speech.interface import BadRecording, Recording
from app.speech.recordings import samples_of

RATE = 22050


def of_seconds(seconds: float, rate: int = RATE) -> Recording:
    return Recording(np.full(int(seconds * rate), 0.1, np.float32), rate)


def test_samples_are_copies_in_fp32() -> None:
    """Read-only, backwards, and of double precision: as they come from files and views."""
    usual = np.linspace(-0.5, 0.5, RATE, dtype=np.float32)
    fixed = usual.copy()
    fixed.flags.writeable = False
    for audio in (fixed, np.ascontiguousarray(usual[::-1])[::-1], usual.astype(np.float64)):
        (samples,) = samples_of([Recording(audio, RATE)])
        assert samples.dtype == np.float32
        assert samples.flags.writeable and samples.strides == (4,)
        assert np.array_equal(samples, usual)


@pytest.mark.parametrize("seconds", [[0.34], [0.12, 0.12, 0.12], [60.0]])
def test_lengths_that_serve(seconds: list[float]) -> None:
    assert len(samples_of([of_seconds(each) for each in seconds])) == len(seconds)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ([], "at least one"),
        ([of_seconds(0)], "tenth of a second"),
        ([of_seconds(5), of_seconds(0.09)], "tenth of a second"),
        ([of_seconds(0.2), of_seconds(0.12, 48000)], "0.33 s in all"),
        ([Recording(np.full(RATE, np.nan, np.float32), RATE)], "finite"),
        ([Recording(np.full(RATE, np.inf, np.float32), RATE), of_seconds(5)], "finite"),
        ([Recording(np.zeros((RATE, 2), np.float32), RATE)], "one channel"),
        ([Recording(np.zeros((2, RATE), np.float32), RATE)], "one channel"),
    ],
    ids=["none", "empty", "short", "short in all", "not a number", "infinite", "stereo", "stereo in rows"],
)  # fmt: skip
def test_refused(bad: list[Recording], why: str) -> None:
    with pytest.raises(BadRecording, match=why) as caught:
        samples_of(bad)
    assert caught.value.fix
