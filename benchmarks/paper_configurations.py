"""Time and memory of a pair in the paper's configurations: ResNet-101 with random weights, which cost what trained do.

python benchmarks/paper_configurations.py --threads 2

The backbone is apart from the matching stage: the correlation, the consensus or the search, and the decoding, whose
memory counts beyond the model and the features. The figures of Lee et al. (CVPR 2021) are of one V100, whole pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image

from semcorr.features import FeatureExtractor
from semcorr.models.configs import config_to_dict
from semcorr.profiling.case import synthetic_pair
from semcorr.training.objectives.build import build_objective, read_filtered_only
from semcorr.training.recipe import find_recipe, read_recipe
from semcorr.weights import Weights, write_weights

CASES = {
    "NC-Net 25×25": ("ncnet-strong-2", 25, "0.29 s, 406 MB"),
    "ANC-Net 25×25": ("ancnet-strong-2", 25, "0.33 s, 1310 MB"),
    "PMNC 25×25": ("pmnc-pf-pascal-25", 25, "0.09 s, 273 MB"),
    "NC-Net 50×50": ("ncnet-strong-2", 50, "–"),
    "PMNC 50×50": ("pmnc-pf-pascal-50", 50, "0.96 s, 2610 MB"),
}


def main() -> None:
    """Measure each configuration in a process of its own and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=5, help="figures are medians over them")
    arguments = parser.parse_args()
    threads = {name: str(arguments.threads) for name in ("OMP_NUM_THREADS", "SEMCORR_NUM_THREADS")}
    print("| | backbone, both pictures | matching | whole pair | memory of the matching | in the paper |")
    print("|---|---|---|---|---|---|")
    with TemporaryDirectory() as folder:
        paths = [str(Path(folder) / f"{name}.png") for name in ("source", "target")]
        for picture, path in zip(synthetic_pair(), paths, strict=True):
            Image.fromarray(picture).save(path)
        for title, (recipe, grid, printed) in CASES.items():
            weights = Path(folder) / "weights.safetensors"
            kind = write_random(recipe, grid, weights)
            job = {"arguments": {"name": kind, "weights": str(weights)}, "pairs": [paths] * arguments.pairs}
            process = subprocess.run(
                [sys.executable, "-m", "semcorr.profiling.cost"],
                input=json.dumps(job),
                capture_output=True,
                text=True,
                check=False,
                env=os.environ | threads,
            )
            if process.returncode:
                print(f"| {title} | {process.stderr.strip().splitlines()[-1]} |")
                continue
            cost = json.loads(process.stdout)
            apart = f"{cost['total'] - cost['matching']:.2f} s | {cost['matching']:.3f} s | {cost['total']:.2f} s"
            memory = "unknown" if cost["megabytes"] is None else f"{cost['megabytes']:.0f} MB"
            print(f"| {title} | {apart} | {memory} | {printed} |", flush=True)


def write_random(name: str, grid: int, path: Path) -> str:
    """Write random weights of a recipe's model, with its backbone up to the stage of the grid; return its kind."""
    recipe = read_recipe(find_recipe(f"paper/{name}"), start=None)
    stages = (2,) if grid == 50 else recipe.model.features.stages
    features = replace(recipe.model.features, weights="random", grid=grid, stages=stages)
    model = replace(recipe.model, features=features)
    recipe = replace(recipe, model=model, start=None, train_from=stages[0])
    torch.manual_seed(0)
    objective = build_objective(recipe, FeatureExtractor(features))
    if recipe.filtered_only:
        read_filtered_only(objective)
    write_weights(path, Weights(objective.learned(), {"model": config_to_dict(model), "training": {}}))
    return model.kind


if __name__ == "__main__":
    main()
