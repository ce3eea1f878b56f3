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
UPRIGHT = 0.01
"""What the evidence of a turn must gain over that of the image as it is; chosen on validation pairs and bees."""


class Turn(NamedTuple):
    """A turn of an image about its centre.

    Attributes:
        degrees: Counter-clockwise, as the image is seen.
        mirrored: Left and right change places before it is turned.
    """

    degrees: float = 0.0
    mirrored: bool = False


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


def evidence_of(match: Match, points: Floats | None = None) -> float:
    """Return how much speaks for a match of a turned image, 0…2.

    That is the mean confidence of the points that matter, and the probability that both images show the same kind of
    thing, which is highest where both stand alike.

    Args:
        match: The match.
        points: ``(N, 2)`` in pixels of the turned image; None takes all cells.
    """
    confidence = match.forward.confidence
    sure = confidence if points is None or len(points) == 0 else move(match.direction, points).confidence
    return float(sure.mean() + (confidence.mean() if match.similarity is None else match.similarity))


def best_turn(evidence: Sequence[float]) -> int:
    """Choose among turns, of which the first is the image as it is: another must be better by `UPRIGHT`.

    >>> best_turn([0.5, 0.505, 0.4]), best_turn([0.5, 0.7, 0.6])
    (0, 1)
    """
    best = int(np.argmax(evidence))
    return best if evidence[best] >= evidence[0] + UPRIGHT else 0
