"""Tiles in whole numbers (tiles.h): Winograd's transforms, and filters as they are multiplied."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.speech.xtts.compiled.library import LANES, PANEL

WIDEST, _SOME = 1024, 128  # input channels, as in tiles.h: at most; added up in whole numbers
_SUM = 2.0**18  # of a point's whole numbers over these: times 14 bits it fits 32
# The points that Winograd's numbers are evaluated at (± each, and infinity), by the results of a tile of 3 taps.
# More results a tile are fewer products and more rounding. These points give the least, for white noise, among
# those that come in pairs: found by minimising the mean over the results i of
# sum_p from[i, p]² |to[p]|² |filter[p]|², where the bars are the lengths of the transforms' rows.
_POINTS = {4: (0.6514, 1.5351, 0.0), 6: (0.5055, 1.0, 1.9782, 0.0)}


class Transforms(NamedTuple):
    """back ((filters w) · (to x)) is the filter w over x."""

    to: NDArray[np.float64]  # (points, positions)
    filters: NDArray[np.float64]  # (points, taps)
    back: NDArray[np.float64]  # (results, points)


def width(channels: int) -> int:
    """Channels of activations: filled up with zeros."""
    return -(-channels // LANES) * LANES


def winograd(results: int) -> Transforms:
    """Of 3 taps, for 4 or 6 results a tile. Cook and Toom's way to multiply polynomials, transposed."""
    at = np.array([sign * number for number in _POINTS[results] for sign in (1, -1) if number or sign > 0])
    points = len(at) + 1

    def evaluated(count: int) -> NDArray[np.float64]:
        """A polynomial's values at the points, by its `count` coefficients; at infinity it is the last."""
        return np.vstack([at[:, None] ** np.arange(count), np.eye(count)[-1:]])

    to = np.linalg.inv(evaluated(points)).T
    length = np.linalg.norm(to, axis=1, keepdims=True)  # so that one scale suits all points
    return Transforms(to / length, evaluated(points + 1 - results) * length, evaluated(results).T)


def packed(filters: Tensor) -> tuple[Tensor, Tensor]:
    """Transformed filters (outputs, inputs, points), as whole numbers (panels, points, inputs / 2, 32, 2), and the
    scales of outputs and points (points, panels × 32)."""
    outputs, inputs, points = filters.shape
    panels = -(-outputs // PANEL)
    padded = torch.zeros(panels * PANEL, width(inputs), points)
    padded[:outputs, :inputs] = filters
    sums = [part.abs().sum(1) for part in padded.split(_SOME, dim=1)]
    scale = torch.stack(sums).amax(0) / (_SUM - _SOME)
    scale = scale.maximum(padded.abs().amax(1) / 32767.0).clamp(min=1e-20)
    whole = (padded / scale[:, None]).round().to(torch.int16)
    pairs = whole.view(panels, PANEL, width(inputs) // 2, 2, points)
    return pairs.permute(0, 4, 2, 1, 3).contiguous(), scale.T.contiguous()
