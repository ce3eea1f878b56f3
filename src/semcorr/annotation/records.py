"""What annotation reads and writes: named points of one object in one picture."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from semcorr.data.pairs import Box
from semcorr.errors import DataError
from semcorr.geometry import Size
from semcorr.image import picture_size

_SIDE = re.compile(r"(?i:left|right)|(?<![A-Za-z])[lrLR](?![A-Za-z])|(?<=[a-z])[LR]$|^[LR](?=[A-Z])")
_SIDES = ("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT"), ("l", "r"), ("L", "R")
_OPPOSITE = {a: b for pair in _SIDES for a, b in (pair, pair[::-1])}

SURE, UNSURE, ABSENT = 2, 1, 0
"""COCO's ``v``: a label to rely on; one that is unsure or hidden; none."""


@dataclass(frozen=True)
class Point:
    """A labelled point.

    Attributes:
        x: Pixels from the left edge of the picture, 0 the outer edge of its first column.
        y: Pixels from the top edge.
        v: `SURE`, `UNSURE` or `ABSENT`; an absent point has no position (0, 0).
        confidence: Estimated probability that the position is right, 0 to 1; 1 for a person's label.
        visibility: Estimated probability that the point is in the picture at all, 0 to 1.
    """

    x: float
    y: float
    v: int = SURE
    confidence: float = 1.0
    visibility: float = 1.0


@dataclass(frozen=True)
class Annotation:
    """The labels of one object in one picture.

    Attributes:
        picture: The picture's path with forward slashes, relative to the folder of the pictures.
        size: Height and width in pixels; None where the file it was read from does not say.
        points: Name to point, in the order of the names; absent points are listed too.
        box: The object's box (left, top, right, bottom) in pixels, if one was given.
        category: What the object is.
        confirmed: Whether a person made or confirmed the labels.
        exemplar: The exemplar with the largest say in the labels; empty for a person's labels.
        similarity: How much the picture resembles its most similar exemplar, 0 to 1.
        model: Name and version of the model that made the labels; empty for a person's labels.
        error: Why the picture could not be labelled; such an annotation has no points.
    """

    picture: str
    size: Size | None
    points: dict[str, Point] = field(default_factory=dict)
    box: Box | None = None
    category: str = "object"
    confirmed: bool = False
    exemplar: str = ""
    similarity: float = 1.0
    model: str = ""
    error: str = ""

    @property
    def labelled(self) -> dict[str, Point]:
        """The points that have a label."""
        return {name: point for name, point in self.points.items() if point.v != ABSENT}

    @property
    def score(self) -> float:
        """Mean confidence of the labelled points, 0 to 1; 0 where there are none."""
        labelled = self.labelled.values()
        return sum(point.confidence for point in labelled) / len(labelled) if labelled else 0.0

    @property
    def bounds(self) -> Box | None:
        """The box, or else the extent of the labelled points; None where there is neither."""
        if self.box is not None or not self.labelled:
            return self.box
        x, y = zip(*((point.x, point.y) for point in self.labelled.values()), strict=True)
        return min(x), min(y), max(x), max(y)

    @property
    def digest(self) -> str:
        """Eight characters that change when a point is moved, added, removed or given another ``v``."""
        text = ";".join(f"{name},{p.x:.2f},{p.y:.2f},{p.v}" for name, p in self.labelled.items())
        return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]


def names_of(annotations: Iterable[Annotation]) -> list[str]:
    """Return the names of all points, in the order of their first appearance."""
    return list(dict.fromkeys(name for annotation in annotations for name in annotation.points))


def swapped_names(names: Sequence[str]) -> list[int]:
    """Return for each name the index of its counterpart when the picture is mirrored: left for right.

    >>> swapped_names(["nose", "left_ear", "right_ear", "tailL", "tailR"])
    [0, 2, 1, 4, 3]
    """
    return [_counterpart(name, names) for name in names]


def _counterpart(name: str, names: Sequence[str]) -> int:
    other = _SIDE.sub(lambda side: _OPPOSITE.get(side[0], side[0]), name)
    return names.index(other if other in names else name)


def find_picture(picture: str, beside: Path, images: Path | None = None) -> Path:
    """Return the path of a picture that an annotation file names.

    A path of another computer counts as its last part alone, unless it leads somewhere on this one.

    Args:
        picture: The name in the file; backslashes separate folders too.
        beside: The annotation file, or the folder that holds several.
        images: A folder to look in first.

    Raises:
        DataError: If it is in none of them; the message names the folders.
    """
    named = picture.replace("\\", "/").replace("\0", "")
    home = beside if beside.is_dir() else beside.parent
    # the third parent: DeepLabCut's paths start at the project, its files lie in labeled-data/video
    folders = [*([images] if images else []), home, home / "images", home.parent / "images", home.parent.parent]
    for name in (named, PurePosixPath(named).name):
        for folder in folders:
            with suppress(OSError):  # a name that is too long
                if name and (folder / name).is_file():
                    return folder / name
    looked = ", ".join(dict.fromkeys(str(folder) for folder in folders[:3]))
    raise DataError(f"{beside}: picture {picture[:80]!r} is not in {looked}; name its folder with --images")


def with_size(annotation: Annotation, path: Path) -> Annotation:
    """Return the annotation with the size that the picture at ``path`` has.

    Raises:
        ImageError: If it is no picture.
        FileNotFoundError: If it is missing.
    """
    return replace(annotation, size=picture_size(path))


def check_unique(annotations: Sequence[Annotation], title: str) -> None:
    """Refuse several objects in one picture, for formats that cannot hold them.

    Raises:
        DataError: If a picture has two annotations.
    """
    seen: set[str] = set()
    for annotation in annotations:
        if annotation.picture in seen:
            raise DataError(
                f"{title} holds one object per picture, and {annotation.picture} has several; write COCO, Labelme, "
                "YOLO or a table"
            )
        seen.add(annotation.picture)
