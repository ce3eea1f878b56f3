"""The cases whose answers are kept in golden/answers.json.

``python tests/golden_answers.py [CASE …]`` records them anew, or only those of some cases.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from exported import Exported
from PIL import Image

import semcorr

FILE = Path(__file__).parent / "golden" / "answers.json"
PIXELS, SURE = 0.5, 0.01
COLUMNS, ROWS = 7, 5
UNSTEADY = 0.25  # points that move further, in pixels, when a picture gets noise of one grey level are not kept
CASES: dict[str, dict[str, Any]] = {
    "pmnc": {"name": "pmnc"},
    "pmnc-universal": {"name": "pmnc-universal"},
    "ncnet": {"name": "ncnet"},
    "ancnet": {"name": "ancnet"},
    "nearest": {"name": "nearest"},
    "pmnc grid 50": {"name": "pmnc", "grid": 50},
    "pmnc-universal grid 50": {"name": "pmnc-universal", "grid": 50},
    "pmnc bfloat16": {"name": "pmnc", "precision": "bfloat16"},
    "pmnc onnx": {"name": "pmnc"},
}

Matching = Callable[[np.ndarray, np.ndarray], Any]


def photographs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return pairs of photographs from installed packages: landscape, portrait, and of odd sizes."""
    from skimage import data

    gradio = find_spec("gradio")
    folder = Path((gradio.submodule_search_locations or [""])[0])

    def read(name: str) -> np.ndarray:
        return np.array(Image.open(folder / name).convert("RGB"))

    cat, cheetah = np.array(data.chelsea()), read("media_assets/images/cheetah1.jpg")
    lion, cheetah2 = read("media_assets/images/lion.jpg"), read("test_data/cheetah2.jpg")
    return {
        "cat, cheetah": (cat, cheetah),
        "cheetah, lion": (cheetah2, lion),
        "portrait, odd sizes": (np.ascontiguousarray(cat[:211, 100:313]), np.ascontiguousarray(lion[:, :171])),
    }


def matching(case: str, folder: Path) -> Matching:
    """Return what matches two pictures in a case."""
    if not case.endswith("onnx"):
        return semcorr.load(**CASES[case]).match
    from semcorr.models.torch_loading import load
    from semcorr.onnx.export import export

    export(load(**CASES[case]), folder / "model.onnx")
    return Exported(folder / "model.onnx").match


def lattice(image: np.ndarray) -> np.ndarray:
    """Return the points that are asked for, ``(N, 2)`` pixels."""
    height, width = image.shape[:2]
    x = (np.arange(COLUMNS) + 0.5) * width / COLUMNS
    y = (np.arange(ROWS) + 0.5) * height / ROWS
    return np.stack(np.meshgrid(x, y), -1).reshape(-1, 2).round(1).astype(np.float32)


def answer(match: Any, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the answers of a match at the lattice of its source."""
    points, confidence = match.transfer(lattice(image))
    return np.asarray(points), np.asarray(confidence)


def check(case: str, match: Matching) -> None:
    """Assert that the answers are as recorded."""
    recorded = json.loads(FILE.read_text())[case]
    for name, (source, target) in photographs().items():
        asked, expected, sure = np.split(np.array(recorded[name], np.float32), [2, 4], axis=1)
        points, confidence = match(source, target).transfer(asked)
        np.testing.assert_allclose(points, expected, atol=PIXELS, err_msg=name)
        np.testing.assert_allclose(confidence, sure[:, 0], atol=SURE, err_msg=name)


def record(cases: list[str]) -> None:
    """Write the answers of some cases, of points that a little noise does not move."""
    noise = np.random.default_rng(0)
    answers: dict[str, dict[str, list[list[float]]]] = json.loads(FILE.read_text())
    with TemporaryDirectory() as folder:
        for case in cases:
            match = matching(case, Path(folder))
            answers[case] = {}
            for name, (source, target) in photographs().items():
                noisy = np.clip(source.astype(int) + noise.integers(-1, 2, source.shape), 0, 255).astype(np.uint8)
                points, confidence = answer(match(source, target), source)
                others, _ = answer(match(noisy, target), source)
                steady = np.abs(points - others).max(1) < UNSTEADY
                rows = np.column_stack([lattice(source), points, confidence])[steady]
                answers[case][name] = [[round(float(value), 4) for value in row] for row in rows]
                print(f"{case}, {name}: {steady.sum()} of {len(steady)} points")
    FILE.write_text(json.dumps(answers, indent=None, separators=(",", ":")).replace('"},', '"},\n') + "\n")


if __name__ == "__main__":
    record(sys.argv[1:] or list(CASES))
