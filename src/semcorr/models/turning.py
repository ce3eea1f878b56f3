"""Matching in any direction: the source is turned, and mirrored if wanted, and the turn with the best evidence is kept.

The network knows things as they are usually photographed, upright. A bee seen from above lies in any direction, and its
features are recognised only once it is turned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semcorr.geometry import Size, cell_centres_array, cells_to_pixels
from semcorr.match.blend import grid_of, move, visibility_at
from semcorr.match.result import Match
from semcorr.match.types import Field, Floats

MOST = 72  # turns: one for each five degrees
UPRIGHT = 0.02
"""What the evidence of a turn must gain over that of the image as it is."""

TARGET = 0.5
"""Weight of what is sure of the target's cells, where that of the points that matter has weight 1."""

ALIKE = 0.25
"""Weight of the similarity of both images in the evidence."""

LEAST_ALIKE = 0.2
"""Similarity below which a turn is never chosen: nothing is recognised under it."""

MARGIN = 0.03
"""Distance that a crop keeps from the points that matter, as a fraction of its longer side."""

NEAR = 24.0
"""Degrees: turns share their evidence with those nearby, by a Gaussian of this standard deviation."""


class Turn(NamedTuple):
    """A turn of an image about its centre.

    Attributes:
        degrees: Counter-clockwise, as the image is seen.
        mirrored: Left and right change places before it is turned.
    """

    degrees: float = 0.0
    mirrored: bool = False


class Evidence(NamedTuple):
    """What speaks for a turn.

    Attributes:
        sure: How sure the matches are of the points that matter, and of the target's cells, 0…1.
        similarity: The probability that both images show the same kind of thing, 0…1; 1 where it is unknown.
    """

    sure: float
    similarity: float


@dataclass(frozen=True, eq=False)
class TurnedPicture:
    """A turned image, on a canvas that holds it whole, and where its points went.

    Attributes:
        image: ``(H', W', 3)`` uint8; what lies outside the original has its mean colour.
        matrix: ``(2, 2)``, and
        offset: ``(2,)``: a point p of the original, in pixels, is at ``matrix @ p + offset``.
    """

    image: NDArray[np.uint8]
    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]

    def to_turned(self, points: Floats) -> Floats:
        """Convert points ``(..., 2)`` of the original to pixels of the turned image."""
        turned: Floats = (points @ self.matrix.T + self.offset).astype(np.float32)
        return turned

    def to_original(self, points: Floats) -> Floats:
        """Convert points ``(..., 2)`` of the turned image to pixels of the original."""
        original: Floats = ((points - self.offset) @ np.linalg.inv(self.matrix).T).astype(np.float32)
        return original


def turns_of(rotations: int, mirror: bool = False) -> list[Turn]:
    """List the turns to try; the first leaves the image as it is.

    >>> [turn.degrees for turn in turns_of(4)], len(turns_of(3, mirror=True))
    ([0.0, 90.0, 180.0, 270.0], 6)

    Raises:
        ValueError: If ``rotations`` is no whole number from 1 to `MOST`.
    """
    if isinstance(rotations, bool) or not isinstance(rotations, int) or not 1 <= rotations <= MOST:
        raise ValueError(f"rotations must be a whole number from 1 to {MOST}; got {rotations!r}")
    degrees = [360.0 * number / rotations for number in range(rotations)]
    return [Turn(angle, mirrored) for mirrored in ((False, True) if mirror else (False,)) for angle in degrees]


def turn_image(image: NDArray[np.uint8], turn: Turn) -> TurnedPicture:
    """Turn an image ``(H, W, 3)`` uint8."""
    height, width = image.shape[:2]
    cosine, sine = math.cos(math.radians(turn.degrees)), math.sin(math.radians(turn.degrees))
    cosine, sine = (round(value, 12) for value in (cosine, sine))  # a quarter turn is exact
    size = [math.ceil(abs(a) * width + abs(b) * height - 1e-6) for a, b in ((cosine, sine), (sine, cosine))]
    matrix = np.array([[cosine, sine], [-sine, cosine]])
    if turn.mirrored:
        matrix = matrix @ np.diag([-1.0, 1.0])
    offset = np.array(size) / 2 - matrix @ np.array([width, height]) / 2
    if turn == Turn():
        return TurnedPicture(image, matrix, offset)
    back = np.linalg.inv(matrix)
    shift = -back @ offset
    colour = tuple(int(value) for value in image.reshape(-1, 3).mean(axis=0))
    picture = Image.fromarray(image).transform(
        (size[0], size[1]),
        Image.Transform.AFFINE,
        (back[0, 0], back[0, 1], shift[0], back[1, 0], back[1, 1], shift[1]),
        Image.Resampling.BILINEAR,
        fillcolor=colour,
    )
    return TurnedPicture(np.asarray(picture), matrix, offset)


