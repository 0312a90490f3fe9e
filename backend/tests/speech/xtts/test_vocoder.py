from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.speech.xtts.checkpoint import open_checkpoint
from app.speech.xtts.vocoder import CONTEXT, HOP, Frames, Vocoder
from app.speech.xtts.voicing import Track, Voicing

Reference = dict[str, NDArray[Any]]
SPEEDS = {"half": 0.5, "slow": 0.77, "usual": 1.0, "fast": 1.3, "double": 2.0}
STRIDE = 5  # of the samples that the reference keeps
CPU = torch.device("cpu")


def vocoder_of(folder: Path, precision: Any = "fp32") -> Vocoder:
    opened = open_checkpoint(folder)
    return Vocoder(opened.weights.under("hifigan_decoder.waveform_decoder"), precision, CPU)


@pytest.fixture(scope="module")
def vocoder(tiny_folder: Path) -> Vocoder:
    return vocoder_of(tiny_folder)


@pytest.fixture(scope="module")
def speaker(reference: Reference) -> torch.Tensor:
    return torch.from_numpy(reference["voice/one/speaker"])


CASES = [("short", "usual"), ("long", "usual"), ("longest", "usual"), *(("usual", speed) for speed in SPEEDS)]


@pytest.mark.parametrize(("text", "speed"), CASES)
def test_as_coqui_tts(
    text: str, speed: str, vocoder: Vocoder, speaker: torch.Tensor, reference: Reference
) -> None:
    states = torch.from_numpy(reference[f"text/{text}/states"])
    frames = Frames(SPEEDS[speed])
    wave = vocoder(frames(states, 0, frames.total(len(states)))[None], speaker[None])[0]
    expected = reference[f"text/{text}/wave/{speed}"]
    assert len(wave) == reference[f"text/{text}/samples/{speed}"]
    assert np.abs(wave[::STRIDE].numpy() - expected).max() < 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_smaller_precision(
    precision: str, tiny_folder: Path, speaker: torch.Tensor, reference: Reference
) -> None:
    states, frames = torch.from_numpy(reference["text/usual/states"]), Frames()
    wave = vocoder_of(tiny_folder, precision)(
        frames(states, 0, frames.total(len(states)))[None], speaker[None]
    )[0]
    expected = reference["text/usual/wave/usual"]
    error = wave[::STRIDE].numpy() - expected
    assert np.linalg.norm(error) < 0.02 * np.linalg.norm(expected)


def interpolated(states: torch.Tensor, speed: float) -> torch.Tensor:
    """Frames the slow, obvious way: PyTorch's own interpolation of the whole."""
    x = states.T[None]
    if speed != 1.0:
        x = F.interpolate(x, scale_factor=1.0 / speed, mode="linear")
    x = F.interpolate(x, scale_factor=4.0, mode="linear")
    return F.interpolate(x, scale_factor=24000 / 22050, mode="linear")[0].T


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(6, 140),
    speed=st.sampled_from([0.5, 0.77, 0.9, 1.0, 1.25, 1.6, 2.0]),
    places=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    known=st.floats(0, 1),
)
def test_any_part_of_the_grid(count: int, speed: float, places: tuple[float, float], known: float) -> None:
    # PyTorch copies where the length stays what it was; a stream cannot know that yet.
    assume(speed == 1.0 or int(count / speed) != count)
    states, frames = torch.randn(count, 3), Frames(speed)
    whole = interpolated(states, speed)
    assert frames.total(count) == len(whole)
    start, stop = sorted(int(place * len(whole)) for place in places)
    torch.testing.assert_close(frames(states, start, stop), whole[start:stop], atol=2e-4, rtol=1e-4)
    some = int(known * count)
    ready = frames.ready(some)
    assert ready <= len(whole)
    if ready:
        torch.testing.assert_close(frames(states[:some], 0, ready), whole[:ready], atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("length", [40, 100, 508])
@pytest.mark.parametrize("speed", [0.5, 1.0])
@pytest.mark.parametrize("alike", [False, True])
def test_windows_equal_the_whole(
    length: int, speed: float, alike: bool, vocoder: Vocoder, speaker: torch.Tensor, reference: Reference
) -> None:
    states, frames = torch.from_numpy(reference["text/usual/states"]), Frames(speed)
    whole = vocoder(frames(states, 0, frames.total(len(states)))[None], speaker[None])[0]
    windows = Track(speaker, speed).windows(states, True, length, alike)
    lengths = [window.frames.shape[0] for window in windows]
    assert max(lengths) <= length
    if alike and len(whole) >= length * HOP:
        assert lengths[-1] == length
    parts = Voicing(vocoder, CPU)(windows).audio()
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)


@settings(deadline=None, max_examples=8)
@given(cuts=st.lists(st.integers(1, 40), max_size=6), speed=st.sampled_from([0.5, 0.8, 1.0, 2.0]))
def test_streamed_equals_whole_and_nothing_twice(
    cuts: list[int], speed: float, vocoder: Vocoder, speaker: torch.Tensor, reference: Reference
) -> None:
    states, frames = torch.from_numpy(reference["text/usual/states"]), Frames(speed)
    total = frames.total(len(states))
    whole = vocoder(frames(states, 0, total)[None], speaker[None])[0]
    track, voicing, parts = Track(speaker, speed), Voicing(vocoder, CPU), []
    for cut in [*sorted(cuts), len(states)]:
        windows = track.windows(states[:cut], cut == len(states), 508)
        assert all(len(w.frames) <= w.take + 2 * CONTEXT or cut == len(states) for w in windows)
        parts += voicing(windows).audio()
        if cut == len(states):
            break
    assert sum(map(len, parts)) == total * HOP
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)


@given(codes=st.integers(1, 605), speed=st.sampled_from([0.5, 1.0, 2.0]))
def test_a_processor_computes_nothing_but_context_twice(codes: int, speed: float) -> None:
    track, states = Track(torch.zeros(1), speed), torch.zeros(codes, 1)
    windows = track.windows(states, True, 508)
    wanted = Frames(speed).total(codes)
    assert sum(window.take for window in windows) == wanted
    assert sum(window.frames.shape[0] for window in windows) <= wanted + 2 * CONTEXT * max(
        0, len(windows) - 1
    )
    assert len(windows) == -(-wanted // (508 - 2 * CONTEXT))


def test_windows_of_many_utterances_together(
    vocoder: Vocoder, speaker: torch.Tensor, reference: Reference
) -> None:
    """As a GPU takes them: several at once, of different voices and lengths."""
    states = [torch.from_numpy(reference[f"text/{text}/states"]) for text in ("short", "usual", "long")]
    speakers = [speaker, speaker.flip(0), -speaker]
    windows = [Track(s, 1.0).windows(x, True, 64, alike=True) for s, x in zip(speakers, states, strict=True)]
    voicing = Voicing(vocoder, CPU)
    voicing._batch = 3
    together = voicing([window for some in windows for window in some]).audio()
    alone = [part for some in windows for window in some for part in Voicing(vocoder, CPU)([window]).audio()]
    assert len(together) == len(alone)
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
