"""The data of a training run: photographs to learn from, pairs to validate on, and a fingerprint of both."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from pydantic import RootModel

from semcorr.data.formats.keypoints import load_pairs, load_photos
from semcorr.data.pairs import Pair, Photo, spread
from semcorr.errors import DataError
from semcorr.files import sha256_of
from semcorr.training.recipe import TrainingRecipe, check_categories
from semcorr.weights import MODELS

_NOT_IN_FINGERPRINT = ("data", "out", "photographs", "cache", "accelerator", "devices")
_ANNOTATIONS = ("train.json", "val.json", "val_pairs.json")


class TrainingData(NamedTuple):
    """What a run learns from and is validated on.

    Attributes:
        photos: Photographs with keypoints, without the categories that are left out.
        validation: Pairs to validate on, likewise.
    """

    photos: list[Photo]
    validation: list[Pair]


def load_data(recipe: TrainingRecipe) -> TrainingData:
    """Load the photographs and the validation pairs of a recipe.

    Raises:
        DataError: If photographs or pairs are missing or broken.
    """
    photos, listed = load_photos(recipe.data, "train"), load_pairs(recipe.data, "val")
    check_categories(recipe, {photo.category for photo in (*photos, *(pair.source for pair in listed))})
    pairs = [pair for pair in listed if pair.source.category not in recipe.leave_out]
    if not pairs:
        raise DataError(
            f"{recipe.data / 'val_pairs.json'} lists no pairs of the categories that are trained on; training needs at "
            "least one to validate on"
        )
    known = [photo for photo in photos if photo.category not in recipe.leave_out]
    return TrainingData(known, spread(pairs, recipe.validation_pairs))


def fingerprint(recipe: TrainingRecipe) -> str:
    """Identify everything that the result depends on: the recipe, and the annotations that it learns from.

    Locations are left out, and so is the number of devices: they share the pairs of a step.
    """
    values = RootModel[TrainingRecipe](recipe).model_dump(mode="json")
    for key in _NOT_IN_FINGERPRINT:
        del values[key]
    if recipe.start in MODELS:
        values["start"] = MODELS[recipe.start].sha256
    for key in ("start", "pseudo_labels"):
        if values[key] is not None and Path(values[key]).is_file():
            values[key] = sha256_of(Path(values[key]))
    for name in _ANNOTATIONS:
        values[name] = sha256_of(recipe.data / name)
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
