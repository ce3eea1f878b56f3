"""Any COCO-keypoints file (AP-10K among them): pairs drawn at random within a category, or listed in a file.

The file has ``images`` (``id``, ``file_name``, ``width``, ``height``), ``categories`` (``id``, ``name``,
``keypoints``: names) and ``annotations`` (``image_id``, ``category_id``, ``bbox`` as left, top, width and height,
``keypoints`` as x, y and visibility for every name; visibility 0 stands for a point that was not labelled, whatever its
coordinates).

Sizes may be missing: then they are read from the pictures. So may boxes, and boxes without an area count as missing. Of
several objects in a picture, the one with the largest box is taken. Objects without labelled keypoints are left out,
and counted in `PairSet.left_out`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from semcorr.data.pairs import Pair, PairSet, Photo, draw_pairs, gather, make_pair
from semcorr.data.pictures import Sizes
from semcorr.data.records import Record, as_record, read_list, read_record, shorten
from semcorr.errors import DataError
from semcorr.files import local_path

Key = int | str


class _Object(NamedTuple):
    """An annotation that can be used, with the entries that it refers to."""

    record: Record
    picture: Record
    category: Record
    names: list[str]


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
    """Load pairs from a COCO-keypoints file. Usually, α is a fraction of the longer side of the target's box.

    Args:
        annotations: The COCO file.
        images: The folder of its pictures.
        pairs: A JSON list of ``[source file name, target file name]``. Without it, pairs are drawn.
        count: How many pairs to draw.
        seed: The random seed.
        min_shared: How many keypoints the photographs of a drawn pair must share.
        skip_broken: Leave out and count broken entries, instead of raising.
    """
    skipped: list[DataError] | None = [] if skip_broken else None
    left_out: Counter[str] = Counter()
    photos = load_coco_photos(annotations, images, skipped, left_out)
    name = f"coco {Path(annotations).stem}"
    if pairs is None:
        return PairSet(name, draw_pairs(photos, count, seed, min_shared), skipped or [], dict(left_out))
    by_name = {photo.path.relative_to(local_path(images)).as_posix(): photo for photo in photos}

    def read(numbered: tuple[int, object]) -> Pair:
        where = f"{pairs} entry {numbered[0]}"
        names = numbered[1]
        if not isinstance(names, list) or len(names) != 2:
            raise DataError(f"{where}: must be [source file, target file], got {shorten(names)}")
        for file, field in zip(names, ("source", "target"), strict=True):
            if not isinstance(file, str) or file not in by_name:
                raise DataError(f"{where}: field '{field}' is not a photograph with keypoints: {shorten(file)}")
        return make_pair(by_name[names[0]], by_name[names[1]], {}, where)

    listed = gather(enumerate(read_list(Path(pairs))), read, skipped)
    return PairSet(name, listed, skipped or [], dict(left_out))


def load_coco_photos(
    annotations: Path | str,
    images: Path | str,
    skipped: list[DataError] | None = None,
    left_out: Counter[str] | None = None,
    *,
    several: bool = False,
    check: bool = True,
) -> list[Photo]:
    """Load the photographs of a COCO file, each with one object.

    Args:
        annotations: The COCO file.
        images: The folder of its pictures.
        skipped: If given, broken entries are left out and their errors appended to it.
        left_out: If given, the numbers of other objects that were left out are added to it, by reason.
        several: Return all objects of a picture, for protocols that crop each to its box.
        check: Make sure that each picture exists and has the annotated size.

    Raises:
        DataError: If the file cannot be read, an id or a keypoint name is ambiguous, or, without ``skipped``, an entry
            is broken.
    """
    path, folder, sizes = local_path(annotations), local_path(images), Sizes() if check else None
    root = read_record(path)
    left_out = Counter() if left_out is None else left_out
    pictures, categories = _by_id(root, "images"), _by_id(root, "categories")
    names = {key: _keypoint_names(category) for key, category in categories.items()}

    def read(numbered: tuple[int, object]) -> _Object | None:
        record = as_record(numbered[1], f"{path} annotations[{numbered[0]}]")
        reason = _unusable(record, categories, names)
        if reason is not None:
            left_out[reason] += 1
            return None
        category = _linked(record, "category_id", categories)
        labels = names[_key(record, "category_id")]
        if not labels:
            category.fail("keypoints", "is missing")
        return _Object(record, _linked(record, "image_id", pictures), category, labels)

    by_picture: dict[Key, list[_Object]] = {}
    for item in gather(enumerate(root.sequence("annotations")), read, skipped):
        if item is not None:
            by_picture.setdefault(_key(item.record, "image_id"), []).append(item)

    def photograph(objects: list[_Object]) -> list[Photo]:
        photos = [photo for item in objects if (photo := _photo(item, folder, sizes)) is not None]
        left_out["objects without labelled keypoints"] += len(objects) - len(photos)
        return photos if several else _largest(photos, left_out)

    photos = gather(by_picture.values(), photograph, skipped)
    for reason in [reason for reason, count in left_out.items() if not count]:
        del left_out[reason]
    return [photo for members in photos for photo in members]


def _unusable(record: Record, categories: dict[Key, Record], names: dict[Key, list[str]]) -> str | None:
    """Return what an annotation is that has no keypoints to use, or None if it has some."""
    if record.values.get("iscrowd"):
        return "objects that are crowds"
    _linked(record, "category_id", categories)
    if not names[_key(record, "category_id")] and not record.values.get("keypoints"):
        return "objects of categories without keypoints"
    if record.values.get("num_keypoints") == 0 or not record.values.get("keypoints"):
        return "objects without labelled keypoints"
    return None


def _by_id(root: Record, field: str) -> dict[Key, Record]:
    table: dict[Key, Record] = {}
    for index, value in enumerate(root.sequence(field)):
        record = as_record(value, f"{root.where} {field}[{index}]")
        key = _key(record, "id")
        if key in table and table[key].values != record.values:
            record.fail("id", f"{shorten(key)} is also the id of {table[key].where.removeprefix(root.where).strip()}")
        table[key] = record
    return table


def _keypoint_names(category: Record) -> list[str]:
    """Return the names of a category's keypoints; a category of boxes has none."""
    if category.values.get("keypoints") is None:
        return []
    names = [str(name) for name in category.sequence("keypoints")]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        category.fail("keypoints", f"contains {shorten(twice[0])} twice")
    return names


