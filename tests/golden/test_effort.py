"""The search stays a search: it scores few pairs, and finds what scoring all of them finds."""

import pytest
import torch

from semcorr.matchers.pmnc.search import SearchOptions
from semcorr.models.torch_loading import load

TOLERANCE = 1e-3


@pytest.mark.slow
@torch.inference_mode()
def test_few_pairs_are_scored_and_nearly_every_cell_reaches_the_optimum(cat, cheetah_path):
    model = load("pmnc")
    source, target = (model.encode(image).features for image in (cat, cheetah_path))
    table = model.method(source, target).table()
    model.method.options = SearchOptions(candidates=10**9, iterations=0)
    oracle = model.method(source, target).table()
    assert oracle.isfinite().all()
    reached = [
        (best - found <= TOLERANCE).float()
        for best, found in (
            (oracle.flatten(3).amax(3), table.flatten(3).amax(3)),
            (oracle.flatten(1, 2).amax(1), table.flatten(1, 2).amax(1)),
        )
    ]
    share = torch.cat([cells.flatten() for cells in reached]).mean().item()
    assert table.isfinite().float().mean().item() <= 0.06
    assert share >= 0.98
