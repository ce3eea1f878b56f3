"""A folder of photographs to label, made from one whose landmarks are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from annotation.labels import make_annotations, make_pictures
from PIL import Image

from semcorr.annotation.records import Annotation

POINTS = {"left_eye": (316.0, 134.0), "right_eye": (173.0, 116.0), "nose": (265.0, 238.0), "left_ear": (355.0, 70.0)}
"""Landmarks of scikit-image's cat, in pixels."""


class Cats(NamedTuple):
    """Photographs of the cat, cut differently, and where its landmarks are in each.

    Attributes:
        exemplar: A COCO file that labels ``exemplar.png``.
        folder: The pictures to label; ``broken.jpg`` among them holds no picture.
        truth: Picture to the landmarks.
    """

    exemplar: Path
    folder: Path
    truth: dict[str, dict[str, tuple[float, float]]]


def coco(picture: str, size: tuple[int, int], points: dict[str, tuple[float, float]]) -> str:
    """Return a COCO file of one labelled picture."""
    values = [value for x, y in points.values() for value in (x, y, 2)]
    x, y = zip(*points.values(), strict=True)
    box = [min(x), min(y), max(x) - min(x), max(y) - min(y)]
    return json.dumps(
        {
            "images": [{"id": 1, "file_name": picture, "height": size[0], "width": size[1]}],
            "categories": [{"id": 1, "name": "cat", "keypoints": list(points)}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "keypoints": values, "bbox": box}],
        }
    )


@pytest.fixture(scope="session")
def make_cats(cat: np.ndarray):
    """Return a function that makes `Cats` of ``count`` photographs below a folder."""

    def make(home: Path, count: int) -> Cats:
        folder = home / "photos"
        folder.mkdir()
        Image.fromarray(cat).save(home / "exemplar.png")
        (home / "exemplar.json").write_text(coco("exemplar.png", cat.shape[:2], POINTS))
        (folder / "broken.jpg").write_bytes(b"no picture")
        truth = {}
        draw = np.random.default_rng(0)
        for i in range(count):
            left, top = int(draw.integers(0, 60)), int(draw.integers(0, 15))
            part = cat[top : top + 280, left : left + 380]
            brighter = np.clip(part * draw.uniform(0.7, 1.2), 0, 255).astype(np.uint8)
            Image.fromarray(brighter).save(folder / f"cat{i:02}.png")
            truth[f"cat{i:02}.png"] = {name: (x - left, y - top) for name, (x, y) in POINTS.items()}
        return Cats(home / "exemplar.json", folder, truth)

    return make


@pytest.fixture
def cats(tmp_path: Path, make_cats) -> Cats:
    """Six photographs."""
    return make_cats(tmp_path, 6)


@pytest.fixture
def annotations(tmp_path: Path) -> list[Annotation]:
    return make_annotations(make_pictures(tmp_path / "pictures"))
