"""Lightning Pose: DeepLabCut's CSV with one index column, and a column ``visible`` for each point.

There, 2 is labelled, 1 present but hidden, 0 absent; the program ignores the position of hidden points.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from semcorr.annotation.formats.deeplabcut import read
from semcorr.annotation.records import ABSENT, Annotation, Point, check_unique, names_of

__all__ = ["read", "render"]


def render(annotations: Sequence[Annotation], path: Path, images: Path | None = None) -> dict[Path, bytes]:
    """Return the file; the scorer is ``semcorr``."""
    readable = [one for one in annotations if not one.error]
    check_unique(readable, "Lightning Pose")
    names = names_of(readable)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["scorer", *["semcorr"] * (3 * len(names))])
    writer.writerow(["bodyparts", *[name for name in names for _ in range(3)]])
    writer.writerow(["coords", *["x", "y", "visible"] * len(names)])
    for one in readable:
        writer.writerow([one.picture, *[cell for name in names for cell in _cells(one.points.get(name))]])
    return {path: text.getvalue().encode()}


def _cells(point: Point | None) -> list[object]:
    return ["", "", 0] if point is None or point.v == ABSENT else [point.x, point.y, point.v]
