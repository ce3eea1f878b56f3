"""The NumPy search called with torch tensors, as the reference for the other searches."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction
from semcorr.matchers.pmnc.search import SearchOptions, score_pairs, search
from semcorr.matchers.pmnc.windows import windows_of


def search_plainly(
    maps: Tensor,
    function: ScoringFunction,
    options: SearchOptions | None = None,
    dilation: int = 1,
    initial: Tensor | None = None,
    votes: Tensor | None = None,
) -> Tensor:
    """Return the table ``(B, hs, ws, ht, wt)`` of maps ``(B, 2, hs, ws, ht, wt)``."""
    rows = range(len(maps))
    begins, added = ([None] * len(maps) if each is None else each.numpy() for each in (initial, votes))
    parameters, options = function.arrays(), options or SearchOptions()
    found = [search(maps[row].numpy(), parameters, options, dilation, begins[row], added[row]) for row in rows]
    return torch.stack([torch.from_numpy(one.table()) for one in found])


def score_everything(maps: Tensor, function: ScoringFunction, dilation: int = 1) -> Tensor:
    """Return the table of scores of all pairs, each window read separately."""
    parameters, tables = function.arrays(), []
    for one in maps.numpy():
        windows = windows_of(one, function.radius, dilation)
        scores = score_pairs(windows, np.arange(one[0].size), parameters)
        tables.append(torch.from_numpy(scores).view(one.shape[1:]))
    return torch.stack(tables)
