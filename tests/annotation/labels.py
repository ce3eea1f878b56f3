"""Labels of a few small pictures, as the tests of annotation write and read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semcorr.annotation.formats import FORMATS
from semcorr.annotation.records import ABSENT, SURE, UNSURE, Annotation, Point

NEEDED = {"parquet": "pyarrow", "deeplabcut": "tables", "yolo": "yaml"}
NAMES = ("nose", "left_ear", "right_ear", "tail, tip")


def make_pictures(folder: Path, names: tuple[str, ...] = ("a.png", "sub/b.png", "sub/c d.png")) -> list[str]:
    """Write pictures of 80×60 pixels, each with other colours."""
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(i).integers(0, 255, (6, 8, 3), np.uint8)
        Image.fromarray(noise).resize((80, 60), Image.Resampling.BICUBIC).save(folder / name)
    return list(names)


def make_annotations(pictures: list[str]) -> list[Annotation]:
    """Label each picture once: sure, unsure and absent points."""
    return [
        Annotation(
            picture,
            (60, 80),
            {
                "nose": Point(12.25 + i, 30.5, SURE, 0.91, 0.99),
                "left_ear": Point(40.0, 20.75 + i, UNSURE, 0.42, 0.8),
                "right_ear": Point(0, 0, ABSENT, 0.11, 0.3) if i else Point(55.5, 21.0, SURE, 0.88, 0.9),
                "tail, tip": Point(70.0, 51.0 - i, SURE, 0.77, 0.95),
            },
            None,
            "cat",
            exemplar="a.png",
            similarity=0.83,
            model="pmnc of semcorr",
        )
        for i, picture in enumerate(pictures)
    ]


def write(name: str, folder: Path, annotations: list[Annotation]) -> Path:
    """Write annotations beside their pictures, as the run does."""
    if name in NEEDED:
        pytest.importorskip(NEEDED[name])
    path = folder / {"deeplabcut": "CollectedData_me.csv"}.get(name, f"labels{FORMATS[name].ending}")
    path = path if FORMATS[name].ending else folder / "labels"
    for file, content in FORMATS[name].render(annotations, path, folder / "pictures").items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return path


def picture_name(name: str, picture: str) -> str:
    """DeepLabCut writes the picture's folder below labeled-data."""
    return f"labeled-data/{picture if '/' in picture else f'pictures/{picture}'}" if name == "deeplabcut" else picture