def _key(record: Record, field: str) -> Key:
    value = record.value(field)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        record.fail(field, f"must be an integer or a string, got {shorten(value)}")
    return value


def _linked(record: Record, field: str, table: dict[Key, Record]) -> Record:
    key = _key(record, field)
    if key not in table:
        record.fail(field, f"refers to an entry that does not exist: {shorten(key)}")
    return table[key]


def _photo(item: _Object, images: Path, sizes: Sizes | None) -> Photo | None:
    """Return the photograph of an object, or None if no keypoint is labelled."""
    record, picture = item.record, item.picture
    if sizes is None:
        path, size = images / picture.inside("file_name"), picture.size() or picture.fail("width", "is missing")
    else:
        path = picture.picture("file_name", images, picture.size(), sizes)
        size = sizes(path, picture.where)
    values = record.sequence("keypoints", 3 * len(item.names))
    keypoints = {}
    for index, name in enumerate(item.names):
        field, (x, y, visibility) = f"keypoints[{name}]", values[3 * index : 3 * index + 3]
        if record.numbers(field, [visibility], 1)[0] > 0:
            keypoints[name] = record.point(field, [x, y], size)
    if not keypoints:
        return None
    bbox = record.box("bbox", size, as_width_and_height=True)
    return Photo(path, size, keypoints, bbox, item.category.text("name"))


def _largest(photos: list[Photo], left_out: Counter[str]) -> list[Photo]:
    """Choose the photograph's object with the largest box; several without such a box are left out."""
    if len(photos) < 2:
        return photos
    areas = [0.0 if p.bbox is None else (p.bbox[2] - p.bbox[0]) * (p.bbox[3] - p.bbox[1]) for p in photos]
    largest = max(areas)
    if areas.count(largest) > 1 or not all(photo.bbox for photo in photos):
        left_out["objects of pictures with several, none of which has the largest box"] += len(photos)
        return []
    left_out["objects in pictures with a larger one"] += len(photos) - 1
    return [photos[areas.index(largest)]]
