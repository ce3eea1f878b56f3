"""Go on training the scoring function on joined features whose share is drawn at random; the features stay as they are.

python scripts/fit_scoring.py runs/joined.safetensors runs/scored.safetensors FOLDER PHOTOGRAPHS runs/pseudo_labels.json

FOLDER and PHOTOGRAPHS are as for scripts/join_untouched.py; the last file is of scripts/pseudo_labels.py. Half of the
pairs of a step have keypoints, and tuned features with a share from 0.7 to 1; half have pseudo-labels, and 0.25 to 0.7.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from semcorr.data.formats.keypoints import load_photos
from semcorr.features.untouched import join_features
from semcorr.geometry import pixels_to_cells
from semcorr.matchers.dense.correlation import correlation_channels, cosine_correlation
from semcorr.models.matcher import Matcher
from semcorr.models.torch_loading import load
from semcorr.training.objectives.proxy import proxy_loss
from semcorr.weights import Weights, expanded, read_weights, write_weights

PAIRS, POINTS, RATE, WARMUP, AVERAGE, MAX_NORM = 8, 8, 2e-3, 20, 0.98, 5.0
FAMILIAR, STRANGE = (0.7, 1.0), (0.25, 0.7)
ALIKE = ("cat", "cow", "dog", "horse", "sheep")  # whose keypoints of one name mean the same

Drawn = tuple[Path, Path, Tensor, Tensor]  # two photographs, and points of both in the unit square, (N, 2)


def main() -> None:
    """Read, train, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("weights", "out", "folder", "photographs", "pseudo_labels"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--steps", type=int, default=240)
    arguments = parser.parse_args()
    stored = read_weights(arguments.weights)
    model = load("pmnc", weights=arguments.weights)
    rng = np.random.default_rng(1)
    draws = (
        keypoint_pairs(arguments.folder, rng),
        pseudo_pairs(json.loads(arguments.pseudo_labels.read_text()), arguments.photographs, rng),
    )
    trained = train(model, draws, arguments.steps, rng)
    tensors = expanded(stored.tensors) | {f"scoring.{key}": value for key, value in trained.items()}
    write_weights(arguments.out, Weights(tensors, stored.metadata))
    print(arguments.out)


def keypoint_pairs(folder: Path, rng: np.random.Generator) -> Callable[[], Drawn]:
    """Return what draws pairs of at most a hundred training photographs of each category, which share three points."""
    known: dict[str, list[Any]] = {}
    for photo in load_photos(folder, "train"):
        known.setdefault(photo.category, []).append(photo)
    known = {name: [photos[i] for i in rng.permutation(len(photos))[:100]] for name, photos in known.items()}

    def draw() -> Drawn:
        while True:
            category = list(known)[rng.integers(len(known))]
            pool = [name for name in ALIKE if name in known] if category in ALIKE else [category]
            pair = [known[name][rng.integers(len(known[name]))] for name in rng.choice(pool, 2)]
            names = [name for name in pair[0].keypoints if name in pair[1].keypoints]
            if pair[0] is not pair[1] and len(names) >= 3:
                chosen = [names[i] for i in rng.permutation(len(names))[:POINTS]]
                first, second = (
                    torch.tensor([p.keypoints[n] for n in chosen]) / torch.tensor(p.size[::-1]) for p in pair
                )
                return pair[0].path, pair[1].path, first, second

    return draw


def pseudo_pairs(pairs: list[Any], photographs: Path, rng: np.random.Generator) -> Callable[[], Drawn]:
    """Return what draws pairs with pseudo-labels."""

    def draw() -> Drawn:
        pair = pairs[rng.integers(len(pairs))]
        chosen = rng.permutation(len(pair["source_points"]))[:POINTS]
        first, second = (torch.tensor(pair[f"{side}_points"])[chosen] for side in ("source", "target"))
        return photographs / pair["source"], photographs / pair["target"], first, second

    return draw


def train(
    model: Matcher, draws: tuple[Callable[[], Drawn], Callable[[], Drawn]], steps: int, rng: np.random.Generator
) -> dict[str, Tensor]:
    """Train the scoring function, and return the moving average of its weights."""
    scoring = copy.deepcopy(model.method.scoring).requires_grad_(True)  # type: ignore[union-attr]
    average = AveragedModel(scoring, avg_fn=lambda old, new, count: old + (new - old) * (1 - decay(count)))
    optimizer = torch.optim.AdamW(scoring.parameters(), RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    parts = lru_cache(maxsize=2000)(lambda path: split(model, path))
    for step in track(range(steps), "training"):
        for index in range(PAIRS):
            kind = index * 2 // PAIRS
            first, second, *points = draws[kind]()
            share = float(rng.uniform(*(FAMILIAR, STRANGE)[kind]))
            features = [join_features(*(part.float() for part in parts(path)), share) for path in (first, second)]
            with torch.no_grad():
                maps = correlation_channels(cosine_correlation(*features))[0]
            cells = [pixels_to_cells(p.float(), (1, 1), f.shape[2:]) for p, f in zip(points, features, strict=True)]
            with torch.autocast("cpu", torch.bfloat16):
                loss = proxy_loss(scoring, maps, cells[0], cells[1], model.method.votes)  # type: ignore[union-attr]
            (loss / PAIRS).backward()
        torch.nn.utils.clip_grad_norm_(scoring.parameters(), MAX_NORM * min(1, (step + 1) / WARMUP))
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        average.update_parameters(scoring)
    return {key: value.detach() for key, value in average.module.state_dict().items()}


def decay(count: Tensor | int) -> float:
    """Return how much of the average is kept; little at first."""
    return min(AVERAGE, (1 + float(count)) / (10 + float(count)))


@torch.inference_mode()
def split(model: Matcher, path: Path) -> tuple[Tensor, Tensor]:
    """Return the tuned and the untouched features of a photograph, ``(1, C, h, w)`` each, in half precision."""
    both = model.encode(path).features.tensor.split(model.features.channels, dim=1)
    tuned, untouched = (F.normalize(part, dim=1).half() for part in both)
    return tuned.clone(), untouched.clone()


if __name__ == "__main__":
    main()
