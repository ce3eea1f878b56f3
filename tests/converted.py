"""Photographs in the project's own JSON layout, brought into the true layouts of the public data sets.

Every builder takes the folder of `semcorr.data.formats.keypoints`, with ``train.json``, ``val.json`` and
``val_pairs.json``, and writes training and validation lists as the public data sets have them.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import savemat

Entries = list[dict[str, Any]]

CLASSES = ("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow")
CLASSES += ("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor")


def read(root: Path) -> tuple[Entries, Entries, list[list[str]]]:
    files = ("train.json", "val.json", "val_pairs.json")
    train, val, pairs = (json.loads((root / name).read_text()) for name in files)
    return train, val, pairs


def chain(entries: Entries) -> list[tuple[str, str]]:
    """Pair every photograph with the next of its category, so that they are listed in their order."""
    pairs = []
    for category in dict.fromkeys(entry["category"] for entry in entries):
        names = [entry["file"] for entry in entries if entry["category"] == category]
        pairs += list(pairwise(names))
    return pairs


def names_of(entries: Entries) -> dict[str, list[str]]:
    """Name every keypoint of each category, in the order in which the first photographs name them."""
    names: dict[str, dict[str, None]] = {}
    for entry in entries:
        names.setdefault(entry["category"], {}).update(dict.fromkeys(entry["keypoints"]))
    return {category: list(known) for category, known in names.items()}


def copy_images(root: Path, folder: Path, entries: Entries, by_category: bool = False) -> None:
    for entry in entries:
        target = folder / entry["category"] / entry["file"] if by_category else folder / entry["file"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / "images" / entry["file"], target)


def pf_pascal(root: Path, out: Path) -> Path:
    train, val, val_pairs = read(root)
    known = {entry["file"]: entry for entry in train + val}
    names = names_of(train + val)
    copy_images(root, out / "PF-dataset-PASCAL" / "JPEGImages", list(known.values()))
    for entry in known.values():
        points = [entry["keypoints"].get(name, [np.nan, np.nan]) for name in names[entry["category"]]]
        path = out / "PF-dataset-PASCAL" / "Annotations" / entry["category"] / f"{Path(entry['file']).stem}.mat"
        path.parent.mkdir(parents=True, exist_ok=True)
        savemat(path, {"kps": np.array(points, float), "bbox": np.array([entry["bbox"]], float)})

    def write(split: str, pairs: Iterable[Iterable[str]]) -> None:
        path = out / "image_pairs" / f"{split}_pairs.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["source_image", "target_image", "class", "flip"])
            for source, target in pairs:
                images = [f"PF-dataset-PASCAL/JPEGImages/{name}" for name in (source, target)]
                rows.writerow([*images, 1 + CLASSES.index(known[source]["category"]), 0])

    write("train", chain(train))
    write("val", val_pairs)
    path = out / "image_pairs" / "test_pairs.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["source_image", "target_image", "class", "XA", "YA", "XB", "YB"])
        for source, target in val_pairs:
            entries = known[source], known[target]
            shared = [name for name in entries[0]["keypoints"] if name in entries[1]["keypoints"]]
            row = [f"PF-dataset-PASCAL/JPEGImages/{entry['file']}" for entry in entries]
            row.append(1 + CLASSES.index(entries[0]["category"]))
            for entry in entries:
                scale = 300 / max(entry["width"], entry["height"])
                points = [entry["keypoints"][name] for name in shared]
                row += [";".join(repr(scale * point[axis]) for point in points) for axis in (0, 1)]
            rows.writerow(row)
    return out


def spair(root: Path, out: Path) -> Path:
    train, val, val_pairs = read(root)
    known = {entry["file"]: entry for entry in train + val}
    names = names_of(train + val)
    copy_images(root, out / "JPEGImages", list(known.values()), by_category=True)
    for split, pairs in (("trn", chain(train)), ("val", val_pairs), ("test", val_pairs)):
        listed = []
        for number, (source, target) in enumerate(pairs):
            first, second = known[source], known[target]
            shared = [name for name in first["keypoints"] if name in second["keypoints"]]
            annotation: dict[str, Any] = {
                "category": first["category"],
                **{"viewpoint_variation": 0, "scale_variation": 0, "truncation": 0, "occlusion": 0},
                "kps_ids": [str(names[first["category"]].index(name)) for name in shared],
            }
            for side, entry in (("src", first), ("trg", second)):
                annotation[f"{side}_imname"] = entry["file"]
                annotation[f"{side}_imsize"] = [entry["width"], entry["height"], 3]
                annotation[f"{side}_bndbox"] = entry["bbox"]
                annotation[f"{side}_kps"] = [entry["keypoints"][name] for name in shared]
            listed.append(f"{number:06d}-{Path(source).stem}-{Path(target).stem}:{first['category']}")
            path = out / "PairAnnotation" / split / f"{listed[-1]}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(annotation))
        layout = out / "Layout" / "large" / f"{split}.txt"
        layout.parent.mkdir(parents=True, exist_ok=True)
        layout.write_text("".join(f"{name}\n" for name in listed))
    return out


def coco_file(path: Path, entries: Entries) -> None:
    names = names_of(entries)
    categories = list(names)
    annotations, images = [], []
    for number, entry in enumerate(entries, start=1):
        size = {key: entry[key] for key in ("width", "height")}
        images.append({"id": number, "file_name": entry["file"], **size})
        values: list[float] = []
        for name in names[entry["category"]]:
            values += [*entry["keypoints"][name], 2] if name in entry["keypoints"] else [0, 0, 0]
        left, top, right, bottom = entry["bbox"]
        annotation = {"id": number, "image_id": number, "category_id": 1 + categories.index(entry["category"])}
        annotation |= {"bbox": [left, top, right - left, bottom - top], "iscrowd": 0}
        annotations.append(annotation | {"keypoints": values, "num_keypoints": len(entry["keypoints"])})
    listed = [{"id": 1 + i, "name": name, "keypoints": names[name]} for i, name in enumerate(categories)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": listed}))


def ap10k(root: Path, out: Path) -> Path:
    train, val, _ = read(root)
    copy_images(root, out / "data", train + val)
    for split, entries in (("train", train), ("val", val), ("test", val)):
        coco_file(out / "annotations" / f"ap10k-{split}-split1.json", entries)
    return out


def coco(root: Path, out: Path) -> Path:
    train, val, _ = read(root)
    for split, entries in (("train", train), ("val", val)):
        copy_images(root, out / f"{split}2017", entries)
        coco_file(out / "annotations" / f"person_keypoints_{split}2017.json", entries)
    return out


BUILDERS = {"pf-pascal": pf_pascal, "spair-71k": spair, "ap-10k": ap10k, "coco": coco}
