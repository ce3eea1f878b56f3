"""How often the PatchMatch search reaches the best score of the exhaustive search, and how many pairs it scores.

python benchmarks/optimum.py ../shared/data/keypoints --pairs 50 --grid 25
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from rich.progress import track

import semcorr
from semcorr.correlation import correlation_channels, cosine_correlation
from semcorr.data.keypoints import load_pairs
from semcorr.patchmatch import SearchOptions, exhaustive_search, search
from semcorr.patchmatch.candidates import NEAREST, PROTOTYPE

TOLERANCE = 1e-3


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--grid", type=int, default=25)
    parser.add_argument("--split", default="val")
    arguments = parser.parse_args()
    model = semcorr.load("pmnc", grid=arguments.grid)
    listed = list(load_pairs(arguments.folder, arguments.split))
    pairs = listed[:: max(1, len(listed) // arguments.pairs)][: arguments.pairs]
    patterns = {"4 nearest": NEAREST, "prototype": PROTOTYPE}
    contenders = {
        (name, count): SearchOptions(count, offsets=patterns[name]) for name in patterns for count in (1, 4, 8, 16)
    }
    reached, scored = dict.fromkeys(contenders, 0.0), dict.fromkeys(contenders, 0.0)
    cells = pairs_of_cells = 0
    for pair in track(pairs, "searching"):
        source, target = (model.encode(photo.path).features for photo in (pair.source, pair.target))
        maps = correlation_channels(cosine_correlation(source.tensor, target.tensor))
        dilation = model.score.dilation(source.grid, target.grid)
        oracle = exhaustive_search(maps, model.score.scoring, dilation)
        best = [oracle.flatten(3).amax(3), oracle.flatten(1, 2).amax(1)]
        cells += sum(scores.numel() for scores in best)
        pairs_of_cells += oracle.numel()
        for key, options in contenders.items():
            # the surroundings that decoding wants scored are no part of the search
            table = search(maps, model.score.scoring, replace(options, decode_radius=0), dilation)
            found = [table.flatten(3).amax(3), table.flatten(1, 2).amax(1)]
            reached[key] += sum((b - f <= TOLERANCE).sum().item() for b, f in zip(best, found, strict=True))
            scored[key] += table.isfinite().sum().item()
    print(f"{len(pairs)} pairs of {arguments.split}, grid {arguments.grid}: cells within {TOLERANCE} of the best score")
    for name, count in contenders:
        print(
            f"{name:9} offsets, {count:2} initial candidates: "
            f"{100 * reached[name, count] / cells:5.1f} % of cells reach the optimum; "
            f"{100 * scored[name, count] / pairs_of_cells:4.1f} % of all pairs scored"
        )


if __name__ == "__main__":
    main()
