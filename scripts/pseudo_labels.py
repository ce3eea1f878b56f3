"""Match photographs of one category with two models, and keep the points on which they agree: pseudo-labels.

A point is kept if both models send it to the same place, and back to where it came from.

python scripts/pseudo_labels.py FOLDER runs/pseudo_labels.json --weights runs/pmnc/pmnc.safetensors
The models are `pmnc`, of the package or with these weights, and `pmnc-universal`.
FOLDER holds photographs without keypoints, category/*.jpg. The file is for `pseudo_labels:` of a training recipe.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

import semcorr
from semcorr.geometry import cell_centres, cells_to_pixels
from semcorr.match.result import Match
from semcorr.models.encoded import Encoded

NEAR = 0.06  # of the longer side: where two answers count as the same
BORDER = 0.05  # of each side, where padding speaks louder than the picture
FEWEST = 8  # points of a pair that is kept


def main() -> None:
    """Match, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights", type=Path, help="of pmnc (default: those of the package)")
    parser.add_argument("--leave-out", nargs="*", default=[], metavar="CATEGORY")
    parser.add_argument("--photographs", type=int, default=16, help="of each category (default: 16)")
    parser.add_argument("--points", type=int, default=60, help="of a pair at most (default: 60)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    models = [semcorr.load("pmnc", weights=arguments.weights), semcorr.load("pmnc-universal")]
    categories = [path for path in sorted(arguments.folder.iterdir()) if path.is_dir()]
    if unknown := set(arguments.leave_out) - {path.name for path in categories}:
        parser.error(f"--leave-out: {arguments.folder} has no category {', '.join(sorted(unknown))}")
    found: list[dict[str, Any]] = []
    for category in track([path for path in categories if path.name not in arguments.leave_out], "matching"):
        files = sorted(category.glob("*.jpg"))
        chosen = [files[i] for i in rng.permutation(len(files))[: arguments.photographs]]
        encoded = [model.encode_many(chosen) for model in models]
        for i in range(len(chosen)):
            for j in {(i + 1) % len(chosen), (i + 2) % len(chosen)} - {i}:
                found += labels(models, encoded, chosen, (i, j), arguments.points, rng)
    part = arguments.out.with_name(arguments.out.name + ".part")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(json.dumps(found))
    part.replace(arguments.out)
    print(f"{len(found)} pairs, {sum(len(pair['source_points']) for pair in found)} points: {arguments.out}")


def labels(
    models: list[semcorr.Matcher],
    encoded: list[list[Encoded]],
    files: list[Path],
    pair: tuple[int, int],
    most: int,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    """Return the pair with the points on which the models agree, in the unit square, or nothing if they are few."""
    i, j = pair
    first, second = (model.match(known[i], known[j]) for model, known in zip(models, encoded, strict=True))
    source, target = cells(first), first.forward.points.reshape(-1, 2)
    other = second.transfer(source).points
    near = NEAR * max(first.target_size)
    agreed = np.linalg.norm(target - other, axis=1) < near
    for match, there in ((first, target), (second, other)):
        back = match.inverse().transfer(there).points
        agreed &= np.linalg.norm(back - source, axis=1) < NEAR * max(first.source_size)
    here = source / np.array(first.source_size[::-1])
    there = (target + other) / 2 / np.array(first.target_size[::-1])
    agreed &= ((np.minimum(here, there) > BORDER) & (np.maximum(here, there) < 1 - BORDER)).all(axis=1)
    kept = rng.permutation(np.flatnonzero(agreed))[:most]
    if len(kept) < FEWEST:
        return []
    names = [f"{files[k].parent.name}/{files[k].name}" for k in pair]
    points = [np.round(values[kept], 4).tolist() for values in (here, there)]
    return [{"source": names[0], "target": names[1], "source_points": points[0], "target_points": points[1]}]


def cells(match: Match) -> NDArray[np.float32]:
    """Return the centres of the source's cells in pixels, ``(N, 2)``."""
    rows, columns = match.forward.confidence.shape
    centres = cell_centres((rows, columns)).flatten(0, 1)
    return cells_to_pixels(centres, match.source_size, (rows, columns)).numpy()


if __name__ == "__main__":
    main()
