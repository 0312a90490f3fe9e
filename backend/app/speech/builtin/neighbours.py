"""Exact nearest neighbours among some ten thousand points, without sorting them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.speech.builtin.analysis import Floats

_GROUP = 32  # points; by the least of each group the groups are chosen that are looked into
_BLOCK = 256  # queries at a time: their distances stay in the cache


class Neighbours:
    """Points, (n, depth), to be found by their squared Euclidean distance less `setback`, (n,)."""

    def __init__(self, points: Floats, setback: Floats | float = 0.0) -> None:
        self.count = len(points)
        groups = -(-len(points) // _GROUP)
        self._points = np.zeros((groups * _GROUP, points.shape[1]), np.float32)
        self._points[: len(points)] = points
        self._square = np.full(groups * _GROUP, np.inf, np.float32)
        self._square[: len(points)] = (points**2).sum(axis=1) - setback

    def nearest(self, queries: Floats, count: int) -> NDArray[np.intp]:
        """Indices of the `count` nearest points of each query, (queries, count), in no order.

        The `count` groups with the nearest best point hold the `count` nearest points between them: were
        one of these in another group, each of the chosen groups would hold a nearer one.
        """
        blocks = [queries[at : at + _BLOCK] for at in range(0, len(queries), _BLOCK)]
        found = [self._block(block, min(count, self.count)) for block in blocks]
        return np.concatenate(found) if found else np.zeros((0, min(count, self.count)), np.intp)

    def _block(self, queries: Floats, count: int) -> NDArray[np.intp]:
        distance = self._square - (2 * queries) @ self._points.T
        grouped = distance.reshape(len(queries), -1, _GROUP)
        groups = _least(grouped.min(axis=2), count)
        inside = np.take_along_axis(grouped, groups[:, :, None], axis=1).reshape(len(queries), -1)
        best = _least(inside, count)
        return np.take_along_axis(groups, best // _GROUP, axis=1) * _GROUP + best % _GROUP


def _least(values: Floats, count: int) -> NDArray[np.intp]:
    """Column indices of the `count` least values of each row."""
    if values.shape[1] <= count:
        return np.broadcast_to(np.arange(values.shape[1]), values.shape)
    return np.argpartition(values, count - 1, axis=1)[:, :count]
