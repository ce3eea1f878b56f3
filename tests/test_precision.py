"""The shipped weights on real photographs: what they are worth, and that the search finds what they want found."""

import torch

import semcorr
from semcorr.correlation import correlation_channels, cosine_correlation
from semcorr.metrics import PCK
from semcorr.patchmatch import exhaustive_search, search


def test_search_reaches_the_exhaustive_optimum(cat, cheetah_path, lion_path):
    model = semcorr.load("pmnc")
    pictures = [model.encode(picture).features for picture in (cat, cheetah_path, lion_path)]
    reached = []
    for source, target in ((0, 1), (1, 2), (2, 0)):
        maps = correlation_channels(cosine_correlation(pictures[source].tensor, pictures[target].tensor))
        table, oracle = (
            search(maps, model.score.scoring, model.score.options),
            exhaustive_search(maps, model.score.scoring),
        )
        for best, found in (
            (oracle.flatten(3).amax(3), table.flatten(3).amax(3)),
            (oracle.flatten(1, 2).amax(1), table.flatten(1, 2).amax(1)),
        ):
            reached.append((best - found <= 1e-3).float().mean())
    assert torch.stack(reached).mean() >= 0.97


def test_consensus_beats_nearest_neighbours_and_training_with_the_features_beats_both(shared_keypoints):
    from semcorr.data.keypoints import load_pairs

    pairs = [pair for pair in load_pairs(shared_keypoints, "val") if pair.source.category != "person"][::25]
    found = {}
    for name in ("nearest", "pmnc-universal", "pmnc"):
        model, metric = semcorr.load(name), PCK()
        for pair in pairs:
            moved, _ = model.match(pair.source.path, pair.target.path).transfer(pair.points()[0].numpy())
            metric.update(torch.from_numpy(moved), pair)
        found[name] = metric.scores().per_image
    assert found["pmnc-universal"][0.1] > found["nearest"][0.1] + 3
    assert found["pmnc"][0.1] > found["pmnc-universal"][0.1] + 10
    assert found["pmnc"][0.03] > found["pmnc-universal"][0.03] + 5
