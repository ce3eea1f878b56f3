"""Validation of a model while it learns: PCK of the proxy model itself, without the search."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from semcorr.data.pairs import Pair
from semcorr.decode import soft_argmax
from semcorr.geometry import cells_to_pixels, pixels_to_cells
from semcorr.metrics import ALPHAS, pck_distances
from semcorr.training.proxy import ProxyModel
from semcorr.training.sampling import FeatureBank, View


@torch.no_grad()
def validate(proxy: ProxyModel, bank: FeatureBank, pairs: Sequence[Pair]) -> list[float]:
    """Measure PCK at `ALPHAS` in percent, the threshold of the picture's longer side, averaged per image.

    Keypoints are scored where they are, not rounded to a cell, against every target cell.
    """
    correct = torch.zeros(len(ALPHAS))
    for pair in pairs:
        views = [View(photo.path, photo.size) for photo in (pair.source, pair.target)]
        source, target = (bank.features(view) for view in views)
        known = pixels_to_cells(pair.points()[0], pair.source.size, (source.shape[1], source.shape[2]))
        scores = proxy.scoring.score_points(proxy.maps(source, target), known.to(source.device), proxy.dilation)
        cells, _ = soft_argmax(scores)
        grid = target.shape[1], target.shape[2]
        errors = pck_distances(cells_to_pixels(cells, pair.target.size, grid).cpu(), pair)
        correct += torch.tensor([(errors <= alpha).float().mean().item() for alpha in ALPHAS])
    return (100 * correct / len(pairs)).tolist()
