"""A small data set made of one real photograph and its shifted copies, and recipes for it."""

import json

import numpy as np
import pytest
from PIL import Image

RECIPE = """
model:
  features: {backbone: tf_efficientnet_lite0, image_size: 160, grid: 10}
  radius: 1
  hidden: 4
data: DATA
out: OUT
steps: 8
pairs: 2
validate_every: 2
validation_pairs: 2
warmup: 2
"""

POINTS = {"nose": (265, 243), "right_eye": (170, 115), "left_eye": (319, 137), "mouth": (262, 280)}


@pytest.fixture(scope="session")
def folder(tmp_path_factory, cat):
    root = tmp_path_factory.mktemp("keypoints")
    (root / "images").mkdir()
    entries = []
    for shift in (0, 10, 25, 40):
        name = f"cat{shift}.png"
        Image.fromarray(np.ascontiguousarray(cat[:, shift : shift + 400])).save(root / "images" / name)
        points = {key: [x - shift, y] for key, (x, y) in POINTS.items()}
        box = [40, 10, 390, 290]
        entries.append({"file": name, "category": "cat", "width": 400, "height": 300, "bbox": box, "keypoints": points})
    for split in ("train", "val"):
        (root / f"{split}.json").write_text(json.dumps(entries))
    (root / "val_pairs.json").write_text(json.dumps([["cat0.png", "cat25.png"], ["cat40.png", "cat10.png"]]))
    return root


@pytest.fixture
def recipe_file():
    """Write a recipe with changed values: ``recipe_file(tmp_path, folder, out, key=value)``."""

    def write(tmp_path, folder, out="run", **changes):
        text = RECIPE.replace("DATA", str(folder)).replace("OUT", str(tmp_path / out))
        for key, value in changes.items():
            text = "\n".join(f"{key}: {value}" if line.startswith(f"{key}:") else line for line in text.splitlines())
        path = tmp_path / f"{out}.yaml"
        path.write_text(text)
        return path

    return write
