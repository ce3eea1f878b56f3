"""How often the PatchMatch search reaches the best score of the exhaustive search, and how many pairs it scores.

python benchmarks/optimum.py FOLDER --pairs 50 --grid 25
python benchmarks/optimum.py FOLDER --pairs 200 --precision      # PCK of the search against the exhaustive one
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from rich.progress import track

import semcorr
from semcorr.data.formats.keypoints import load_pairs
from semcorr.data.pairs import Pair
from semcorr.matchers.pmnc.search import NEAREST, PROTOTYPE, SearchOptions
from semcorr.metrics.pck import ALPHAS, pck_distances
from semcorr.models.torch_loading import load

TOLERANCE = 1e-3
ALL = SearchOptions(candidates=10**9, iterations=0)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--model", default="pmnc")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--grid", type=int, default=25)
    parser.add_argument("--split", default="val")
    parser.add_argument("--counts", type=int, nargs="+", default=[4, 8, 12, 15, 16])
    parser.add_argument("--precision", action="store_true", help="PCK, and nothing else")
    arguments = parser.parse_args()
    model = load(arguments.model, grid=arguments.grid, weights=arguments.weights)
    listed = list(load_pairs(arguments.folder, arguments.split))
    pairs = listed[:: max(1, len(listed) // arguments.pairs)][: arguments.pairs]
    if arguments.precision:
        compare_precision(model, pairs)
        return
    patterns = {"4 nearest": NEAREST, "prototype": PROTOTYPE}
    contenders = {
        (name, count): SearchOptions(count, offsets=patterns[name]) for name in patterns for count in arguments.counts
    }
    reached, scored = dict.fromkeys(contenders, 0.0), dict.fromkeys(contenders, 0.0)
    cells = pairs_of_cells = 0
    for pair in track(pairs, "searching"):
        source, target = (model.encode(photo.path).features for photo in (pair.source, pair.target))
        model.method.options = ALL
        oracle = model.method(source, target).table()
        assert oracle.isfinite().all()
        best = [oracle.flatten(3).amax(3), oracle.flatten(1, 2).amax(1)]
        cells += sum(scores.numel() for scores in best)
        pairs_of_cells += oracle.numel()
        for key, options in contenders.items():
            model.method.options = options
            table = model.method(source, target).table()
            found = [table.flatten(3).amax(3), table.flatten(1, 2).amax(1)]
            reached[key] += sum((b - f <= TOLERANCE).sum().item() for b, f in zip(best, found, strict=True))
            scored[key] += table.isfinite().sum().item()
    print(f"{len(pairs)} pairs of {arguments.split}, grid {arguments.grid}: cells within {TOLERANCE} of the best score")
    for name, count in contenders:
        print(
            f"{name:9} offsets, {count:2} initial candidates: "
            f"{100 * reached[name, count] / cells:5.2f} % of cells reach the optimum; "
            f"{100 * scored[name, count] / pairs_of_cells:5.2f} % of all pairs scored"
        )


def compare_precision(model: semcorr.Matcher, pairs: list[Pair]) -> None:
    """Print PCK per image of the search and of the exhaustive search, on the same features."""
    found: dict[bool, list[list[float]]] = {False: [], True: []}
    for pair in track(pairs, "matching"):
        source, target = (model.encode(photo.path) for photo in (pair.source, pair.target))
        for exhaustive, values in found.items():
            model.method.exhaustive = exhaustive
            moved = model.match(source, target).transfer(pair.points_inside()).points
            errors = pck_distances(moved, pair)
            values.append([100 * (errors <= alpha).mean() for alpha in ALPHAS])
    for exhaustive, values in found.items():
        figures = " / ".join(f"{sum(column) / len(pairs):.2f}" for column in zip(*values, strict=True))
        print(f"{'exhaustive' if exhaustive else 'search':10} {figures}")


if __name__ == "__main__":
    main()
