"""Any COCO-keypoints file (AP-10K among them): pairs drawn within a category under a seed, or listed.

The file holds ``images`` (``id``, ``file_name``, ``width``, ``height``), ``categories`` (``id``, ``name``,
``keypoints``: names) and ``annotations`` (``image_id``, ``category_id``, ``bbox`` as left, top, width and
height, ``keypoints`` as x, y and visibility for every name; visibility 0 is a point that was not annotated).
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from semcorr.data.pairs import Pair, PairSet, Photo, draw_pairs, gather, make_pair
from semcorr.data.pictures import Sizes
from semcorr.data.records import MAX_SIDE, Record, as_record, read_list, read_record, shorten
from semcorr.errors import DataError


def load_coco(
    annotations: Path | str,
    images: Path | str,
    pairs: Path | str | None = None,
    *,
    count: int = 1000,
    seed: int = 0,
    min_shared: int = 3,
    skip_broken: bool = False,
) -> PairSet:
    """Load pairs from a COCO-keypoints file. The usual threshold is the target's box.

    Args:
        annotations: the COCO file.
        images: the folder that its file names refer to.
        pairs: a JSON list of ``[source file name, target file name]``. Without it, pairs are drawn.
        count: how many pairs to draw.
        seed: of the draw.
        min_shared: how many keypoints a drawn pair must share.
        skip_broken: leave out and count what is malformed instead of raising.
    """
    skipped: list[DataError] | None = [] if skip_broken else None
    photos = load_coco_photos(annotations, images, skipped)
    name = f"coco {Path(annotations).stem}"
    if pairs is None:
        return PairSet(name, draw_pairs(photos, count, seed, min_shared), skipped or [])
    by_name = {photo.path.relative_to(images).as_posix(): photo for photo in photos}

    def read(numbered: tuple[int, object]) -> Pair:
        where = f"{pairs} entry {numbered[0]}"
        names = numbered[1]
        if not isinstance(names, list) or len(names) != 2:
            raise DataError(f"{where}: must be [source file, target file], got {shorten(names)}")
        for file, field in zip(names, ("source", "target"), strict=True):
            if not isinstance(file, str) or file not in by_name:
                reason = f"names no photograph of one object: {shorten(file)}"
                raise DataError(f"{where}: field '{field}' {reason}")
        return make_pair(by_name[names[0]], by_name[names[1]], {}, where)

    return PairSet(name, gather(enumerate(read_list(Path(pairs))), read, skipped), skipped or [])


def load_coco_photos(
    annotations: Path | str,
    images: Path | str,
    skipped: list[DataError] | None = None,
    *,
    several: bool = False,
    check: bool = True,
) -> list[Photo]:
    """Load the photographs of a COCO file that show one annotated object.

    Where a picture shows two, nothing says in which of them a point is to be found: such pictures are left
    out, and so are crowds and objects without an annotated keypoint. That is no error, nor counted as one.

    Args:
        annotations: the COCO file.
        images: the folder that its file names refer to.
        skipped: with a list, broken entries are left out and their errors added to it; without, they raise.
        several: give every object of a picture with several, too: for protocols that crop each to its box.
        check: make sure that each picture exists and has the annotated size.
    """
    annotations, sizes = Path(annotations), Sizes() if check else None
    root = read_record(annotations)

    def table(field: str) -> dict[object, Record]:
        records = [as_record(v, f"{annotations} {field}[{i}]") for i, v in enumerate(root.sequence(field))]
        return {_key(record, "id"): record for record in records}

    pictures, categories = table("images"), table("categories")
    objects = [
        as_record(value, f"{annotations} annotations[{index}]")
        for index, value in enumerate(root.sequence("annotations"))
    ]
    objects_in = Counter(shorten(record.values.get("image_id")) for record in objects)
    alone = [
        record
        for record in objects
        if (several or objects_in[shorten(record.values.get("image_id"))] == 1)
        and not record.values.get("iscrowd")
        and record.values.get("num_keypoints") != 0
    ]

    def read(record: Record) -> Photo | None:
        picture = _linked(record, "image_id", pictures)
        return _photo(record, picture, _linked(record, "category_id", categories), Path(images), sizes)

    return [photo for photo in gather(alone, read, skipped) if photo is not None]


def _key(record: Record, field: str) -> int | str:
    value = record.value(field)
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        record.fail(field, f"must be a number or a name, got {shorten(value)}")
    return value


def _linked(record: Record, field: str, table: dict[object, Record]) -> Record:
    key = _key(record, field)
    if key not in table:
        record.fail(field, f"refers to an entry that does not exist: {shorten(key)}")
    return table[key]


def _photo(record: Record, picture: Record, category: Record, images: Path, sizes: Sizes | None) -> Photo | None:
    size = picture.integer("height", 1, MAX_SIDE), picture.integer("width", 1, MAX_SIDE)
    names = category.sequence("keypoints")
    values = record.sequence("keypoints", 3 * len(names))
    keypoints = {}
    for index, name in enumerate(names):
        x, y, visibility = record.numbers(f"keypoints[{name}]", values[3 * index : 3 * index + 3], 3)
        if visibility > 0:
            keypoints[str(name)] = record.point(f"keypoints[{name}]", [x, y], size)
    if not keypoints:
        return None
    bbox = None
    if record.values.get("bbox") is not None:
        left, top, width, height = record.numbers("bbox", record.value("bbox"), 4)
        bbox = record.box("bbox", [left, top, left + width, top + height], size)
    path = images / picture.inside("file_name") if sizes is None else picture.picture("file_name", images, size, sizes)
    return Photo(path, size, keypoints, bbox, category.text("name"))
