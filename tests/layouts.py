"""Small data sets in the true layouts of the public ones, built from real photographs.

The coordinates here are the truth that the loaders are measured against: the builders write them the way each data
set does, and the tests compare with what is written here, never with what a loader says.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from semcorr.data.registry import load_dataset

Points = dict[str, tuple[float, float]]

# Every photograph's size is (height, width). Two of them are portraits, none is square.
SIZES = {"tabby": (300, 450), "cheetah": (250, 500), "lion": (400, 320), "cub": (240, 200)}

# The same three parts of each animal, in native pixels, chosen so that hand-made errors come out round.
TRUTH: dict[str, Points] = {
    "tabby": {"left_eye": (150.0, 120.0), "right_eye": (210.0, 120.0), "nose": (180.0, 180.0)},
    "cheetah": {"left_eye": (200.0, 50.0), "right_eye": (300.0, 50.0), "nose": (250.0, 130.0)},
    "lion": {"left_eye": (120.0, 100.0), "right_eye": (200.0, 100.0), "nose": (160.0, 300.0)},
    "cub": {"left_eye": (60.0, 60.0), "right_eye": (140.0, 60.0), "nose": (100.0, 110.0)},
}

BOXES = {
    "tabby": (100.0, 50.0, 300.0, 250.0),
    "cheetah": (100.0, 0.0, 500.0, 200.0),
    "lion": (60.0, 40.0, 260.0, 360.0),
    "cub": (20.0, 20.0, 180.0, 220.0),
}

PAIRS = [("tabby", "cheetah"), ("lion", "cub"), ("cub", "tabby")]

NAMES = ("left_eye", "right_eye", "nose")


def save_photographs(photographs: dict[str, Image.Image], folder: Path, suffix: str = ".jpg") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in photographs.items():
        image.save(folder / f"{name}{suffix}")


def write_rows(path: Path, header: list[str], rows: list[list[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def keypoints_json(root: Path, photographs: dict[str, Image.Image]) -> Path:
    save_photographs(photographs, root / "images")
    entries = [
        {
            "file": f"{name}.jpg",
            "category": "cat",
            "width": SIZES[name][1],
            "height": SIZES[name][0],
            "bbox": list(BOXES[name]),
            "keypoints": {part: list(point) for part, point in TRUTH[name].items()},
        }
        for name in photographs
    ]
    (root / "test.json").write_text(json.dumps(entries))
    (root / "test_pairs.json").write_text(json.dumps([[f"{a}.jpg", f"{b}.jpg"] for a, b in PAIRS]))
    return root


def pf_pascal(root: Path, photographs: dict[str, Image.Image]) -> Path:
    """Classes by number as in the true lists (8 is a cat); the second pair is also a training pair, reversed."""
    home = root / "PF-dataset-PASCAL"
    save_photographs(photographs, home / "JPEGImages")

    def image(name: str) -> str:
        return f"PF-dataset-PASCAL/JPEGImages/{name}.jpg"

    for name, points in TRUTH.items():
        annotation = home / "Annotations" / "cat" / f"{name}.mat"
        annotation.parent.mkdir(parents=True, exist_ok=True)
        unseen = [[np.nan, np.nan]]
        kps = np.array([*[points[part] for part in NAMES[:2]], *unseen, points["nose"]])
        savemat(annotation, {"kps": kps, "bbox": np.array([BOXES[name]])})

    def listed(name: str, axis: int) -> str:
        scale = 300 / max(SIZES[name])
        return ";".join(repr(TRUTH[name][part][axis] * scale) for part in NAMES)

    lists = root / "image_pairs"
    write_rows(
        lists / "test_pairs.csv",
        ["source_image", "target_image", "class", "XA", "YA", "XB", "YB"],
        [[image(a), image(b), 8, listed(a, 0), listed(a, 1), listed(b, 0), listed(b, 1)] for a, b in PAIRS],
    )
    train = [("cub", "lion"), ("tabby", "lion")]
    write_rows(
        lists / "train_pairs.csv",
        ["source_image", "target_image", "class", "flip"],
        [[image(a), image(b), 8, flip] for flip in (0, 1) for a, b in train],
    )
    write_rows(
        lists / "val_pairs.csv",
        ["source_image", "target_image", "class", "flip"],
        [[image("lion"), image("cheetah"), 8, 0]],
    )
    return root


def pf_willow(root: Path, photographs: dict[str, Image.Image]) -> Path:
    """Ten keypoints a photograph in the true list: the three parts, and seven more on the line between two."""
    save_photographs(photographs, root / "PF-dataset" / "duck(S)", ".png")
    header = ["imageA", "imageB"]
    header += [f"{axis}{image}{i}" for image in "AB" for axis in "XY" for i in range(1, 11)]
    rows: list[list[object]] = []
    for pair in PAIRS:
        row: list[object] = [f"PF-dataset/duck(S)/{name}.png" for name in pair]
        for name in pair:
            points = willow_points(name)
            row += [points[part][axis] for axis in (0, 1) for part in points]
        rows.append(row)
    write_rows(root / "test_pairs_pf.csv", header, rows)
    return root


def willow_points(name: str) -> Points:
    (x0, y0), (x1, y1) = TRUTH[name]["left_eye"], TRUTH[name]["nose"]
    between = [(x0 + (x1 - x0) * step / 8, y0 + (y1 - y0) * step / 8) for step in range(1, 8)]
    return {str(i): point for i, point in enumerate([*TRUTH[name].values(), *between], start=1)}


def spair(root: Path, photographs: dict[str, Image.Image]) -> Path:
    save_photographs(photographs, root / "JPEGImages" / "cat")
    names = []
    for number, (a, b) in enumerate(PAIRS):
        name = f"{number:06d}-{a}-{b}:cat"
        names.append(name)
        annotation = {
            "filename": name,
            "src_imname": f"{a}.jpg",
            "trg_imname": f"{b}.jpg",
            "src_imsize": [SIZES[a][1], SIZES[a][0], 3],
            "trg_imsize": [SIZES[b][1], SIZES[b][0], 3],
            "src_bndbox": list(BOXES[a]),
            "trg_bndbox": list(BOXES[b]),
            "category": "cat",
            "src_pose": "Frontal",
            "trg_pose": "Left",
            "mirror": 0,
            "viewpoint_variation": number,
            "scale_variation": 0,
            "truncation": number + 1,
            "occlusion": 0,
            "kps_ids": ["4", "5", "9"],
            "src_kps": [list(TRUTH[a][part]) for part in NAMES],
            "trg_kps": [list(TRUTH[b][part]) for part in NAMES],
        }
        path = root / "PairAnnotation" / "test" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(annotation))
    layout = root / "Layout" / "large" / "test.txt"
    layout.parent.mkdir(parents=True, exist_ok=True)
    layout.write_text("".join(f"{name}\n" for name in names))
    return root


def ap10k(root: Path, photographs: dict[str, Image.Image]) -> Path:
    """One object each, and one photograph with two, in which no point has one meaning."""
    save_photographs({**photographs, "two": photographs["lion"]}, root / "data")
    annotations = []
    images = []
    for number, name in enumerate([*photographs, "two"]):
        shown = "lion" if name == "two" else name
        height, width = SIZES[shown]
        images.append({"id": number, "file_name": f"{name}.jpg", "width": width, "height": height})
        left, top, right, bottom = BOXES[shown]
        values: list[float] = []
        for part in NAMES:
            values += [*TRUTH[shown][part], 2]
        values += [0, 0, 0]  # the tail: not annotated
        objects = 2 if name == "two" else 1
        for _ in range(objects):
            annotations.append(
                {
                    "id": 100 + len(annotations),
                    "image_id": number,
                    "category_id": 3,
                    "bbox": [left, top, right - left, bottom - top],
                    "keypoints": values,
                    "num_keypoints": 3,
                    "iscrowd": 0,
                }
            )
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 3, "name": "cat", "keypoints": [*NAMES, "tail"], "skeleton": []}],
    }
    path = root / "annotations" / "ap10k-test-split1.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    (root / "pairs.json").write_text(json.dumps([[f"{a}.jpg", f"{b}.jpg"] for a, b in PAIRS]))
    return root


ALL = ["keypoints", "pf-pascal", "pf-willow", "spair-71k", "ap-10k"]
"""The data sets that have a layout here."""


def load(name, root, **options):
    """Load the test pairs of one of them."""
    if name == "ap-10k":
        options["pairs"] = root / "pairs.json"
    return load_dataset(name, root, "test", **options)


def edit_json(path, change):
    """Change the content of a JSON file."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def edit_csv(path, change):
    """Change the rows of a CSV file."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    header = list(rows[0])
    change(rows)
    write_rows(path, header, [[row[name] for name in header if name in row] for row in rows])
