"""COCO files as people have them: read where nothing has to be guessed, refused by name where it has."""

import copy
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semcorr.data.formats.coco import load_coco, load_coco_photos
from semcorr.errors import DataError

CASES = Path(__file__).resolve().parents[4] / "shared" / "cases" / "coco"

PLAIN = {
    "images": [{"id": i, "file_name": f"{i}.png", "width": 40 + i, "height": 30} for i in range(1, 7)],
    "categories": [{"id": 1, "name": "cat", "keypoints": ["nose", "left_ear", "tail"]}],
    "annotations": [
        {"id": i, "image_id": i, "category_id": 1, "bbox": [2, 2, 20, 20], "num_keypoints": 2, "iscrowd": 0,
         "keypoints": [5 + i, 6, 2, 10, 11 + i, 1, 0, 0, 0]}
        for i in range(1, 7)
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coco")
    (folder / "sub").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (30, 47, 3), np.uint8)
    for i in range(1, 8):
        Image.fromarray(np.ascontiguousarray(noise[:, : 40 + i])).save(folder / f"{i}.png")
        Image.fromarray(np.ascontiguousarray(noise[:, : 40 + i])).save(folder / "sub" / f"{i}.png")
    return folder


def load(images, tmp_path, change, **options):
    content = copy.deepcopy(PLAIN)
    change(content)
    (tmp_path / "coco.json").write_text(json.dumps(content))
    left_out = Counter()
    photos = load_coco_photos(tmp_path / "coco.json", images, left_out=left_out, **options)
    return photos, dict(left_out)


def test_plain(images, tmp_path):
    photos, left_out = load(images, tmp_path, lambda c: None)
    assert [photo.path.name for photo in photos] == [f"{i}.png" for i in range(1, 7)]
    assert photos[0].keypoints == {"nose": (6.0, 6.0), "left_ear": (10.0, 12.0)}
    assert (photos[0].size, photos[0].bbox, photos[0].category, left_out) == ((30, 41), (2, 2, 22, 22), "cat", {})


def clash(c):
    c["images"].append({"id": 1, "file_name": "7.png", "width": 47, "height": 30})


def duplicate_category(c):
    c["categories"].append({"id": 1, "name": "dog", "keypoints": ["nose"]})


def duplicate_name(c):
    c["categories"][0]["keypoints"][2] = "nose"


@pytest.mark.parametrize("skip_broken", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (clash, r"images\[6\]: field 'id' 1 is also the id of images\[0\]"),
        (duplicate_category, r"categories\[1\]: field 'id' 1 is also the id of categories\[0\]"),
        (duplicate_name, r"categories\[0\]: field 'keypoints' contains 'nose' twice"),
    ],
)
def test_what_is_ambiguous_is_refused_by_name(images, tmp_path, change, message, skip_broken):
    with pytest.raises(DataError, match=message):
        load(images, tmp_path, change, skipped=[] if skip_broken else None)


def test_a_key_that_stands_twice_is_refused(images, tmp_path):
    (tmp_path / "coco.json").write_text('{"images": [], "categories": [], "annotations": [], "images": []}')
    with pytest.raises(DataError, match="'images' stands twice"):
        load_coco_photos(tmp_path / "coco.json", images)


def long_ids(c):
    for image, annotation in zip(c["images"], c["annotations"], strict=True):
        image["id"] = annotation["image_id"] = f"{'/a/very/long/folder' * 9}/{image['id']}.png"


def float_ids(c):
    for image in c["images"]:
        image["id"] = float(image["id"])


def nothing_for_0(value):
    def change(c):
        for annotation in c["annotations"]:
            annotation["keypoints"][6:8] = [value, value]

    return change


def boxes_only(c):
    c["categories"].append({"id": 2, "name": "ball"})
    c["images"].append({"id": 7, "file_name": "7.png", "width": 47, "height": 30})
    c["annotations"].append({"id": 7, "image_id": 7, "category_id": 2, "bbox": [1, 1, 5, 5]})
    c["annotations"].append({"id": 8, "image_id": 1, "category_id": 2, "bbox": [1, 1, 39, 29]})


def annotation_without_keypoints(c):
    c["annotations"].append({"id": 8, "image_id": 1, "category_id": 1, "bbox": [1, 1, 39, 29]})


def float_sizes(c):
    for image in c["images"]:
        image.update(width=float(image["width"]), height=30.0)


def no_sizes(c):
    for image in c["images"]:
        image.pop("width"), image.update(height=None)
        image.pop("height")


def backslashes(c):
    for image in c["images"]:
        image["file_name"] = f"sub\\{image['file_name']}"


def crowd(c):
    c["annotations"].append({**c["annotations"][0], "id": 8, "iscrowd": 1})


