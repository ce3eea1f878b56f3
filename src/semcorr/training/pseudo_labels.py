"""Pseudo-labels: points on photographs without keypoints on which two models agree.

A point is kept if both models send it to the same place, and from there back to where it came from. On photographs that
have keypoints, those take the place of the second model: see `semcorr.training.anchored_labels`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semcorr.data.pairs import Photo
from semcorr.data.pictures import list_pictures
from semcorr.errors import DataError
from semcorr.files import write_text
from semcorr.geometry import cell_centres, cells_to_pixels
from semcorr.match.result import Match
from semcorr.models.loading import load
from semcorr.models.matcher import Matcher
from semcorr.training.anchored_labels import anchored_labels

NEAR = 0.06
"""Two answers closer than this part of the picture's longer side agree."""

BORDER = 0.05
"""Points within this part of a side are left out: there, padding influences the features."""

FEWEST = 8
"""Pairs with fewer points are left out."""


@dataclass(frozen=True)
class LabelOptions:
    """How pseudo-labels are made.

    Attributes:
        photographs: Photographs of each category at most; each is matched with the next two.
        points: Points of a pair at most.
        anchored: Pairs of photographs with keypoints, if there are any.
        leave_out: Categories to leave out.
        seed: Random seed of the choice of photographs and points.
    """

    photographs: int = 16
    points: int = 60
    anchored: int = 700
    leave_out: tuple[str, ...] = ()
    seed: int = 0


class Labelled(NamedTuple):
    """How much was labelled."""

    pairs: int
    points: int


def make_pseudo_labels(
    folder: Path,
    out: Path,
    weights: Path | None = None,
    options: LabelOptions = LabelOptions(),
    photos: Sequence[Photo] = (),
    progress: Callable[[Iterable[Path]], Iterable[Path]] = lambda folders: folders,
) -> Labelled:
    """Label photographs and write the file for ``pseudo_labels`` of a training recipe.

    The two models are ``pmnc``, of the package or with the given weights, and ``pmnc-universal``.

    Args:
        folder: Photographs, ``category/*.jpg``.
        out: The JSON file to write.
        weights: Weights of ``pmnc``.
        options: How many, and of what.
        photos: Photographs with keypoints, of which pairs are labelled, too.
        progress: Wraps the folders that are worked through.

    Raises:
        DataError: If a category to be left out does not exist, there are no photographs, or too few of those with
            keypoints share enough of them.
    """
    pictures: dict[Path, list[Path]] = {}
    for path in list_pictures(folder):
        pictures.setdefault(path.parent, []).append(path)
    known = {path.name for path in pictures} | {photo.category for photo in photos}
    if unknown := set(options.leave_out) - known:
        raise DataError(f"--leave-out: there is no category {', '.join(sorted(unknown))}")
    kept = [path for path in pictures if path.name not in options.leave_out]
    if not kept:
        raise DataError(f"{folder} holds no photographs category/*.jpg (or .png, .webp …)")
    annotated = [photo for photo in photos if photo.category not in options.leave_out]
    rng = np.random.default_rng(options.seed)
    model, universal = load("pmnc", weights=weights), load("pmnc-universal")
    pairs: list[dict[str, Any]] = []
    for category in progress(kept):
        files = pictures[category]
        chosen = [files[i] for i in rng.permutation(len(files))[: options.photographs]]
        pairs += [_described(*labelled) for labelled in _agreed_pairs(model, universal, chosen, options.points, rng)]
    if annotated:
        anchored = anchored_labels(model, annotated, options.anchored, options.points, FEWEST, rng)
        pairs += [_described(a.path, b.path, points) | {"category": a.category} for a, b, points in anchored]
    write_text(out, json.dumps(pairs))
    return Labelled(len(pairs), sum(len(pair["source_points"]) for pair in pairs))


def _agreed_pairs(
    model: Matcher, universal: Matcher, files: list[Path], most: int, rng: np.random.Generator
) -> Iterator[tuple[Path, Path, NDArray[np.float64]]]:
    """Match each photograph of a category with the next two, and yield the points on which both models agree."""
    models = model, universal
    encoded = [one.encode_many(files) for one in models]
    for i in range(len(files)):
        for j in {(i + 1) % len(files), (i + 2) % len(files)} - {i}:
            matches = [one.match(known[i], known[j]) for one, known in zip(models, encoded, strict=True)]
            points = agreed_points(matches[0], matches[1])
            points = points[rng.permutation(len(points))[:most]]
            if len(points) >= FEWEST:
                yield files[i], files[j], points


def agreed_points(first: Match, second: Match) -> NDArray[np.float64]:
    """Return the points on which two matches of the same pair agree.

    Returns:
        ``(N, 2, 2)``: source and target (x, y), in the unit square.
    """
    source, target = _cells(first), first.forward.points.reshape(-1, 2)
    other = second.transfer(source).points
    agreed = np.linalg.norm(target - other, axis=1) < NEAR * max(first.target_size)
    for match, moved in ((first, target), (second, other)):
        returned = match.inverse().transfer(moved).points
        agreed &= np.linalg.norm(returned - source, axis=1) < NEAR * max(first.source_size)
    pairs = np.stack(
        [source / np.array(first.source_size[::-1]), (target + other) / 2 / np.array(first.target_size[::-1])], axis=1
    )
    inside = ((pairs > BORDER) & (pairs < 1 - BORDER)).all(axis=(1, 2))
    kept: NDArray[np.float64] = pairs[agreed & inside]
    return kept


def _described(source: Path, target: Path, points: NDArray[np.float64]) -> dict[str, Any]:
    names = [f"{path.parent.name}/{path.name}" for path in (source, target)]
    rounded = [np.round(points[:, side], 4).tolist() for side in (0, 1)]
    return {"source": names[0], "target": names[1], "source_points": rounded[0], "target_points": rounded[1]}


def _cells(match: Match) -> NDArray[np.float32]:
    """Return the centres of the source's cells in pixels, ``(N, 2)``."""
    rows, columns = match.forward.confidence.shape
    centres = cell_centres((rows, columns)).flatten(0, 1)
    return cells_to_pixels(centres, match.source_size, (rows, columns)).numpy()
