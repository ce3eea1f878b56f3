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


def test_pmnc_beats_nearest_neighbours_on_the_same_features(shared_keypoints):
    from semcorr.data.keypoints import load_pairs

    pairs = [pair for pair in load_pairs(shared_keypoints, "val") if pair.source.category != "person"][::25]
    models = {name: semcorr.load(name) for name in ("nearest", "pmnc")}
    metrics = {name: PCK() for name in models}
    for pair in pairs:
        source, target = models["pmnc"].encode_many([pair.source.path, pair.target.path])
        for name, model in models.items():
            moved, _ = model.match(source, target).transfer(pair.points()[0].numpy())
            metrics[name].update(torch.from_numpy(moved), pair)
    found = {name: metric.scores().per_image for name, metric in metrics.items()}
    assert found["pmnc"][0.1] > found["nearest"][0.1] + 3
    assert found["pmnc"][0.05] > found["nearest"][0.05]
