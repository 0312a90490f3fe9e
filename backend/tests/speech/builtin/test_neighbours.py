from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from app.speech.builtin.neighbours import Neighbours


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 400), st.integers(0, 300), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_finds_what_sorting_finds(points: int, queries: int, count: int, seed: int):
    random = np.random.default_rng(seed)
    known = random.standard_normal((points, 3)).astype(np.float32)
    asked = random.standard_normal((queries, 3)).astype(np.float32)
    setback = random.standard_normal(points).astype(np.float32)
    found = Neighbours(known, setback).nearest(asked, count)
    distance = ((asked[:, None] - known[None]) ** 2).sum(axis=2) - setback
    expected = np.sort(distance, axis=1)[:, :count]
    assert found.shape == (queries, min(count, points))
    got = np.sort(np.take_along_axis(distance, found, axis=1), axis=1)
    np.testing.assert_allclose(got, expected, atol=1e-5)
