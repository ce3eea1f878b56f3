"""The weights in the package on real photographs: PCK, and how often the search reaches the optimum."""

import pytest
import torch

import semcorr
from semcorr.matchers.dense.scores import ScoredPairs
from semcorr.metrics.pck import pck_distances, score
from semcorr.models.torch_loading import load


@pytest.mark.parametrize("name", ["pmnc", "pmnc-universal"])
def test_search_reaches_the_exhaustive_optimum(name, cat, cheetah_path, lion_path):
    model = load(name)
    pictures = [model.encode(picture).features for picture in (cat, cheetah_path, lion_path)]
    reached = []
    for source, target in ((0, 1), (1, 2), (2, 0)):
        model.method.exhaustive = False
        found = model.method(pictures[source], pictures[target])
        table = found.table() if isinstance(found, ScoredPairs) else found
        model.method.exhaustive = True
        oracle = model.method(pictures[source], pictures[target])
        for best, found in (
            (oracle.flatten(3).amax(3), table.flatten(3).amax(3)),
            (oracle.flatten(1, 2).amax(1), table.flatten(1, 2).amax(1)),
        ):
            reached.append((best - found <= 1e-3).float().mean())
    assert torch.stack(reached).mean() >= 0.97


def test_consensus_beats_nearest_neighbours_and_trained_features_beat_both(shared_keypoints):
    from semcorr.data.formats.keypoints import load_pairs

    pairs = [pair for pair in load_pairs(shared_keypoints, "val") if pair.source.category != "person"][::25]
    found = {}
    for name in ("nearest", "pmnc-universal", "pmnc"):
        model, errors = semcorr.load(name), []
        for pair in pairs:
            moved, _ = model.match(pair.source.path, pair.target.path).transfer(pair.points()[0])
            errors.append(pck_distances(moved, pair))
        found[name] = score(errors, [pair.target.category for pair in pairs]).per_image
    assert found["pmnc-universal"][0.1] > found["nearest"][0.1] + 3
    assert found["pmnc"][0.1] > found["pmnc-universal"][0.1] + 10
    assert found["pmnc"][0.03] > found["pmnc-universal"][0.03] + 5
