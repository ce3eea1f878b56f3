"""The annotated pictures that the labels come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semcorr.annotation.formats import read_labels
from semcorr.annotation.records import Annotation, find_picture
from semcorr.data.pairs import Box
from semcorr.errors import DataError
from semcorr.image import load_image


@dataclass(frozen=True, eq=False)
class Exemplar:
    """An annotated picture, cut to its object where that was asked for.

    Attributes:
        annotation: Its labels, in pixels of the whole picture.
        path: The picture's file.
        image: ``(H, W, 3)`` uint8, the part that is matched.
        names: The names of its labelled points.
        points: ``(N, 2)`` float32 x, y in pixels of ``image``, inside it.
        margin: By how much its box was enlarged, as a share of the sides; None if the whole picture is used.
    """

    annotation: Annotation
    path: Path
    image: NDArray[np.uint8]
    names: tuple[str, ...]
    points: NDArray[np.float32]
    margin: float | None

    @property
    def fingerprint(self) -> str:
        """A checksum of the labels and of the pixels."""
        labels = json.dumps({name: asdict(point) for name, point in self.annotation.points.items()})
        digest = hashlib.sha256(labels.encode())
        digest.update(str(self.image.shape).encode() + self.image.tobytes())
        return digest.hexdigest()


def read_exemplars(
    paths: Sequence[Path], images: Path | None = None, category: str | None = None
) -> list[tuple[Annotation, Path]]:
    """Read annotation files, and find their pictures.

    Args:
        paths: Files or folders in any of the formats.
        images: The folder of their pictures, if they are not beside them.
        category: Use objects of this category alone.

    Returns:
        Each labelled object and its picture's file.

    Raises:
        DataError: If a file is broken, a picture is missing, no object has labels, or they are of several categories.
    """
    exemplars: list[tuple[Annotation, Path]] = []
    for path in paths:
        labelled = (one for one in read_labels(path, images) if one.labelled and category in (None, one.category))
        exemplars += [(one, find_picture(one.picture, path, images)) for one in labelled]
    if not exemplars:
        wanted = f" of category {category!r}" if category else ""
        raise DataError(f"{', '.join(map(str, paths))}: no labelled object{wanted}; label one picture first")
    kinds = list(dict.fromkeys(annotation.category for annotation, _ in exemplars))
    if len(kinds) > 1:
        raise DataError(f"the exemplars are of {len(kinds)} categories: {', '.join(kinds[:8])}; choose with --category")
    return exemplars


def prepare(annotation: Annotation, path: Path, margin: float | None) -> Exemplar:
    """Read an exemplar's picture, cut to its object if there is a margin.

    Raises:
        DataError: If a point lies outside the picture by more than a tenth of its sides.
        ImageError: If the picture cannot be read.
    """
    image = load_image(path)
    height, width = image.shape[:2]
    labelled = annotation.labelled
    points = np.array([(point.x, point.y) for point in labelled.values()], dtype=np.float64)
    slip = np.maximum(-points, points - [width, height]).max(axis=1) / max(width, height)
    if (slip > 0.1).any():
        name = list(labelled)[int(slip.argmax())]
        raise DataError(f"{path}: point {name!r} lies outside the picture of {width}×{height} pixels")
    left, top = 0, 0
    if margin is not None and annotation.bounds is not None:
        image, (left, top) = crop(image, annotation.bounds, margin)
    inside = np.clip(points - [left, top], 0, [image.shape[1], image.shape[0]])
    return Exemplar(annotation, path, image, tuple(labelled), inside.astype(np.float32), margin)


def crop(image: NDArray[np.uint8], box: Box, margin: float) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Cut a box out of a picture, enlarged by a share of its sides, as far as the picture goes.

    Args:
        image: ``(H, W, 3)`` uint8.
        box: Left, top, right, bottom in pixels.
        margin: What both sides grow by in all, as a share of them.

    Returns:
        The part, and the pixel of the picture (x, y) that is its first.

    Raises:
        DataError: If fewer than 8 pixels of it lie in the picture.

    >>> part, corner = crop(np.zeros((100, 200, 3), np.uint8), (50, 20, 90, 60), 0.5)
    >>> part.shape, corner
    ((60, 60, 3), (40, 10))
    """
    left, top, right, bottom = box
    grow_x, grow_y = (right - left) * margin / 2, (bottom - top) * margin / 2
    x0, y0 = max(0, round(left - grow_x)), max(0, round(top - grow_y))
    x1, y1 = min(image.shape[1], round(right + grow_x)), min(image.shape[0], round(bottom + grow_y))
    if x1 - x0 < 8 or y1 - y0 < 8:
        raise DataError(f"the box {tuple(round(side, 1) for side in box)} has no 8×8 pixels inside the picture")
    return np.ascontiguousarray(image[y0:y1, x0:x1]), (x0, y0)


def choose(count: int, given: int, most: int) -> list[int]:
    """Return which of ``count`` exemplars to use if at most ``most`` can be: those given, then the others evenly.

    >>> choose(10, 1, 4)
    [0, 1, 5, 9]
    """
    if count <= most:
        return list(range(count))
    kept = list(range(min(given, most)))
    rest = most - len(kept)
    if rest <= 0:
        return kept
    return kept + [given + int(i) for i in np.linspace(0, count - given - 1, rest).round()]
