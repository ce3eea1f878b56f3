"""Matching in any direction: PCK upright, with the turn that `rotations` chooses, and with the best turn.

python benchmarks/turns.py FOLDER --photos test --pairs 50
python benchmarks/turns.py FOLDER --photos test --pairs 50 --turned

FOLDER is laid out as `semcorr.data.formats.keypoints` describes. --turned turns every source by a random multiple of
360°/N first. PCK in the unit square of the target, mean over pairs; the turn is chosen for the points that are
transferred, or for the whole source.
"""

from __future__ import annotations

import argparse
import json
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

import semcorr
from semcorr.data.formats.keypoints import load_photos
from semcorr.data.pairs import make_pair, spread
from semcorr.image import load_image
from semcorr.match.result import Match
from semcorr.models.turning import turn_image, turns_of

ALPHAS = (0.1, 0.05, 0.03)
WAYS = ("upright", "chosen for the points", "chosen for the whole source", "best of all")

Floats = NDArray[np.float64]


def main() -> None:
    """Match in every direction, choose, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", default="test", help="stem of the JSON file")
    parser.add_argument("--list", help="file with the pairs; by default that of the photographs")
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--rotations", type=int, default=12)
    parser.add_argument("--turned", action="store_true", help="turn every source at random first")
    parser.add_argument("--leave-out", nargs="*", default=["person"], metavar="CATEGORY")
    parser.add_argument("--model", default="pmnc")
    parser.add_argument("--weights", type=Path)
    arguments = parser.parse_args()
    photos = {photo.path.name: photo for photo in load_photos(arguments.folder, arguments.photos)}
    names = json.loads((arguments.folder / (arguments.list or f"{arguments.photos}_pairs.json")).read_text())
    listed = [make_pair(photos[a], photos[b], {}, f"{a} and {b}") for a, b in names]
    pairs = spread([p for p in listed if p.source.category not in arguments.leave_out], arguments.pairs)
    model, rng = semcorr.load(arguments.model, weights=arguments.weights), np.random.default_rng(0)
    turns, encode = turns_of(arguments.rotations), lru_cache(maxsize=200)(model.encode)
    errors: dict[str, list[Floats]] = {way: [] for way in WAYS}
    kept = 0
    for pair in track(pairs, "matching"):
        source = load_image(pair.source.path)
        points, truth = (np.array([p.keypoints[n] for n in pair.names], np.float32) for p in (pair.source, pair.target))
        if arguments.turned:
            lying = turn_image(source, turns[rng.integers(1, len(turns))])
            source, points = lying.image, lying.to_turned(points)
        points, target = np.clip(points, 0, source.shape[1::-1]).astype(np.float32), encode(pair.target.path)
        apart: list[Floats] = []
        for turn in turns:
            picture = turn_image(source, turn)
            turned = np.clip(picture.to_turned(points), 0, picture.image.shape[1::-1]).astype(np.float32)
            apart.append(_errors(model.match(picture.image, target), turned, truth))
        best = apart[int(np.argmax([np.mean(error[:, None] <= ALPHAS) for error in apart]))]
        for_points = model.match(source, target, arguments.rotations, points=points)
        kept += for_points.turn == (0.0, False)
        chosen = (
            _errors(match, points, truth) for match in (for_points, model.match(source, target, arguments.rotations))
        )
        for way, error in zip(WAYS, (apart[0], *chosen, best), strict=True):
            errors[way].append(error)
    print(f"{len(pairs)} pairs, {arguments.rotations} turns; for the points, {kept} stay as they are")
    print("| | " + " | ".join(f"{alpha:g}" for alpha in ALPHAS) + " |\n|---|" + "---:|" * len(ALPHAS))
    for way, found in errors.items():
        figures = [100 * np.mean([np.mean(error <= alpha) for error in found]) for alpha in ALPHAS]
        print(f"| {way} | " + " | ".join(f"{figure:.1f}" for figure in figures) + " |")


def _errors(match: Match, points: Floats, truth: Floats) -> Floats:
    errors: Floats = np.linalg.norm((match.transfer(points).points - truth) / match.target_size[::-1], axis=1)
    return errors


if __name__ == "__main__":
    main()
