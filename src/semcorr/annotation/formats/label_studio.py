"""Label Studio tasks: keypoints as predictions to import, or as the annotations that a project exports.

Beside the tasks, ``FILE.xml`` holds the labelling interface to paste into the project's settings. Pictures are named
as local files (``/data/local-files/?d=…``), relative to the server's document root. Label Studio counts positions in
per cent of the picture.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, unquote
from xml.sax.saxutils import quoteattr

from semcorr.annotation.formats.extras import extras, restore
from semcorr.annotation.records import SURE, UNSURE, Annotation, Point, names_of
from semcorr.data.pairs import Box
from semcorr.data.records import MAX_SIDE, Record, as_record, read_list
from semcorr.errors import DataError
from semcorr.geometry import Size

_LOCAL = "/data/local-files/?d="


def read(path: Path, images: Path | None = None) -> list[Annotation]:
    """Read the first annotation of each task, or its first prediction where nobody has annotated it."""
    tasks = [as_record(value, f"{path} task {i}") for i, value in enumerate(read_list(path))]
    folder = "" if images is None else f"{images.name}/"
    return [annotation for task in tasks for annotation in _read_task(task, folder)]


def _read_task(task: Record, folder: str) -> list[Annotation]:
    data = as_record(task.value("data"), f"{task.where}: field 'data'")
    url = next((value for value in data.values.values() if isinstance(value, str) and value), None)
    if url is None:
        data.fail("image", "must name the task's picture")
    picture = unquote(url.split("?d=", 1)[-1]).lstrip("/").removeprefix(folder)
    results = [*_results(task, "annotations"), *_results(task, "predictions")]
    if not results:
        return []
    result, by_person = results[0], bool(_results(task, "annotations"))
    regions = [as_record(v, f"{task.where} result[{i}]") for i, v in enumerate(result.sequence("result"))]
    annotation = _annotation(picture, regions)
    extra = Record({"semcorr": None if by_person else data.values.get("semcorr")}, task.where)
    return [] if annotation is None else [restore(annotation, extra)]


def _results(task: Record, kind: str) -> list[Record]:
    values = task.sequence(kind) if task.values.get(kind) is not None else []
    records = [as_record(value, f"{task.where} {kind}[{i}]") for i, value in enumerate(values)]
    return [record for record in records if record.values.get("was_cancelled") is not True]


def _annotation(picture: str, regions: list[Record]) -> Annotation | None:
    points: dict[str, Point] = {}
    box: Box | None = None
    category, size = "object", None
    for region in regions:
        kind = region.values.get("type")
        if kind not in ("keypointlabels", "rectanglelabels"):
            continue
        size = region.integer("original_height", 1, MAX_SIDE), region.integer("original_width", 1, MAX_SIDE)
        value = as_record(region.value("value"), f"{region.where}: field 'value'")
        x, y = value.numbers("x, y", [value.value("x"), value.value("y")])
        name = str(value.sequence(str(kind), 1)[0])
        if kind == "keypointlabels":
            meta = as_record(region.values.get("meta") or {}, f"{region.where}: field 'meta'").values
            v = UNSURE if "unsure" in str(meta.get("text")) else SURE
            points[name] = Point(x * size[1] / 100, y * size[0] / 100, v)
        else:
            width, height = value.numbers("width, height", [value.value("width"), value.value("height")])
            left, top = x * size[1] / 100, y * size[0] / 100
            box, category = (left, top, left + width * size[1] / 100, top + height * size[0] / 100), name
    return None if size is None else Annotation(picture, size, points, box, category)


def render(annotations: Sequence[Annotation], path: Path, images: Path | None = None) -> dict[Path, bytes]:
    """Return the tasks and the labelling interface."""
    readable = [one for one in annotations if not one.error and one.size is not None]
    if len({one.picture for one in readable}) < len(readable):
        raise DataError("Label Studio keypoints hold one object per picture; write COCO, Labelme, YOLO or a table")
    folder = "" if images is None else f"{images.name}/"
    tasks = [_task(one, folder) for one in readable]
    interface = _interface(names_of(readable), sorted({one.category for one in readable if one.box}))
    return {path: json.dumps(tasks).encode(), path.with_suffix(".xml"): interface.encode()}


def _interface(names: Sequence[str], categories: Sequence[str]) -> str:
    # Label Studio itself exports keypoints in the order of model_index, and refuses to without
    labels = "".join(f'    <Label value={quoteattr(name)} model_index="{i}"/>\n' for i, name in enumerate(names))
    boxes = "".join(f"    <Label value={quoteattr(name)}/>\n" for name in categories)
    rectangles = f'  <RectangleLabels name="box" toName="image">\n{boxes}  </RectangleLabels>\n' if boxes else ""
    keypoints = f'  <KeyPointLabels name="keypoints" toName="image">\n{labels}  </KeyPointLabels>\n'
    return f'<View>\n  <Image name="image" value="$image"/>\n{keypoints}{rectangles}</View>\n'


def _task(annotation: Annotation, folder: str) -> dict[str, object]:
    size = annotation.size or (1, 1)
    result = [_keypoint(name, point, size) for name, point in annotation.labelled.items()]
    if annotation.box is not None:
        left, top, right, bottom = annotation.box
        value = _percent(left, top, size) | {
            "width": 100 * (right - left) / size[1],
            "height": 100 * (bottom - top) / size[0],
            "rectanglelabels": [annotation.category],
        }
        result.append(_region("rectanglelabels", "box", value, size))
    prediction = {"result": result, "score": round(annotation.score, 4), "model_version": annotation.model or "person"}
    return {
        "data": {"image": _LOCAL + quote(folder + annotation.picture), "semcorr": extras(annotation)},
        "predictions": [prediction],
    }


def _keypoint(name: str, point: Point, size: Size) -> dict[str, object]:
    value = _percent(point.x, point.y, size) | {"width": 0.6, "keypointlabels": [name]}
    note = {"meta": {"text": ["unsure"]}} if point.v == UNSURE else {}
    return _region("keypointlabels", "keypoints", value, size) | {"score": point.confidence} | note


def _percent(x: float, y: float, size: Size) -> dict[str, object]:
    return {"x": 100 * x / size[1], "y": 100 * y / size[0]}


def _region(kind: str, control: str, value: dict[str, object], size: Size) -> dict[str, object]:
    return {
        "type": kind,
        "from_name": control,
        "to_name": "image",
        "original_width": size[1],
        "original_height": size[0],
        "image_rotation": 0,
        "value": value,
    }
