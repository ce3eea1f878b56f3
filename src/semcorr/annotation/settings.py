"""What a user can choose about the labels."""

from __future__ import annotations

from dataclasses import dataclass

from semcorr.errors import DataError

SURE = 0.7
"""From which confidence times visibility on a label is sure.

Chosen so that nine in ten sure labels of the validation photographs are within a tenth of the picture's longer side,
labels of points that the picture lacks counted as wrong; `python benchmarks/annotation.py FOLDER --photos val
--calibrate` prints where that is.
"""

SHOWN = 0.3
"""Below which visibility a point gets no label.

A higher value saves more work on animals, whose points are often hidden, and costs more on kinds of objects that the
model has not seen, whose visibility is underestimated; `python benchmarks/annotation.py FOLDER --min-visibility 0.5`
prints how many points are left to move, to add and to remove. On honey bees, all of whose points are shown, 0.3 leaves
2 % more work than 0, on validation photographs of animals a quarter less.
"""


@dataclass(frozen=True)
class Settings:
    """What a user can choose about the labels.

    Attributes:
        sure: From this confidence times visibility on, a label has v = 2, below it v = 1.
        min_confidence: Below it, a point gets no label.
        min_visibility: Below this probability that a point is in the picture, it gets no label.
        margin: By how much a box is enlarged before it is cropped, as a share of its sides.
        rotations: How many directions the exemplars are tried in; 1 for upright alone.
        mirror: Whether their mirror images are tried, too.
        most_exemplars: With more exemplars than this, that many are used: the first, then confirmed ones evenly.

    Raises:
        DataError: If one of them is out of its range.
    """

    sure: float = SURE
    min_confidence: float = 0.3
    min_visibility: float = SHOWN
    margin: float = 0.25
    rotations: int = 1
    mirror: bool = False
    most_exemplars: int = 8

    def __post_init__(self) -> None:
        for name in ("sure", "min_confidence", "min_visibility"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise DataError(f"{name} must be between 0 and 1, got {value}")
        if not 0 <= self.margin <= 4:
            raise DataError(f"margin must be between 0 and 4 (of the box's sides), got {self.margin}")
        if not 1 <= self.rotations <= 72:
            raise DataError(f"rotations must be between 1 and 72, got {self.rotations}")
        if self.most_exemplars < 1:
            raise DataError(f"most_exemplars must be 1 or more, got {self.most_exemplars}")