def none_labelled(c):
    c["annotations"].append({**c["annotations"][0], "id": 8, "num_keypoints": 0})
    c["annotations"].append({**c["annotations"][0], "id": 9, "keypoints": [0, 0, 0] * 3})


@pytest.mark.parametrize(
    ("change", "left_out"),
    [
        (long_ids, {}),
        (float_ids, {}),
        (nothing_for_0(None), {}),
        (nothing_for_0(float("nan")), {}),
        (nothing_for_0("?"), {}),
        (boxes_only, {"objects of categories without keypoints": 2}),
        (annotation_without_keypoints, {"objects without labelled keypoints": 1}),
        (float_sizes, {}),
        (no_sizes, {}),
        (backslashes, {}),
        (crowd, {"objects that are crowds": 1}),
        (none_labelled, {"objects without labelled keypoints": 2}),
    ],
)
def test_what_can_be_read_is_read_and_the_rest_is_counted(images, tmp_path, change, left_out):
    photos, counts = load(images, tmp_path, change)
    plain, _ = load(images, tmp_path, lambda c: None)
    assert [(p.path.name, p.size, p.keypoints, p.bbox) for p in photos] == [
        (p.path.name, p.size, p.keypoints, p.bbox) for p in plain
    ]
    assert counts == left_out


@pytest.mark.parametrize("box", [None, [], [0, 0, 0, 0], [5, 5, 0, 9], [None, None, None, None]])
def test_boxes_without_an_area_count_as_missing(images, tmp_path, box):
    photos, _ = load(images, tmp_path, lambda c: [a.update(bbox=box) for a in c["annotations"]])
    assert [photo.bbox for photo in photos] == [None] * 6


def other(c, **values):
    """Add a second animal to the first picture."""
    c["annotations"].append({**copy.deepcopy(c["annotations"][0]), "id": 8, **values})


def test_the_largest_of_several_objects_is_taken(images, tmp_path):
    def larger(c):
        other(c, bbox=[1, 1, 30, 25], keypoints=[7, 7, 2, 8, 8, 2, 9, 9, 2])

    photos, left_out = load(images, tmp_path, larger)
    assert (len(photos), photos[0].keypoints["tail"]) == (6, (9.0, 9.0))
    assert left_out == {"objects in pictures with a larger one": 1}
    for box in ([3, 3, 20, 20], None):  # as large, or of unknown size: nothing tells which one is meant
        photos, left_out = load(images, tmp_path, lambda c, box=box: other(c, bbox=box))
        assert [photo.path.name for photo in photos] == [f"{i}.png" for i in range(2, 7)]
        assert sum(left_out.values()) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["images"][0].update(file_name="../1.png"), "must name a file inside"),
        (lambda c: c["images"][0].update(file_name="..\\1.png"), "must name a file inside"),
        (lambda c: c["images"][0].update(file_name="C:\\1.png"), "must name a file inside"),
        (lambda c: c["images"][0].update(width=40.5), "must be an integer"),
        (lambda c: c["images"][0].pop("width"), "field 'width' is missing"),
        (lambda c: c["annotations"][0].update(bbox=[9, 9, -5, 4]), "field 'bbox' must be"),
        (lambda c: c["annotations"][0].update(image_id=True), "must be an integer or a string"),
        (lambda c: c["annotations"][0]["keypoints"].__setitem__(0, None), r"keypoints\[nose\]' must be a number"),
        (lambda c: c["annotations"][0]["keypoints"].__setitem__(2, None), r"keypoints\[nose\]' must be a number"),
    ],
)
def test_what_is_broken_is_refused_or_left_out(images, tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        load(images, tmp_path, change)
    skipped = []
    photos, _ = load(images, tmp_path, change, skipped=skipped)
    assert (len(photos), len(skipped)) == (5, 1)


def test_the_counts_come_with_the_pairs(images, tmp_path):
    content = copy.deepcopy(PLAIN)
    crowd(content)
    (tmp_path / "coco.json").write_text(json.dumps(content))
    pairs = load_coco(tmp_path / "coco.json", images, count=5, min_shared=2)
    assert (len(pairs), pairs.left_out) == (5, {"objects that are crowds": 1})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain", 6),
        ("image_id_long_strings", 6),
        ("mixed_bbox_category", 6),
        ("v0_null", 6),
        ("image_id_clash_wrong_picture", r"field 'id' 1 is also the id of images\[0\]"),
        ("keypoint_names_duplicate", "twice"),
    ],
)
def test_cases(shared_keypoints, name, expected):
    file = CASES / f"{name}.json"
    if not file.is_file():
        pytest.skip(f"{file} is not here")
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            load_coco_photos(file, shared_keypoints / "images")
    else:
        assert len(load_coco_photos(file, shared_keypoints / "images")) == expected
