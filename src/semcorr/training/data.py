"""The data of a training run: what to learn from, pairs to validate on, and a fingerprint of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import RootModel

from semcorr.data.pairs import Pair, Photo, mirrored_name, spread
from semcorr.data.pictures import list_pictures
from semcorr.data.registry import DATASETS, load_dataset, locate_dataset
from semcorr.errors import DataError, did_you_mean
from semcorr.files import sha256_of
from semcorr.metrics.pck import Space, Threshold, reference_length
from semcorr.training.recipe import DataSource, TrainingRecipe
from semcorr.weights import MODELS

_LISTED = ("pf-pascal", "spair-71k")  # data sets whose training pairs are listed
_NOT_IN_FINGERPRINT = (
    "data",
    "validation",
    "out",
    "photographs",
    "cache",
    "accelerator",
    "devices",
    "checkpointing",
    "workers",
)


class Validation(NamedTuple):
    """Pairs to validate on, and the protocol of their data set.

    Attributes:
        pairs: The pairs.
        threshold: What α is a fraction of.
        space: Native pixels, or both pictures squashed to a square.
    """

    pairs: list[Pair]
    threshold: Threshold = "image"
    space: Space = "native"


class TrainingData(NamedTuple):
    """What a run learns from and is validated on.

    Attributes:
        photos: Photographs with keypoints, without the categories that are left out.
        pairs: The data set's own training pairs if training uses them, without those categories.
        validation: Pairs to validate on, without those categories.
        warnings: What the user should know about the data, a sentence each.
    """

    photos: list[Photo]
    pairs: list[Pair]
    validation: Validation
    warnings: tuple[str, ...] = ()


def load_data(recipe: TrainingRecipe) -> TrainingData:
    """Load what a recipe trains and validates on.

    Raises:
        DataError: If photographs or pairs are missing or broken, or a data set has no training or validation list.
    """
    name, root, _ = _located(recipe.data)
    listed = (recipe.pairs_from or ("list" if name in _LISTED else "category")) == "list"
    if listed and name not in _LISTED:
        raise DataError(f"pairs_from: {name} has no list of training pairs: choose category")
    pairs: list[Pair] = []
    if name in _LISTED:
        everything = load_dataset(name, root, _training_split(recipe.data)).pairs
        known = {pair.source.category for pair in everything}
        pairs = _kept(everything, recipe.leave_out)
        photos = _photos_of(pairs)
    else:
        annotated = load_training_photos(recipe.data)
        known = {photo.category for photo in annotated}
        photos = [photo for photo in annotated if photo.category not in recipe.leave_out]
    if recipe.validation is None and recipe.data.annotations is not None:
        raise DataError("validation is missing: with a COCO file to train on, name another one to validate on")
    source = recipe.validation or replace(recipe.data, split=None)
    if not known.issuperset((*recipe.leave_out, *(name for group in recipe.together for name in group))):
        known |= {pair.source.category for pair in _listed_pairs(source)}
        known |= set() if recipe.photographs is None else {p.parent.name for p in list_pictures(recipe.photographs)}
    _check_categories(recipe, known)
    validation = load_validation(source, recipe.validation_pairs, recipe.leave_out)
    return TrainingData(photos, pairs if listed else [], validation, _warnings(recipe, photos, listed))


def fingerprint(recipe: TrainingRecipe, data: TrainingData) -> str:
    """Identify everything that the result depends on: the recipe, and the annotations that it learns from.

    Locations are left out, and so is the number of devices: they share the work of a step.
    """
    values = RootModel[TrainingRecipe](recipe).model_dump(mode="json")
    for key in _NOT_IN_FINGERPRINT:
        del values[key]
    if recipe.start in MODELS:
        values["start"] = MODELS[recipe.start].sha256
    for key in ("start", "pseudo_labels"):
        if values[key] is not None and Path(values[key]).is_file():
            values[key] = sha256_of(Path(values[key]))
    values["photos"] = [_described(photo) for photo in data.photos]
    for key, pairs in (("pairs", data.pairs), ("validation", data.validation.pairs)):
        values[key] = [[_described(photo) for photo in (pair.source, pair.target)] for pair in pairs]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def load_training_photos(source: DataSource) -> list[Photo]:
    """Load the photographs with keypoints of a training list.

    Raises:
        DataError: If they are missing or broken, or the data set has no training list.
    """
    name, root, files = _located(source)
    split = _training_split(source)
    if name in _LISTED:
        return _photos_of(load_dataset(name, root, split).pairs)
    return DATASETS[name].photos(root, split, **files)


def _training_split(source: DataSource) -> str:
    dataset = DATASETS[_located(source)[0]]
    split = source.split or next((s for s in ("train", "trn") if s in dataset.training), None)
    if split is None:
        raise DataError(f"data: {dataset.title} has no training list: it is for validation only")
    return split


def _located(source: DataSource) -> tuple[str, Path, dict[str, Path]]:
    files = {key: value for key in ("annotations", "images") if (value := getattr(source, key)) is not None}
    name, root = locate_dataset(source.name, source.root, files)
    return name, root, files


def load_validation(source: DataSource, limit: int, leave_out: tuple[str, ...] = ()) -> Validation:
    """Load the validation list of a data set, or its only list if it has no such list.

    Args:
        source: The data set.
        limit: Pairs at most, sampled evenly from the list.
        leave_out: Categories to leave out.

    Raises:
        DataError: If the list is missing, broken or empty, or cannot be scored by the data set's protocol.
    """
    name, root, _ = _located(source)
    dataset = DATASETS[name]
    pairs = _kept(_listed_pairs(source), leave_out)
    if not pairs:
        raise DataError(
            f"the validation list of {root} holds no pairs of the categories that are trained on; training needs at "
            "least one to validate on"
        )
    chosen = spread(pairs, limit)
    for pair in chosen:  # before anything is computed
        reference_length(pair, dataset.threshold, dataset.space)
    return Validation(chosen, dataset.threshold, dataset.space)


def _listed_pairs(source: DataSource) -> list[Pair]:
    name, root, files = _located(source)
    splits = DATASETS[name].splits
    return load_dataset(name, root, source.split or ("val" if "val" in splits else splits[-1]), **files).pairs


def _check_categories(recipe: TrainingRecipe, categories: Collection[str]) -> None:
    """Refuse a recipe that names categories which the data do not have: a misspelt one would be trained on.

    Args:
        recipe: The recipe, with ``leave_out`` and ``together``.
        categories: The categories of the data.

    Raises:
        DataError: With the names nearest to the first unknown one.
    """
    for key, names in (("leave_out", recipe.leave_out), *(("together", group) for group in recipe.together)):
        for name in names:
            if name not in categories:
                known = f"{did_you_mean(name, categories)}; the data have {', '.join(sorted(categories))}"
                raise DataError(f"{key}: no photograph is of the category {name!r}{known}")


def _kept(pairs: Iterable[Pair], leave_out: tuple[str, ...]) -> list[Pair]:
    return [pair for pair in pairs if pair.source.category not in leave_out]


def _photos_of(pairs: Iterable[Pair]) -> list[Photo]:
    """List the photographs of pairs, each with all the keypoints that any of its pairs names."""
    photos: dict[tuple[Path, str], Photo] = {}
    for photo in (photo for pair in pairs for photo in (pair.source, pair.target)):
        key = photo.path, photo.category
        known = photos[key].keypoints if key in photos else {}
        photos[key] = replace(photo, keypoints={**known, **photo.keypoints})
    return list(photos.values())


def _warnings(recipe: TrainingRecipe, photos: list[Photo], listed: bool) -> tuple[str, ...]:
    names = {name for photo in photos for name in photo.keypoints}
    if recipe.views == 1 or listed or recipe.loss == "weak" or any(mirrored_name(name) != name for name in names):
        return ()
    shown = ", ".join(sorted(names)[:4])
    return (
        f"views: {recipe.views} mirrors photographs, but no keypoint name says left or right ({shown}, …): if some are "
        "on one side, rename them (left_eye) or set views to 1",
    )


def _described(photo: Photo) -> list[Any]:
    return [photo.path.name, photo.category, photo.size, sorted(photo.keypoints.items())]
