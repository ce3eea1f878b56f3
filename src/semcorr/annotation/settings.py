"""What a user can choose about the labels."""

from __future__ import annotations

from dataclasses import dataclass

from semcorr.errors import DataError

SURE_FROM = (0.94, 0.92, 0.90, 0.88, 0.86)
"""From which confidence times visibility on a label is sure, with one, two … five or more exemplars.

Chosen so that nine in ten sure labels of the validation photographs are within a tenth of the picture's longer side,
labels of points that the picture lacks counted as wrong (`python benchmarks/annotation.py FOLDER --photos val
--calibrate`).
"""


@dataclass(frozen=True)
class Settings:
    """What a user can choose about the labels.

    Attributes:
        sure: From this confidence times visibility on, a label has v = 2, below it v = 1; None takes `SURE_FROM`.
        min_confidence: Below it, a point gets no label.
        min_visibility: Below this probability that a point is in the picture, it gets no label.
        margin: By how much a box is enlarged before it is cropped, as a share of its sides.
        rotations: How many directions the exemplars are tried in; 1 for upright alone.
        mirror: Whether their mirror images are tried, too.
        most_exemplars: With more exemplars than this, that many are used: the first, then confirmed ones evenly.

    Raises:
        DataError: If one of them is out of its range.
    """

    sure: float | None = None
    min_confidence: float = 0.3
    min_visibility: float = 0.5
    margin: float = 0.25
    rotations: int = 1
    mirror: bool = False
    most_exemplars: int = 8

    def __post_init__(self) -> None:
        for name in ("sure", "min_confidence", "min_visibility"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise DataError(f"{name} must be between 0 and 1, got {value}")
        if not 0 <= self.margin <= 4:
            raise DataError(f"margin must be between 0 and 4 (of the box's sides), got {self.margin}")
        if not 1 <= self.rotations <= 72:
            raise DataError(f"rotations must be between 1 and 72, got {self.rotations}")
        if self.most_exemplars < 1:
            raise DataError(f"most_exemplars must be 1 or more, got {self.most_exemplars}")

    def sure_from(self, exemplars: int) -> float:
        """Return the confidence times visibility from which on a label is sure."""
        return SURE_FROM[min(exemplars, len(SURE_FROM)) - 1] if self.sure is None else self.sure