def crop_canvas(picture: TurnedPicture, image: NDArray[np.uint8], points: Floats | None = None) -> TurnedPicture:
    """Crop the canvas of a turned image to the area of the original, about its centre.

    Every turn then shows objects at the scale of the original and little of the fill colour, so that the evidence of
    turns is comparable.

    Args:
        picture: The turned image.
        image: The original.
        points: ``(N, 2)`` in pixels of the original; the crop is extended to contain them.
    """
    size = np.array(picture.image.shape[1::-1], float)
    kept = size * min(1.0, math.sqrt(image.shape[0] * image.shape[1] / size.prod()))
    low, high = (size - kept) / 2, (size + kept) / 2
    if points is not None and len(points):
        turned, margin = picture.to_turned(points), MARGIN * kept.max()
        low, high = np.minimum(low, turned.min(axis=0) - margin), np.maximum(high, turned.max(axis=0) + margin)
    left, top = np.maximum(0, np.floor(low + 0.01)).astype(int)
    right, bottom = np.minimum(size, np.ceil(high - 0.01)).astype(int)
    part = np.ascontiguousarray(picture.image[top:bottom, left:right])
    return TurnedPicture(part, picture.matrix, picture.offset - np.array([left, top]))


def turn_back(match: Match, source: NDArray[np.uint8], picture: TurnedPicture, turn: Turn) -> Match:
    """Convert the match of a turned source to one of the source as it is."""
    size: Size = (source.shape[0], source.shape[1])
    grid = grid_of(match.forward)
    area = grid[0] * grid[1] * size[0] * size[1] / (match.source_size[0] * match.source_size[1])
    columns = max(1, round(math.sqrt(area * size[1] / size[0])))
    grid = (max(1, round(area / columns)), columns)
    centres = cells_to_pixels(cell_centres_array(grid), size, grid).reshape(-1, 2)
    turned_centres = np.clip(picture.to_turned(centres), 0, np.array(match.source_size[::-1], np.float32))
    moved = move(match.direction, turned_centres)
    visible = None if match.forward.visibility is None else visibility_at(match.direction, turned_centres).reshape(grid)
    forward = Field(moved.points.reshape(*grid, 2), moved.confidence.reshape(grid), visible)
    limits = np.array(size[::-1], np.float32)
    original = picture.to_original(match.backward.points)
    outside = ((original < 0) | (original > limits)).any(axis=2)
    seen = match.backward.visibility
    backward = Field(
        np.clip(original, 0, limits),
        np.where(outside, 0, match.backward.confidence).astype(np.float32),
        None if seen is None else np.where(outside, 0, seen).astype(np.float32),
    )
    return replace(match, source=source, forward=forward, backward=backward, turn=(turn.degrees, turn.mirrored))


def evidence_of(match: Match, points: Floats | None = None) -> Evidence:
    """Return what speaks for a match of a turned image.

    Args:
        match: The match.
        points: ``(N, 2)`` in pixels of the turned image; None takes all cells, by their visibility.
    """
    if points is None or len(points) == 0:
        own = _sure(match.forward)
    else:
        own = float(move(match.direction, points).confidence.mean())
    similarity = 1.0 if match.similarity is None else match.similarity
    return Evidence((own + TARGET * _sure(match.backward)) / (1 + TARGET), similarity)


def _sure(field: Field) -> float:
    """Return the mean confidence of a field's cells, each counting by its visibility."""
    visible = np.ones_like(field.confidence) if field.visibility is None else field.visibility
    return float((field.confidence * visible).sum() / max(float(visible.sum()), 1e-9))


def best_turn(turns: Sequence[Turn], evidence: Sequence[Evidence]) -> int:
    """Choose among turns, of which the first is the image as it is.

    Similarity counts only where it falls below that of the image as it is: a turn that loses the kind of thing is
    wrong, but one that seems to find it need not be right. The turns beside the right one are nearly right, so the
    evidence of each is averaged with theirs. Another turn than the first must be better by `UPRIGHT`, and both images
    must look alike under it.

    >>> turns = turns_of(4)
    >>> best_turn(turns, [Evidence(sure, 0.9) for sure in (0.5, 0.505, 0.4, 0.3)])
    0
    >>> best_turn(turns, [Evidence(sure, 0.9) for sure in (0.5, 0.7, 0.6, 0.3)])
    1
    """
    alike = np.array([one.similarity for one in evidence])
    own = np.array([one.sure for one in evidence]) + ALIKE * np.minimum(alike, alike[0])
    degrees, mirrored = np.array([turn.degrees for turn in turns]), np.array([turn.mirrored for turn in turns])
    apart = np.abs((degrees[:, None] - degrees + 180) % 360 - 180)
    weights = np.exp(-0.5 * (apart / NEAR) ** 2) * (mirrored[:, None] == mirrored)
    shared = (weights * own).sum(axis=1) / weights.sum(axis=1)
    shared[1:][alike[1:] < LEAST_ALIKE] = -1
    best = int(np.argmax(shared))
    return best if shared[best] >= shared[0] + UPRIGHT else 0
