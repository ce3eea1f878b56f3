"""The end of a training run: the confidence is calibrated, and what was gained over the start is measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from semcorr.data.pairs import Pair
from semcorr.errors import DataError, ModelError
from semcorr.evaluation.results import Evaluation, Prediction
from semcorr.evaluation.score import differences, evaluate
from semcorr.matchers.dense.confidence import fit_rescaling, rescale
from semcorr.models.loading import load
from semcorr.models.matcher import Matcher
from semcorr.training.data import Validation
from semcorr.training.recipe import TrainingRecipe
from semcorr.weights import MODELS, Weights, read_weights, write_weights

MIN_POINTS = 100
"""Fewer validation points than this say too little about the confidence to calibrate it."""

_AT_ONCE = 8


def finish(recipe: TrainingRecipe, path: Path, validation: Validation, console: Console) -> None:
    """Calibrate the confidence of trained weights, and say what they gained over the start of their training.

    Everything is measured as it will be used: with the search, on the validation pairs. These also chose the weights,
    so that the figures favour them.

    Args:
        recipe: The recipe of the training.
        path: The weights; they are replaced by calibrated ones.
        validation: The pairs, and their protocol.
        console: Where the result is printed.
    """
    stored = read_weights(path)
    training, model = stored.metadata["training"], dict(stored.metadata["model"])
    if "finished" not in training:
        calibrating = recipe.model.kind == "pmnc" and recipe.calibrate
        if not calibrating and recipe.start is None:
            return
        predictions = predict(_load(recipe, path), validation.pairs)
        said = []
        if calibrating:
            model["rescaling"] = calibration(predictions, validation)
            if model["rescaling"] is None:
                said.append("confidence not calibrated: too few validation points")
            else:
                predictions = [_rescaled(one, model["rescaling"]) for one in predictions]
        result = _scored("trained", predictions, validation)
        said += [f"validation PCK {_figures(result)}", *_calibration_error(result)]
        if recipe.start is not None:
            said += _gain(recipe, result, validation)
        training |= {"finished": "; ".join(said)}
        write_weights(path, Weights(stored.tensors, {"model": model, "training": training}))
    console.print(training["finished"], soft_wrap=True, markup=False)


def _gain(recipe: TrainingRecipe, result: Evaluation, validation: Validation) -> list[str]:
    """Say what trained weights gained over the start."""
    start = _scored("start", predict(_load(recipe, recipe.start), validation.pairs), validation)
    gains = ", ".join(
        f"{gain.mean:+.1f} ({gain.low:+.1f} to {gain.high:+.1f}) at {gain.alpha:g}"
        for gain in differences(result, start)
    )
    errors = [f"{text} at the start" for text in _calibration_error(start)]
    return [f"at the start {_figures(start)}", *errors, f"gain in points, with its 95 % interval: {gains}"]


def _load(recipe: TrainingRecipe, weights: Path | str | None) -> Matcher:
    device = recipe.accelerator if recipe.accelerator in ("cuda", "mps") else "cpu"
    if isinstance(weights, str) and weights in MODELS:
        return load(weights, device=device)
    return load(recipe.model.kind, weights=weights, device=device)


def _rescaled(prediction: Prediction, coefficients: tuple[float, ...]) -> Prediction:
    return replace(prediction, confidence=rescale(torch.tensor(prediction.confidence), coefficients).tolist())


def calibrate_weights(path: Path, validation: Validation) -> tuple[Weights, str]:
    """Return weights of pmnc with a calibrated confidence, and a line that says what it changed.

    Args:
        path: The weights; they are left as they are.
        validation: Pairs that they were not trained on, and their protocol.

    Raises:
        ModelError: If they are not weights of pmnc.
        DataError: If the pairs have too few points.
    """
    stored = read_weights(path)
    if stored.metadata.get("model", {}).get("kind", "pmnc") != "pmnc":
        raise ModelError(f"{path} holds weights of {stored.metadata['model']['kind']!r}: only pmnc's can be calibrated")
    matcher = load("pmnc", weights=path)
    before = _scored("before", predict(matcher, validation.pairs), validation)
    matcher.rescaling = None
    predictions = predict(matcher, validation.pairs)
    coefficients = calibration(predictions, validation)
    if coefficients is None:
        raise DataError(f"calibration needs {MIN_POINTS} points, some right and some wrong: choose more pairs")
    after = _scored("after", [_rescaled(one, coefficients) for one in predictions], validation)
    said = f"{_calibration_error(before)[0]} before, {_calibration_error(after)[0]} after, on the same pairs"
    model = stored.metadata["model"] | {"rescaling": coefficients}
    return Weights(stored.tensors, stored.metadata | {"model": model}), said


def predict(model: Matcher, pairs: list[Pair]) -> list[Prediction]:
    """Match pairs, and transfer their source keypoints."""
    predictions = []
    for start in range(0, len(pairs), _AT_ONCE):
        block = pairs[start : start + _AT_ONCE]
        matches = model.match_many([(pair.source.path, pair.target.path) for pair in block])
        for pair, match in zip(block, matches, strict=True):
            points, confidence = match.transfer(pair.points_inside())
            predictions.append(Prediction([(x, y) for x, y in points.tolist()], confidence.tolist()))
    return predictions


def calibration(predictions: list[Prediction], validation: Validation) -> tuple[float, ...] | None:
    """Fit the coefficients that turn raw confidences into probabilities of being right at the largest α.

    Returns:
        Coefficients for `semcorr.matchers.dense.confidence.rescale`, or None if there are too few points, right and
        wrong.
    """
    scored = _scored("uncalibrated", predictions, validation)
    confidence = torch.tensor([value for one in predictions for value in one.confidence])
    correct: Tensor = torch.tensor([value for errors in scored.errors for value in errors]) <= max(
        scored.scores.per_image
    )
    if len(correct) < MIN_POINTS or correct.all() or not correct.any():
        return None
    return fit_rescaling(confidence, correct)


def _scored(name: str, predictions: list[Prediction], validation: Validation) -> Evaluation:
    return evaluate(name, "validation", validation.pairs, predictions, validation.threshold, validation.space)


def _calibration_error(evaluation: Evaluation) -> list[str]:
    calibrated = evaluation.scores.calibration
    return [] if calibrated is None else [f"expected calibration error {100 * calibrated.error:.1f} %"]


def _figures(evaluation: Evaluation) -> str:
    return "/".join(f"{value:.1f}" for value in evaluation.scores.per_image.values())
