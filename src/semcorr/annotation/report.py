"""One page of labelled pictures, the least certain first: what to check before the labels are used."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semcorr.annotation.exemplars import crop
from semcorr.annotation.pictures import Pictures, Target
from semcorr.annotation.records import ABSENT, SURE, UNSURE, Annotation, names_of
from semcorr.errors import DataError, SemcorrError, need_extra

SHEET = 12
"""Pictures on a sheet."""

SHEETS = 20
"""Sheets on the page, and of pictures that resemble no exemplar: further pictures are counted, not shown."""

SIDE = 300
"""Longer side of a picture on the page, in pixels."""

UNLIKE = 0.5
"""A picture less similar than this to every exemplar is listed apart.

Of the thresholds that ``benchmarks/resemblance.py`` prints, the one with the highest balanced accuracy on validation
photographs: pictures of the exemplar's category on one side, of other categories on the other.
"""

_MARGIN = 0.4  # of a box, around the object


def check_report(path: Path, inputs: Sequence[Path], overwrite: bool, goes_on: bool) -> None:
    """Refuse a page that could not be written at the end, before any work is done.

    Args:
        path: Where it will be written.
        inputs: Files that the run reads.
        overwrite: Whether the user asked to replace existing files.
        goes_on: Whether the run goes on with one that was interrupted, perhaps while it wrote the page.

    Raises:
        DataError: If its name does not end in .html, it exists or is an input, or its folder does not exist.
        SemcorrError: If Jinja is not installed.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise DataError(f"--report writes a page, and {path.name!r} does not end in .html")
    need_extra("annotate", "jinja2")
    if path.resolve() in {one.resolve() for one in inputs}:
        raise DataError(f"{path} is an input, which is never written over; choose another --report")
    if path.exists() and not overwrite and not goes_on:
        raise DataError(f"{path} exists; choose another --report, or replace it with --overwrite")
    if not path.parent.is_dir():
        raise DataError(f"{path.parent} is no folder; create it, or choose another --report")


def render_report(annotations: Sequence[Annotation], pictures: Pictures, exemplars: int) -> bytes:
    """Return the page: one HTML file that needs nothing but itself.

    Args:
        annotations: The labels of a run.
        pictures: The pictures that they belong to.
        exemplars: How many exemplars the labels come from.

    Raises:
        SemcorrError: If Jinja is not installed.
    """
    need_extra("annotate", "jinja2")
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("semcorr.annotation", "."), autoescape=True, trim_blocks=True)
    return environment.get_template("report.html.j2").render(contents(annotations, pictures, exemplars)).encode()


def contents(annotations: Sequence[Annotation], pictures: Pictures, exemplars: int) -> dict[str, Any]:
    """Return what the page shows; pictures that are gone since are left out."""
    labelled = [one for one in annotations if not one.error and not one.confirmed]
    unlike = sorted((one for one in labelled if one.similarity < UNLIKE), key=lambda one: (one.similarity, one.picture))
    alike = sorted((one for one in labelled if one.similarity >= UNLIKE), key=lambda one: (one.score, one.picture))
    names = names_of(annotations)
    colours = {name: f"hsl({round(360 * i * 0.618) % 360} 90% {55 + 10 * (i % 2)}%)" for i, name in enumerate(names)}
    shown = [*alike[: SHEET * SHEETS], *unlike[: SHEET * SHEETS]]
    loaded = _load(shown, pictures)
    figures = {id(one): _figure(one, loaded[id(one)], colours) for one in shown if id(one) in loaded}

    def sheets(chosen: Sequence[Annotation]) -> list[list[dict[str, Any]]]:
        drawn = [figures[id(one)] for one in chosen if id(one) in figures]
        return [drawn[i : i + SHEET] for i in range(0, len(drawn), SHEET)]

    return {
        "counts": {v: sum(p.v == v for one in labelled for p in one.points.values()) for v in (SURE, UNSURE, ABSENT)},
        "objects": len(labelled),
        "confirmed": sum(one.confirmed for one in annotations),
        "exemplars": exemplars,
        "model": next((one.model for one in labelled), ""),
        "points": [_row(name, labelled, colours[name]) for name in names],
        "sheets": sheets(alike[: SHEET * SHEETS]),
        "more": max(0, len(alike) - SHEET * SHEETS),
        "unlike": sheets(unlike[: SHEET * SHEETS]),
        "unlike_count": len(unlike),
        "unreadable": [{"picture": one.picture, "error": one.error} for one in annotations if one.error],
    }


def _row(name: str, annotations: Sequence[Annotation], colour: str) -> dict[str, Any]:
    points = [one.points[name] for one in annotations if name in one.points]
    counts = {v: sum(point.v == v for point in points) for v in (SURE, UNSURE, ABSENT)}
    mean = sum(point.confidence for point in points) / max(1, len(points))
    return {"name": name, "colour": colour, "counts": counts, "confidence": f"{mean:.2f}"}


def _load(annotations: Sequence[Annotation], pictures: Pictures) -> dict[int, NDArray[np.uint8]]:
    """Return the small pictures to show, by the annotations' identity; those that are gone are left out."""
    wanted: dict[str, list[Annotation]] = {}
    for one in annotations:
        wanted.setdefault(one.picture, []).append(one)
    files = dict(pictures.files)
    targets = pictures if pictures.shards else [Target(name, files[name]) for name in wanted if name in files]
    images: dict[int, NDArray[np.uint8]] = {}
    for target in targets:
        for one in wanted.pop(target.picture, []):
            try:
                image = target.load()
            except (SemcorrError, OSError):
                continue
            part = crop(image, one.box, _MARGIN)[0] if one.box else image
            scale = SIDE / max(part.shape[:2])
            size = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
            images[id(one)] = np.asarray(Image.fromarray(part).resize(size, Image.Resampling.LANCZOS))
    return images


def _figure(annotation: Annotation, image: NDArray[np.uint8], colours: dict[str, str]) -> dict[str, Any]:
    height, width = annotation.size or (1, 1)
    left, top, scale = 0.0, 0.0, SIDE / max(height, width)
    if annotation.box is not None:
        blank = np.zeros((height, width, 3), np.uint8)
        part, (left, top) = crop(blank, annotation.box, _MARGIN)
        scale = SIDE / max(part.shape[:2])
    data = io.BytesIO()
    Image.fromarray(image).save(data, "JPEG", quality=80)
    return {
        "picture": annotation.picture,
        "data": base64.b64encode(data.getvalue()).decode(),
        "width": image.shape[1],
        "height": image.shape[0],
        "score": f"{annotation.score:.2f}",
        "similarity": f"{annotation.similarity:.2f}",
        "exemplar": annotation.exemplar,
        "points": [
            {
                "name": name,
                "colour": colours[name],
                "sure": point.v == SURE,
                "x": round((point.x - left) * scale, 1),
                "y": round((point.y - top) * scale, 1),
                "confidence": f"{point.confidence:.2f}",
            }
            for name, point in annotation.labelled.items()
        ],
        "absent": [{"name": name, "colour": colours[name]} for name, p in annotation.points.items() if p.v == ABSENT],
    }
