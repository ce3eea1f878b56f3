"""Coarse-to-fine search against the full search, on the same features: PCK, agreement and processor time.

    python benchmarks/coarse_to_fine.py FOLDER --grid 70 --pairs 10

A match is near if it is within half a tile of the match found by the full search.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.progress import track

from semcorr.data.formats.keypoints import load_pairs
from semcorr.match.result import Match
from semcorr.matchers.pmnc import coarse
from semcorr.models.matcher import Matcher
from semcorr.models.torch_loading import load

ALPHAS = (0.1, 0.05, 0.03, 0.01)
WAYS = {"whole": None, "band 2, 1 match": (2, 1), "band 2, 2 matches": (2, 2), "band 2, 3 matches": (2, 3)}
WAYS |= {"band 3, 2 matches": (3, 2)}


def models(grid: int) -> dict[str, Matcher]:
    found = {name: load("pmnc", grid=grid) for name in WAYS}
    found["whole"].method.options = replace(found["whole"].method.options, largest=10**9)
    return found


def errors_of(match: Match, points: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.linalg.norm(match.transfer(points)[0] - truth, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--grid", type=int, default=70)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--split", default="val")
    arguments = parser.parse_args()
    listed = list(load_pairs(arguments.folder, arguments.split))
    pairs = listed[:: max(1, len(listed) // arguments.pairs)][: arguments.pairs]
    contenders, small = models(arguments.grid), load("pmnc")
    errors: dict[str, list[np.ndarray]] = {name: [] for name in (*contenders, "grid 25")}
    near: dict[str, list[float]] = {name: [] for name in contenders}
    taken = dict.fromkeys(contenders, 0.0)
    for pair in track(pairs, "matching"):
        points, truth = pair.points_inside(), pair.points()[1]
        longer = max(pair.target.size)
        source, target = (contenders["whole"].encode(photo.path) for photo in (pair.source, pair.target))
        errors["grid 25"].append(errors_of(small.match(source.image, target.image), points, truth) / longer)
        score = contenders["whole"].method
        tile = score.dilation(source.features.grid, target.features.grid) * longer / arguments.grid
        for name, model in contenders.items():
            if WAYS[name] is not None:
                coarse.BAND, coarse.MODES = WAYS[name]
            start = time.process_time()
            match = model.match(source, target)
            taken[name] += time.process_time() - start
            errors[name].append(errors_of(match, points, truth) / longer)
            if name == "whole":
                whole = match.forward.points
            apart = np.linalg.norm(match.forward.points - whole, axis=2)
            near[name].append(float((apart <= tile / 2).mean()))
    print(f"{len(pairs)} pairs of {arguments.split}, grid {arguments.grid}; PCK per image at α = {ALPHAS}")
    for name, found in errors.items():
        pck = " / ".join(f"{100 * sum(float((e <= a).mean()) for e in found) / len(found):.1f}" for a in ALPHAS)
        print(f"{name:18} {pck}", end="")
        if name in near:
            print(
                f", near {100 * sum(near[name]) / len(pairs):.1f} %, {1000 * taken[name] / len(pairs):.0f} ms", end=""
            )
        print()


if __name__ == "__main__":
    main()
