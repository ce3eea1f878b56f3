"""Averages of the weights of models that were trained on from the same start: often better than each of them.

As in Wortsman et al., Model soups, ICML 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from semcorr.errors import ModelError
from semcorr.models.building import build
from semcorr.models.configs import ADDED, FINE, GATE, UNTOUCHED
from semcorr.weights import Weights, expanded, read_weights


def average_weights(files: Sequence[Path], fine: Path | None = None) -> Weights:
    """Average the weights of several files.

    Fine descriptors, untouched features, the judge and the calibration belong to the weights that they were made for,
    and are not averaged.

    Args:
        files: Two or more, of models of the same shape.
        fine: A file to take the fine descriptors from, and the untouched features,
            if it has some.

    Raises:
        ModelError: If a file is no model's, or the models differ.
    """
    if len(files) < 2:
        raise ModelError(f"averaging takes two or more files; got {len(files)}")
    stored = [read_weights(file) for file in files]
    for weights in stored:
        build(weights)
    dropped = {"fine": 0, "rescaling": None, "shares": None, "judge": 0}
    models = [weights.metadata["model"] | dropped for weights in stored]
    for file, model in zip(files, models, strict=True):
        if different := [key for key in {*model, *models[0]} if model.get(key) != models[0].get(key)]:
            raise ModelError(f"{file} cannot be averaged with {files[0]}: their models differ in {different[0]}")
    values = [expanded(weights.tensors) for weights in stored]
    keys = [key for key in values[0] if not key.startswith((FINE, *ADDED))]
    tensors = {key: torch.stack([tensors[key] for tensors in values]).mean(0) for key in keys}
    model = models[0] if models[0]["kind"] == "pmnc" else stored[0].metadata["model"]
    if fine is not None:
        other = read_weights(fine)
        build(other)
        if not other.metadata["model"].get("fine"):
            raise ModelError(f"--fine: {fine} has no fine descriptors")
        taken = (FINE, UNTOUCHED, GATE)
        tensors |= {key: value for key, value in expanded(other.tensors).items() if key.startswith(taken)}
        model |= {"fine": other.metadata["model"]["fine"], "shares": other.metadata["model"].get("shares")}
    weights = Weights(tensors, {"model": model, "training": {"averaged": [one.metadata["training"] for one in stored]}})
    build(weights)
    return weights
