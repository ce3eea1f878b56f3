"""Does it learn? Fit eight pairs of photographs with a backbone of random weights, jointly with the scoring function.

    python benchmarks/fit.py FOLDER --backbone resnet18 --stage 3 --grid 6
    python benchmarks/fit.py FOLDER --backbone resnet101 --stage 2 --grid 12 --steps 120

FOLDER is as for `semcorr train`, in the layout ``keypoints``; the pairs are the first eight of ``val_pairs.json``, or
as many as there are. Printed are the loss of the first and the last step, PCK on the same pairs, minutes, and peak
memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric

from semcorr.data.formats.keypoints import load_pairs
from semcorr.data.pairs import Pair
from semcorr.features import FeatureExtractor, FeatureOptions
from semcorr.models.configs import PMNCConfig
from semcorr.training.data import TrainingData, Validation
from semcorr.training.learner import Learner
from semcorr.training.objectives.build import backbone_of
from semcorr.training.recipe import DataSource, TrainingRecipe
from semcorr.training.sampling.bank import FeatureBank
from semcorr.training.sampling.draws import group_draws
from semcorr.training.validation import locate, validate

PAIRS = 8


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--stage", type=int, default=3, help="the stage that is matched and trained from the first on")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--grid", type=int, default=6)
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    pairs = load_pairs(arguments.folder, "val").pairs[:PAIRS]
    features = FeatureOptions(
        arguments.backbone, (arguments.stage,), arguments.image_size, arguments.grid, weights="random"
    )
    result = fit(pairs, features, arguments.steps)
    print(json.dumps({"backbone": arguments.backbone, "stage": arguments.stage, **result}))


def fit(pairs: list[Pair], features: FeatureOptions, steps: int, first_stage: int = 0) -> dict[str, float]:
    """Fit pairs, all of them in every step, and return the figures."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = TrainingRecipe(
            model=PMNCConfig(features, radius=1, hidden=8),
            data=DataSource(folder),
            out=Path(folder),
            pairs=len(pairs),
            min_shared=1,
            views=1,
            steps=steps,
            train_from=first_stage,
            learning_rate=3e-3,
            backbone_rate=1e-3,
            average=0.8,
            warmup=5,
        )
    torch.manual_seed(0)
    fabric = Fabric(accelerator="cpu", devices=1)
    extractor = FeatureExtractor(features)
    learner = Learner(recipe, extractor, fabric)
    bank = FeatureBank(extractor, backbone=backbone_of(learner.objective))
    drawn = group_draws(recipe, TrainingData([], pairs, Validation(pairs)))
    losses, began = [], time.monotonic()
    for step in range(steps):
        learner.set_rates(step)
        total = 0.0
        for index, draw in enumerate(drawn.draws):
            group = [bank.picture(view) for view in draw(step, index)]
            loss = learner.objective([group], [drawn.shares[index]], [np.random.default_rng([step, index])])
            loss.backward()
            total += loss.item()
        learner.update()
        losses.append(total)
    pck = validate(lambda example: locate(learner.averaged, example), bank, Validation(pairs), fabric)
    return {
        "first_loss": round(losses[0], 3),
        "last_loss": round(losses[-1], 3),
        "pck_0.1": round(pck[0], 1),
        "minutes": round((time.monotonic() - began) / 60, 2),
        "peak_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


if __name__ == "__main__":
    main()
