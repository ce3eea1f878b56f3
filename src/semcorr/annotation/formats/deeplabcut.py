"""DeepLabCut: ``CollectedData_SCORER.csv``, and the same table as HDF5, which is what DeepLabCut itself trains from.

The header has the rows scorer, bodyparts and coords (with several animals also individuals); a row's index is
``labeled-data``, the video's folder and the file. A frame that no such folder stands for gets the name of the picture's
own folder. An absent point is an empty cell; v and confidence have no place in the format.

Of the two, only the CSV is read: HDF5 of this kind holds pickles, which may run any program.
"""

from __future__ import annotations

import csv
import io
import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from semcorr.annotation.records import ABSENT, SURE, UNSURE, Annotation, Point, check_unique, names_of
from semcorr.data.records import read_text
from semcorr.errors import DataError

_LIMIT = 1e6
"""No coordinate is larger, in pixels."""


def read(path: Path, images: Path | None = None) -> list[Annotation]:
    """Read the CSV file; of an HDF5 file, the CSV file beside it."""
    if path.suffix.lower() == ".h5":
        beside = path.with_suffix(".csv")
        if not beside.exists():
            raise DataError(
                f"{path} may run programs when it is read; give the CSV file that DeepLabCut writes with it"
            )
        path = beside
    try:
        rows = [row for row in csv.reader(io.StringIO(read_text(path))) if any(row)]
    except csv.Error as error:
        raise DataError(f"{path} is not a CSV file: {error}") from None
    header = {row[0].strip(): row for row in rows[:4] if row[0].strip() in _HEADER}
    if "bodyparts" not in header or "coords" not in header:
        raise DataError(f"{path}: the first rows must be scorer, bodyparts and coords, as DeepLabCut writes them")
    first = _first_column(header["bodyparts"])
    columns = list(_columns(header, first, path))
    return [annotation for row in rows[len(header) :] for annotation in _read_row(row, columns, first, path)]


_HEADER = ("scorer", "individuals", "bodyparts", "coords")


def _first_column(bodyparts: list[str]) -> int:
    """Return how many columns are the row's index: one, or three as DeepLabCut writes since 2.2."""
    return next((i for i, name in enumerate(bodyparts) if i and name.strip()), len(bodyparts))


def _columns(header: dict[str, list[str]], first: int, path: Path) -> Iterator[tuple[str, str, str]]:
    width = len(header["coords"])
    individuals = header.get("individuals", [""] * width)
    if not len(header["bodyparts"]) == len(individuals) == width:
        raise DataError(f"{path}: the rows of the header differ in length")
    for column in range(first, width):
        yield individuals[column].strip(), header["bodyparts"][column].strip(), header["coords"][column].strip()


def _read_row(row: list[str], columns: list[tuple[str, str, str]], first: int, path: Path) -> list[Annotation]:
    picture = "/".join(part for part in row[:first] if part)
    if not picture:
        raise DataError(f"{path}: a row names no picture")
    values: dict[str, dict[str, dict[str, float]]] = {}
    for (individual, bodypart, coordinate), cell in zip(columns, row[first:], strict=False):
        number = _number(cell, f"{path}, {picture}, {bodypart} {coordinate}")
        values.setdefault(individual, {}).setdefault(bodypart, {})[coordinate] = number
    annotations = []
    for parts in values.values():
        points = {name: _point(coordinates, f"{path}, {picture}, {name}") for name, coordinates in parts.items()}
        if len(values) == 1 or any(point.v for point in points.values()):
            annotations.append(Annotation(picture, None, points, confirmed=True))
    return annotations


def _point(values: dict[str, float], where: str) -> Point:
    x, y = values.get("x", math.nan), values.get("y", math.nan)
    v = values.get("visible", float(SURE))
    if not math.isnan(v) and v not in (ABSENT, UNSURE, SURE):
        raise DataError(f"{where}: visible must be 0, 1 or 2, got {v:g}")
    if math.isnan(x) or math.isnan(y) or v == ABSENT:
        return Point(0, 0, ABSENT)
    confidence = values.get("likelihood", 1.0)
    return Point(x, y, SURE if math.isnan(v) else int(v), 1.0 if math.isnan(confidence) else confidence)


def _number(cell: str, where: str) -> float:
    try:
        value = float(cell) if cell.strip() else math.nan
    except ValueError:
        raise DataError(f"{where} must be a number or empty, got {cell[:40]!r}") from None
    if math.isinf(value) or abs(value) > _LIMIT:
        raise DataError(f"{where} must be a position in pixels, got {cell[:40]!r}")
    return value


def render(annotations: Sequence[Annotation], path: Path, images: Path | None = None) -> dict[Path, bytes]:
    """Return both files; the scorer is what follows ``CollectedData_`` in the name."""
    readable = [one for one in annotations if not one.error]
    check_unique(readable, "DeepLabCut with a single animal")
    scorer = path.stem.removeprefix("CollectedData_") if path.stem.startswith("CollectedData_") else "semcorr"
    names = names_of(readable)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["scorer", "", "", *[scorer] * (2 * len(names))])
    writer.writerow(["bodyparts", "", "", *[name for name in names for _ in "xy"]])
    writer.writerow(["coords", "", "", *["x", "y"] * len(names)])
    indices = [_index(one.picture, path, images) for one in readable]
    values = [[_xy(one.points.get(name)) for name in names] for one in readable]
    for index, row in zip(indices, values, strict=True):
        writer.writerow([*index, *["" if math.isnan(value) else value for pair in row for value in pair]])
    table = _hdf(indices, [[value for pair in row for value in pair] for row in values], names, scorer)
    return {path.with_suffix(".csv"): text.getvalue().encode(), path.with_suffix(".h5"): table}


def _xy(point: Point | None) -> tuple[float, float]:
    return (math.nan, math.nan) if point is None or point.v == ABSENT else (point.x, point.y)


def _index(picture: str, path: Path, images: Path | None) -> tuple[str, str, str]:
    parts = PurePosixPath(picture).parts
    if len(parts) == 3 and parts[0] == "labeled-data":
        return parts[0], parts[1], parts[2]
    if len(parts) > 2:
        raise DataError(f"DeepLabCut has one folder per video, and {picture} lies deeper; give one folder at a time")
    folder = parts[0] if len(parts) == 2 else (images.resolve().name if images else path.resolve().parent.name)
    return "labeled-data", folder, parts[-1]


def _hdf(indices: list[tuple[str, str, str]], values: list[list[float]], names: list[str], scorer: str) -> bytes:
    import pandas as pd

    columns = pd.MultiIndex.from_product([[scorer], names, ["x", "y"]], names=["scorer", "bodyparts", "coords"])
    index = pd.MultiIndex.from_tuples(indices) if indices else None
    frame = pd.DataFrame(values, columns=columns, index=index, dtype=float)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "table.h5"
        frame.to_hdf(file, key="df_with_missing", mode="w")
        return file.read_bytes()
