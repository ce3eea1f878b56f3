"""Make the confidence of trained weights honest: fit its rescaling on the predictions of validation pairs.

semcorr evaluate FOLDER --split val --weights runs/pmnc/pmnc.safetensors --out runs/val --no-cost
python scripts/calibrate.py runs/pmnc/pmnc.safetensors FOLDER runs/val/pmnc
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from semcorr.data.registry import load_dataset, recognise
from semcorr.evaluation.run import FILE
from semcorr.matchers.dense.confidence import fit_rescaling, rescale
from semcorr.metrics.calibration import calibrate
from semcorr.metrics.pck import ALPHAS, pck_distances
from semcorr.weights import Weights, read_weights, write_weights


def main() -> None:
    """Read predictions, fit, write the slope and the offset into the weights' recipe."""
    weights, folder, run = map(Path, sys.argv[1:4])
    stored = read_weights(weights)
    if stored.metadata["model"].get("rescaling"):
        sys.exit(f"{weights} is rescaled already: predict with the weights as they were trained")
    lines = [json.loads(line) for line in (run / FILE).read_text().splitlines()[1:]]
    pairs = load_dataset(recognise(folder), folder, "val").pairs
    confidence = torch.tensor([value for line in lines for value in line["confidence"]])
    errors = [pck_distances(torch.tensor(line["points"]), pair) for line, pair in zip(lines, pairs, strict=True)]
    correct = torch.cat(errors) <= ALPHAS[0]
    rescaling = fit_rescaling(confidence, correct)
    model = stored.metadata["model"] | {"rescaling": rescaling}
    write_weights(weights, Weights(stored.tensors, stored.metadata | {"model": model}))
    before, after = (calibrate(c, correct).error for c in (confidence, rescale(confidence, rescaling)))
    found = ", ".join(f"{value:.3f}" for value in rescaling)
    print(f"coefficients {found}: expected calibration error {before:.3f} -> {after:.3f}")


if __name__ == "__main__":
    main()
