"""Sounds to measure and to write: made here, so that every figure is known."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from numpy.typing import NDArray

Audio = NDArray[np.float32]


def voice(
    seconds: float, rate: int = 24_000, *, pitch: float = 120.0, level: float = 0.3, seed: int = 1
) -> Audio:
    """Something like speech: four syllables a second of a glottal buzz with formants and breath."""
    return _voiced(seconds, rate, pitch, level, seed).copy()


@lru_cache(maxsize=64)
def _voiced(seconds: float, rate: int, pitch: float, level: float, seed: int) -> Audio:
    random = np.random.default_rng(seed)
    count = round(seconds * rate)
    time = np.arange(count) / rate
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * time))) / rate
    harmonics = np.arange(1, max(2, int(0.45 * rate / pitch / 1.1)))
    weights = 1 / (1 + (harmonics * pitch / 700) ** 2)
    buzz = np.zeros(count)
    for each, weight in zip(harmonics, weights, strict=True):
        buzz += weight * np.sin(each * phase)
    breath = random.normal(size=count) * 0.05
    syllables = np.clip(1.6 * np.sin(np.pi * 4 * time) ** 2 - 0.2, 0, 1)
    audio = (buzz / np.abs(buzz).max(initial=1e-9) + breath) * syllables
    return (level * audio / np.abs(audio).max(initial=1e-9)).astype(np.float32)


def sine(seconds: float, rate: int = 24_000, *, frequency: float = 1000.0, level: float = 0.5) -> Audio:
    return (level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(
        np.float32
    )


def noise(seconds: float, rate: int = 24_000, *, level: float = 0.01, seed: int = 2) -> Audio:
    return (level * np.random.default_rng(seed).normal(size=round(seconds * rate))).astype(np.float32)


def silence(seconds: float, rate: int = 24_000) -> Audio:
    return np.zeros(round(seconds * rate), dtype=np.float32)


@pytest.fixture(name="voice")
def _voice():
    return voice


@pytest.fixture(name="sine")
def _sine():
    return sine


@pytest.fixture(name="noise")
def _noise():
    return noise


@pytest.fixture(name="silence")
def _silence():
    return silence
