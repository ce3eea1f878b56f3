"""What ``precision="bfloat16"`` costs in PCK: both precisions on the same pairs, and their paired difference.

    python benchmarks/bfloat16.py FOLDER --split val

The threshold is α times the longer side of the target picture in native pixels; averages are per image.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from semcorr.data.formats.keypoints import load_pairs
from semcorr.models.encoded import Encoded
from semcorr.models.torch_loading import load

ALPHAS = (0.1, 0.05, 0.03, 0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--limit", type=int, default=None, help="only so many pairs")
    arguments = parser.parse_args()
    pairs = list(load_pairs(arguments.folder, arguments.split))[: arguments.limit]
    models = {name: load(precision=name) for name in ("float32", "bfloat16")}
    known: dict[tuple[str, Path], Encoded] = {}
    shares: dict[str, list[list[float]]] = {name: [] for name in models}
    for pair in track(pairs, "matching"):
        source, truth = pair.points()
        height, width = pair.source.size
        inside = np.clip(source, 0, np.array([width, height], np.float32))
        for name, model in models.items():
            for photo in (pair.source, pair.target):
                if (name, photo.path) not in known:
                    known[name, photo.path] = model.encode(photo.path)
            match = model.match(known[name, pair.source.path], known[name, pair.target.path])
            errors = np.linalg.norm(match.transfer(inside).points - truth, axis=1) / max(pair.target.size)
            shares[name].append([100 * float((errors <= alpha).mean()) for alpha in ALPHAS])
    found = {name: torch.tensor(values, dtype=torch.float64) for name, values in shares.items()}  # (pairs, 4)
    change = found["bfloat16"] - found["float32"]
    rows = [(name, values.mean(0)) for name, values in found.items()]
    rows += [("difference", change.mean(0)), ("standard error", change.std(0) / len(pairs) ** 0.5)]
    print(f"{len(pairs)} pairs of {arguments.split}; PCK at α = {' / '.join(map(str, ALPHAS))}")
    for name, values in rows:
        print(f"{name:14} " + " / ".join(f"{value:5.2f}" for value in values.tolist()))


if __name__ == "__main__":
    main()
