"""placeholder"""

from __future__ import annotations

from dataclasses import dataclass

Offsets = tuple[tuple[int, int], ...]
NEAREST: Offsets = ((0, 1), (0, -1), (1, 0), (-1, 0))


@dataclass(frozen=True)
class SearchOptions:
    """How PatchMatch searches."""

    candidates: int = 6
    iterations: int = 8
    offsets: Offsets = NEAREST
    largest: int = 64
