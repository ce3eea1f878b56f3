"""TPS of tpsDig and tpsUtil: for each picture ``LM=`` and the landmarks, y counted from the bottom.

Landmarks have numbers, not names: they are called 1, 2, 3 … A missing one is a pair of negative numbers, which
geomorph reads as missing with ``negNA = TRUE``. Curves, outlines and scales are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from semcorr.annotation.records import ABSENT, Annotation, Point, check_unique, find_picture, names_of, with_size
from semcorr.data.records import read_text, shorten
from semcorr.errors import DataError

_MOST_DIGITS = 5


def read(path: Path, images: Path | None = None) -> list[Annotation]:
    """Read every specimen. The pictures must be there: without their height, y cannot be counted from the top."""
    specimens: list[tuple[str, list[tuple[float, float]]]] = []
    lines = [(number, line.strip()) for number, line in enumerate(read_text(path).splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line]
    landmarks: list[tuple[float, float]] | None = None
    position = 0
    while position < len(lines):
        number, line = lines[position]
        key, _, value = line.partition("=")
        position += 1
        if key.strip().upper() == "LM":
            count = _count(value, f"{path}, line {number}")
            landmarks = [_landmark(text, f"{path}, line {at}") for at, text in lines[position : position + count]]
            if len(landmarks) < count:
                raise DataError(f"{path}, line {number}: LM={count}, but the file ends after {len(landmarks)}")
            position += count
        elif key.strip().upper() == "IMAGE" and landmarks is not None:
            specimens.append((value.strip(), landmarks))
            landmarks = None
    if not specimens:
        raise DataError(f"{path} holds no specimen with LM= and IMAGE=; is it a file of tpsDig?")
    return [_specimen(picture, points, path, images) for picture, points in specimens]


def _count(text: str, where: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        raise DataError(f"{where}: LM= must be followed by the number of landmarks, got {shorten(text)}")
    return int(text)


def _landmark(text: str, where: str) -> tuple[float, float]:
    try:
        x, y = (float(part) for part in text.replace(",", ".").split())
    except ValueError:
        raise DataError(f"{where}: a landmark is two numbers x y, got {shorten(text)}") from None
    if not (math.isfinite(x) and math.isfinite(y) and max(abs(x), abs(y)) < 1e6):
        raise DataError(f"{where}: a landmark must be in pixels, got {shorten(text)}")
    return x, y


def _specimen(picture: str, landmarks: list[tuple[float, float]], path: Path, images: Path | None) -> Annotation:
    if not picture:
        raise DataError(f"{path}: IMAGE= names no picture")
    file = find_picture(picture, path, images)
    base = images or path.parent
    name = file.relative_to(base).as_posix() if file.is_relative_to(base) else file.name
    annotation = with_size(Annotation(name, None, confirmed=True), file)
    height = annotation.size[0] if annotation.size else 0
    points = {
        str(i): Point(0, 0, ABSENT) if x < 0 and y < 0 else Point(x, round(height - y, 5))
        for i, (x, y) in enumerate(landmarks, 1)
    }
    return Annotation(name, annotation.size, points, confirmed=True)


def render(annotations: Sequence[Annotation], path: Path, images: Path | None = None) -> dict[Path, bytes]:
    """Return the file; landmarks stand in the order of the names."""
    readable = [one for one in annotations if not one.error]
    check_unique(readable, "TPS")
    names = names_of(readable)
    text = []
    for number, one in enumerate(readable):
        if one.size is None or not one.picture.isprintable():
            raise DataError(f"{one.picture!r} cannot be written to a TPS file; rename the picture")
        text.append(f"LM={len(names)}")
        for name in names:
            point = one.points.get(name, Point(0, 0, ABSENT))
            text.append("-1.00000 -1.00000" if point.v == ABSENT else f"{point.x:.5f} {one.size[0] - point.y:.5f}")
        text += [f"IMAGE={one.picture}", f"ID={number}"]
    return {path: "".join(f"{line}\n" for line in text).encode()}
