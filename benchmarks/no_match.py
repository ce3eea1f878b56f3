"""What visibility, confidence and similarity tell apart: points that have a match from those that have none.

python benchmarks/no_match.py FOLDER --split test --pairs 300 --other CATEGORIES

A point of the source is right or wrong where the target has it, within a tenth of the target's sides; absent where only
the source has it; background outside the source's box. CATEGORIES holds photographs of other things, category/*.jpg:
each source is also matched with one of those.
"""

from __future__ import annotations

import argparse
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

import semcorr
from semcorr.data.formats.keypoints import load_pairs
from semcorr.data.pairs import Photo, spread
from semcorr.match.result import Match
from semcorr.metrics import auroc, calibrate, false_matches, risk_coverage

RIGHT = 0.1
KINDS = ("right", "wrong", "absent", "background", "unlike")


class Scores:
    """Visibility and confidence of points by what they are."""

    def __init__(self) -> None:
        self.found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}

    def add(self, match: Match, kind: str, points: NDArray[np.float64]) -> None:
        if len(points):
            points = np.clip(points, 0, match.source_size[::-1])
            both = zip(match.visible(points).tolist(), match.transfer(points).confidence.tolist(), strict=True)
            self.found[kind] += both

    def column(self, kind: str, name: str) -> torch.Tensor:
        values = torch.tensor(self.found[kind], dtype=torch.float64).reshape(-1, 2)
        return {"visibility": values[:, 0], "confidence": values[:, 1], "both": values.prod(1)}[name]


def main() -> None:
    """Match, collect, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--other", type=Path)
    parser.add_argument("--model", default="pmnc")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--leave-out", nargs="*", default=["person"], metavar="CATEGORY")
    arguments = parser.parse_args()
    model = semcorr.load(arguments.model, weights=arguments.weights)
    listed = [p for p in load_pairs(arguments.folder, arguments.split) if p.source.category not in arguments.leave_out]
    pairs = spread(listed, arguments.pairs)
    others = sorted(arguments.other.glob("*/*.jpg")) if arguments.other else []
    rng, encode = np.random.default_rng(0), lru_cache(maxsize=300)(model.encode)
    scores, alike, unlike = Scores(), [], []
    for pair in track(pairs, "matching"):
        match = model.match(encode(pair.source.path), encode(pair.target.path))
        alike.append(match.similarity)
        collect(scores, match, pair.source, pair.target, rng)
        if others:
            other = model.match(encode(pair.source.path), encode(others[rng.integers(len(others))]))
            unlike.append(other.similarity)
            scores.add(other, "unlike", np.array(list(pair.source.keypoints.values()), float))
    report(scores, len(pairs))
    if others and alike[0] is not None:
        print(
            f"similarity, pairs of one category against others: AUROC {auroc(*map(torch.tensor, (alike, unlike))):.3f}"
        )


def collect(scores: Scores, match: Match, source: Photo, target: Photo, rng: np.random.Generator) -> None:
    """Sort the points of a pair into kinds."""
    shared = [name for name in source.keypoints if name in target.keypoints]
    points, truth = (np.array([photo.keypoints[n] for n in shared], float) for photo in (source, target))
    moved = match.transfer(np.clip(points, 0, match.source_size[::-1])).points
    right = np.linalg.norm((moved - truth) / match.target_size[::-1], axis=1) <= RIGHT
    scores.add(match, "right", points[right])
    scores.add(match, "wrong", points[~right])
    absent = [point for name, point in source.keypoints.items() if name not in target.keypoints]
    scores.add(match, "absent", np.array(absent, float).reshape(-1, 2))
    if source.bbox is not None:
        box, margin = np.array(source.bbox).reshape(2, 2), 0.04 * np.array(match.source_size[::-1])
        drawn = rng.uniform([0, 0], match.source_size[::-1], (200, 2))
        scores.add(match, "background", drawn[((drawn < box[0] - margin) | (drawn > box[1] + margin)).any(axis=1)][:6])


def report(scores: Scores, pairs: int) -> None:
    """Print what each number tells apart, how well calibrated both are, and what remains at 90 % of right ones."""
    print(", ".join(f"{len(found)} {kind}" for kind, found in scores.found.items()))
    print("| | right, wrong | right, absent | present, absent | right, background | right, unlike |")
    print("|---|---|---|---|---|---|")
    for name in ("visibility", "confidence", "both"):
        columns = {kind: scores.column(kind, name) for kind in KINDS}
        present = torch.cat([columns["right"], columns["wrong"]])
        sides = [(columns["right"], columns["wrong"]), (columns["right"], columns["absent"])]
        sides += [(present, columns["absent"])]
        sides += [(columns["right"], columns["background"]), (columns["right"], columns["unlike"])]
        figures = (f"{auroc(a, b):.3f}" if len(a) and len(b) else "–" for a, b in sides)
        print(f"| {name} | " + " | ".join(figures) + " |")
    right, wrong, absent = (scores.column(kind, "both") for kind in ("right", "wrong", "absent"))
    sure = torch.cat([right, wrong, absent])
    correct = torch.arange(len(sure)) < len(right)
    print(f"expected calibration error, absent points counted: {100 * calibrate(sure, correct).error:.1f} points")
    print(f"area under risk and coverage: {risk_coverage(sure, correct).area:.3f}")
    kept = false_matches(right, torch.cat([wrong, absent]), pairs)
    print(f"false matches a picture at 90 % of the right ones kept: {kept:.2f}")


if __name__ == "__main__":
    main()
