from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from app.speech.xtts.spectrum import resample

RATES = st.integers(8_000, 192_000)  # what an upload may have


def tone(rate: int, seconds: float) -> torch.Tensor:
    return torch.sin(
        2 * math.pi * 440.0 * torch.arange(int(seconds * rate), dtype=torch.float64) / rate
    ).float()


@settings(deadline=None, max_examples=20)
@given(rate=RATES, wanted=st.sampled_from([16_000, 22_050, 24_000]))
def test_a_tone_stays_itself_at_any_rate(rate: int, wanted: int) -> None:
    audio = tone(rate, 0.2)
    resampled = resample(audio, rate, wanted)
    assert len(resampled) == math.ceil(len(audio) * wanted / rate)
    inside = slice(wanted // 50, len(resampled) - wanted // 50)
    torch.testing.assert_close(resampled[inside], tone(wanted, 1.0)[inside], atol=0.01, rtol=0)


@pytest.mark.parametrize("rate", [44_056, 191_999, 8_001])
def test_odd_rates_need_little_memory(rate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have thousands of filters, which all at once were gigabytes."""
    sizes = []
    convolve = F.conv1d

    def counting(x: torch.Tensor, kernel: torch.Tensor, stride: int) -> torch.Tensor:
        sizes.append(kernel.numel())
        return convolve(x, kernel, stride=stride)

    monkeypatch.setattr(F, "conv1d", counting)
    resample(tone(rate, 0.1), rate, 22_050)
    assert max(sizes) < 4e6


@pytest.mark.parametrize("count", [0, 1, 100])
def test_short_ones(count: int) -> None:
    audio = torch.ones(count)
    assert len(resample(audio, 24_000, 16_000)) == math.ceil(count * 2 / 3)
    assert len(resample(audio, 44_056, 16_000)) == math.ceil(count * 16_000 / 44_056)
    assert resample(audio, 16_000, 16_000) is audio
