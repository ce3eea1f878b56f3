"""PCK of nearest neighbours and of PMNC on the same untouched features, by PatchMatch and by exhaustive search.

    python benchmarks/precision.py FOLDER --split test

The threshold is α times the longer side of the target picture in its native pixels; ``square`` squashes the target to a
unit square first, as is the custom on PF-PASCAL. Averages are per image and per point.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path

import torch
from rich.progress import track

import semcorr
from semcorr.data.formats.keypoints import load_pairs
from semcorr.models.matcher import Encoded, Matcher

ALPHAS = (0.1, 0.05, 0.03, 0.01)


def models() -> dict[str, Matcher]:
    found = {name: semcorr.load(name) for name in ("nearest", "pmnc-universal")}
    nearest_decoded, exhaustive = semcorr.load("nearest"), semcorr.load("pmnc-universal")
    nearest_decoded.decode_radius = 1
    exhaustive.score.exhaustive = True
    return found | {"nearest, sub-cell": nearest_decoded, "pmnc-universal, exhaustive": exhaustive}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=None, help="only so many pairs")
    parser.add_argument("--exhaustive", action="store_true", help="also the exhaustive search, which is slow")
    arguments = parser.parse_args()
    pairs = list(load_pairs(arguments.folder, arguments.split))[: arguments.limit]
    contenders = models()
    if not arguments.exhaustive:
        del contenders["pmnc-universal, exhaustive"]
    features: dict[Path, Encoded] = {}
    errors: dict[tuple[str, str, str], list[torch.Tensor]] = defaultdict(list)
    start = time.perf_counter()
    for pair in track(pairs, "matching"):
        for photo in (pair.source, pair.target):
            if photo.path not in features:
                features[photo.path] = contenders["nearest"].encode(photo.path)
        source, truth = pair.points()
        size = torch.tensor([pair.target.size[1], pair.target.size[0]])
        group = "people" if pair.source.category == "person" else "animals"
        for name, model in contenders.items():
            moved, _ = model.match(features[pair.source.path], features[pair.target.path]).transfer(source.numpy())
            wrong = torch.from_numpy(moved) - truth
            for threshold, error in (
                ("native", wrong.norm(dim=1) / size.max()),
                ("square", (wrong / size).norm(dim=1)),
            ):
                errors[group, threshold, name].append(error)
                errors["all", threshold, name].append(error)
    print(f"{len(pairs)} pairs in {time.perf_counter() - start:.0f} s; PCK at α = {' / '.join(map(str, ALPHAS))}")
    for (group, threshold, name), found in sorted(errors.items()):
        image = [100 * torch.stack([(e <= a).float().mean() for e in found]).mean() for a in ALPHAS]
        point = [100 * (torch.cat(found) <= a).float().mean() for a in ALPHAS]
        print(
            f"{group:8} {threshold:7} {name:18} {len(found):5} pairs   per image "
            + " / ".join(f"{x:4.1f}" for x in image)
            + "   per point "
            + " / ".join(f"{x:4.1f}" for x in point)
        )


if __name__ == "__main__":
    main()
