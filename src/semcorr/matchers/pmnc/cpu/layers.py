"""A scoring function's parameters, laid out for the native core."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from semcorr.matchers.pmnc.scoring import Scoring
from semcorr.matchers.pmnc.windows import what_is_read
from semcorr.native.arrays import LANES, Integers
from semcorr.native.structures import Layers


@lru_cache(maxsize=8)
def layers_of(scoring: Scoring) -> Layers:
    """Lay a scoring function's parameters out for the native core."""
    hidden, wide = scoring.hidden, -(-scoring.hidden // LANES) * LANES
    order, boxes = _order_of(scoring.radius, scoring.reach)
    window = np.zeros((len(order), 2, wide), np.float32)
    window[:, :, :hidden] = scoring.both_orders().reshape(2, hidden, -1)[:, :, order].transpose(2, 0, 1)
    bias, mix = np.zeros((2, wide), np.float32), np.zeros((wide, wide), np.float32)
    mix_bias, out = np.zeros(wide, np.float32), np.zeros(wide, np.float32)
    bias[:, :hidden], mix[:hidden, :hidden] = scoring.bias, scoring.mix.T
    mix_bias[:hidden], out[:hidden] = scoring.mix_bias, scoring.out
    rest = np.concatenate([2 * scoring.out_bias, scoring.centre]).astype(np.float32)
    return Layers(window.reshape(-1, 2 * wide), boxes, bias.reshape(-1), mix, mix_bias, out, rest, scoring.radius)


@lru_cache(maxsize=16)
def _order_of(radius: int, reach: int | None) -> tuple[NDArray[np.int64], Integers]:
    """Return the order of `Layers.window`, as indices into (channel, source offset, target offset), and its boxes."""
    is_read = what_is_read(radius, reach)
    cells, side = len(is_read), 2 * radius + 1
    places = np.arange(2 * cells * cells).reshape(2, cells, side, side)
    order, boxes = [], np.zeros((cells, 4), np.int64)
    for s, read in enumerate(is_read.reshape(cells, side, side)):
        rows, columns = np.flatnonzero(read.any(axis=1)), np.flatnonzero(read.any(axis=0))
        top, left, bottom, right = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
        boxes[s] = top, left, bottom - top, right - left
        order.append(places[:, s, top:bottom, left:right].transpose(1, 0, 2).ravel())
    return np.concatenate(order), boxes
