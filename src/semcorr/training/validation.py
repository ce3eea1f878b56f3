"""Validation of a scoring function while it learns: PCK of the proxy model itself, without the search."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from semcorr.consensus.scoring import ScoringFunction
from semcorr.correlation import correlation_channels, cosine_correlation
from semcorr.data.pairs import Pair
from semcorr.decode import soft_argmax
from semcorr.geometry import cells_to_pixels
from semcorr.metrics import ALPHAS, pck_distances
from semcorr.training.sampling import FeatureBank, View


@torch.no_grad()
def validate(scoring: ScoringFunction, bank: FeatureBank, pairs: Sequence[Pair]) -> list[float]:
    """Measure PCK at `ALPHAS` in percent, the threshold of the picture's longer side, averaged per image.

    Keypoints are scored where they are, not rounded to a cell, against every target cell.
    """
    correct = torch.zeros(len(ALPHAS))
    for pair in pairs:
        example = bank.example(View(pair.source, False), View(pair.target, False), list(pair.names))
        maps = correlation_channels(cosine_correlation(example.source[None], example.target[None]))[0]
        cells, _ = soft_argmax(scoring.score_points(maps, example.source_cells))
        grid = example.target.shape[1], example.target.shape[2]
        errors = pck_distances(cells_to_pixels(cells, pair.target.size, grid).cpu(), pair)
        correct += torch.tensor([(errors <= alpha).float().mean().item() for alpha in ALPHAS])
    return (100 * correct / len(pairs)).tolist()
