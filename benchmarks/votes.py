"""PCK against the weight of the votes, and of nearest neighbours on the same features.

python benchmarks/votes.py runs/objects --split test --votes 0 2 4
python benchmarks/votes.py FOLDER --split val --pairs 200 --backbone mobilenetv2_100 --backbone-weights FILE
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rich.progress import track

from semcorr.data.formats.keypoints import load_pairs
from semcorr.data.pairs import spread
from semcorr.metrics.pck import ALPHAS, pck_distances, score
from semcorr.models.torch_loading import load


def main() -> None:
    """Match with every weight, print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--model", default="pmnc-universal")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--votes", type=float, nargs="+", default=[0.0, 2.0, 4.0])
    parser.add_argument("--backbone")
    parser.add_argument("--backbone-weights")
    arguments = parser.parse_args()
    features = {"backbone": arguments.backbone, "backbone_weights": arguments.backbone_weights}
    model = load(arguments.model, weights=arguments.weights, **features)
    nearest = load("nearest", **features)
    pairs = spread(list(load_pairs(arguments.folder, arguments.split)), arguments.pairs)
    errors: dict[str | float, list[np.ndarray]] = {name: [] for name in ("nearest", *arguments.votes)}
    for pair in track(pairs, "matching"):
        source, target = (model.encode(photo.path) for photo in (pair.source, pair.target))
        for name, listed in errors.items():
            if isinstance(name, float):
                model.method.votes = name
                match = model.match(source, target)
            else:
                match = nearest.match(pair.source.path, pair.target.path)
            listed.append(pck_distances(match.transfer(pair.points_inside()).points, pair))
    print(f"{len(pairs)} pairs of {arguments.split}, PCK per image, mean over categories of it")
    for name, listed in errors.items():
        scores = score(listed, [pair.target.category for pair in pairs])
        figures = (
            " / ".join(f"{values[alpha]:.1f}" for alpha in ALPHAS) for values in (scores.per_image, scores.per_category)
        )
        label = f"votes {name:g}" if isinstance(name, float) else name
        print(f"| {label} | " + " | ".join(figures) + " |", flush=True)


if __name__ == "__main__":
    main()
