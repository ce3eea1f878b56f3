"""The correlations of two pictures, laid out for the native core."""

from __future__ import annotations

import numpy as np

from semcorr.matchers.correlation import EPS
from semcorr.native import functions
from semcorr.native.arrays import SLACK, Floats
from semcorr.native.structures import Maps
from semcorr.threads import in_parallel

_STRIPE = 32  # target cells that are multiplied at once; a part is a whole multiple
_PARTS = 4  # for each thread, so that all end at about the same time


def correlate(source: Floats, target: Floats, radius: int, dilation: int, threads: int) -> Maps:
    """Correlate the features ``(C, hs, ws)`` and ``(C, ht, wt)`` of two pictures.

    Args:
        source: L2-normalised, float32, contiguous.
        target: Likewise.
        radius: Of the scoring window, in cells.
        dilation: Spacing of its cells.
        threads: How many may compute.
    """
    (channels, hs, ws), (_, ht, wt) = source.shape, target.shape
    reach, sources, targets = radius * dilation, hs * ws, ht * wt
    rows, runs = ht + 2 * reach, -(-(wt + 2 * reach) // dilation)
    places = np.arange(rows * dilation * runs).reshape(rows, dilation, runs).swapaxes(1, 2).reshape(rows, -1)
    begins, centres = (places[start : start + ht, start : start + wt].ravel() for start in (0, reach))
    memory = np.zeros(sources * places.size + SLACK, np.float32)
    packed = functions.pack(source.reshape(channels, sources))
    flat, of_target = target.reshape(channels, targets), np.zeros(targets, np.float32)
    cuts = np.arange(0, targets, _STRIPE * max(1, -(-targets // (_STRIPE * (_PARTS * threads if threads > 1 else 1)))))
    of_source = np.zeros((len(cuts), sources), np.float32)

    def multiply(index: int) -> None:
        part = int(cuts[index]), int(cuts[index + 1]) if index + 1 < len(cuts) else targets
        map_of = memory[:-SLACK].reshape(sources, -1)
        functions.correlate(packed, flat, part, centres, map_of, (of_source[index], of_target))

    in_parallel(multiply, range(len(cuts)), threads)
    weights = np.zeros(places.size + SLACK, np.float32)
    weights[centres] = filter_weight(of_target)
    of_all = filter_weight(of_source.max(axis=0))
    return Maps(memory, of_all, weights, begins, centres, dilation * dilation * runs, dilation, (hs, ws, ht, wt))


def filter_weight(highest: Floats) -> Floats:
    """Return 1 / (largest positive correlation + eps) of cells, from their largest correlation."""
    weight: Floats = (1 / (np.maximum(highest, 0) + np.float32(EPS))).astype(np.float32)
    return weight
