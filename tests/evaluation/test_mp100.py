"""MP-100's protocol on figures worked out by hand, and end to end on a small set in its form."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from semcorr.annotation.evidence import Evidence
from semcorr.cli.app import app
from semcorr.data.formats.mp100 import load_mp100
from semcorr.data.pairs import Photo
from semcorr.errors import DataError
from semcorr.evaluation import mp100

NAMES = ("nose", "left_eye", "left_ear", "right_eye", "hidden")
POINTS = np.array([(265, 238), (316, 134), (355, 70), (173, 116)], float)


def write_set(root: Path, cat: np.ndarray, count: int = 8) -> None:
    """Write photographs of scikit-image's cat, cut differently, as one category of MP-100."""
    (root / "images").mkdir(parents=True)
    (root / "annotations").mkdir()
    images, annotations = [], []
    draw = np.random.default_rng(3)
    for i in range(count):
        left, top = int(draw.integers(0, 60)), int(draw.integers(0, 15))
        Image.fromarray(cat[top : top + 280, left : left + 380]).save(root / "images" / f"{i}.png")
        points = POINTS - [left, top]
        values = [value for x, y in points.tolist() for value in (x, y, 2)]
        if i == 1:  # a hole among the visible ones: names, not places, tell what belongs together
            values[3:6] = [0, 0, 0]
        low, high = points.min(axis=0), points.max(axis=0)
        images.append({"id": i, "file_name": f"{i}.png", "height": 280, "width": 380})
        annotations.append(
            {
                "id": i,
                "image_id": i,
                "category_id": 7,
                "keypoints": [*values, 0, 0, 0],
                "num_keypoints": 4,
                "bbox": [*low.tolist(), *(high - low).tolist()],
                "iscrowd": 0,
            }
        )
    categories = [{"id": 7, "name": "cat_face", "keypoints": list(NAMES), "skeleton": []}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / "mp100_split1_test.json").write_text(json.dumps(content))


def test_a_small_set_end_to_end(cat: np.ndarray, tmp_path: Path) -> None:
    write_set(tmp_path / "set", cat)
    arguments = ["evaluate", "mp-100", "--root", tmp_path / "set", "--limit", "3", "--out", tmp_path / "out"]
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    rows = [line.split("|") for line in result.output.splitlines() if line.startswith("| cat_face")]
    assert [row[2].strip() for row in rows] == ["21", "9"]  # 3 episodes of 7 queries, and of 3
    for row in rows:
        assert float(row[6]) > 95  # the same cat, found within a fifth of its face
        assert float(row[3]) <= float(row[4]) <= float(row[6])
    again = CliRunner().invoke(app, list(map(str, arguments)))
    assert again.output.splitlines()[:8] == result.output.splitlines()[:8]


def test_a_place_in_the_crop_is_the_place_in_the_picture() -> None:
    """A white dot in a picture is where the protocol's crop says it is."""
    image = np.zeros((90, 120, 3), np.uint8)
    image[40:44, 70:74] = 255  # its middle is (72, 42)
    for box in [(50.0, 30.0, 90.0, 50.0), (60.5, 20.25, 130.0, 80.0), (-10.0, 0.0, 90.0, 60.0)]:
        crop = mp100.crop_square(image, box)
        assert crop.image.shape == (256, 256, 3)
        weights = crop.image[..., 0].astype(float)
        y, x = (np.indices(weights.shape) + 0.5) * weights / weights.sum()
        place = np.array([x.sum(), y.sum()]) / crop.scale + crop.corner
        assert place == pytest.approx([72, 42], abs=0.1)
        assert 256 / crop.scale == pytest.approx(1.25 * max(box[2] - box[0], box[3] - box[1]))


def test_points_are_paired_by_name_and_measured_by_the_box() -> None:
    """Two exemplars and a query that share two names in different places of their lists."""
    box = (0.0, 0.0, 100.0, 50.0)
    photos = [
        Photo(Path("a"), (100, 100), {"x": (1, 1), "nose": (2, 2), "tail": (3, 3)}, box, "c"),
        Photo(Path("b"), (100, 100), {"tail": (1, 1), "nose": (2, 2)}, box, "c"),
        Photo(Path("q"), (100, 100), {"nose": (50.0, 20.0), "left": (9, 9), "tail": (80.0, 30.0)}, box, "c"),
    ]
    crop = mp100.Crop(np.zeros((256, 256, 3), np.uint8), (-12.5, -37.5), 2.048)

    def answer(points: list[tuple[float, float]]) -> Evidence:
        placed = (np.array(points) - crop.corner) * crop.scale
        return Evidence(placed, np.ones(len(points)), np.ones(len(points)), 1.0)

    answers = {(0, 2): answer([(0, 0), (50, 30), (80, 30)]), (1, 2): answer([(80, 30), (50, 30)])}
    assert mp100._errors(photos, crop, answers, (0, 1), 2) == pytest.approx([0.1, 0.0])
    lonely = [*photos[:2], Photo(Path("q"), (100, 100), {"left": (9, 9)}, box, "c")]
    assert len(mp100._errors(lonely, crop, answers, (0, 1), 2)) == 0


def test_pairs_without_a_common_point_count_both_ways() -> None:
    scores = mp100.CategoryScores(4, 1, {f"{alpha:g}": 1.5 for alpha in mp100.ALPHAS})
    assert scores.pck(0.2) == pytest.approx(1.5 / 4)
    assert scores.pck(0.2, with_empty=False) == pytest.approx(0.5)


def test_episodes_are_drawn_under_a_seed() -> None:
    episodes = mp100.draw_episodes(100, 5)
    assert episodes == mp100.draw_episodes(100, 5, draw=random.Random(1))
    assert len(episodes) == 200
    assert all(len({*one.supports, *one.queries}) == 20 and len(one.queries) == 15 for one in episodes)
    with pytest.raises(DataError, match="5 exemplars and a query need 6"):
        mp100.draw_episodes(5, 5)


def test_the_loader_names_what_is_wrong(cat: np.ndarray, tmp_path: Path) -> None:
    write_set(tmp_path, cat, 3)
    assert [len(photos) for photos in load_mp100(tmp_path).values()] == [3]
    (photos,) = load_mp100(tmp_path).values()
    assert list(photos[1].keypoints) == ["nose", "left_ear", "right_eye"]
    with pytest.raises(DataError, match="splits 1, 2, 3, 4, 5; got '6'"):
        load_mp100(tmp_path, "6")
    (tmp_path / "images" / "2.png").unlink()
    with pytest.raises(DataError, match=r"2\.png is missing"):
        load_mp100(tmp_path)
    skipped: list[DataError] = []
    assert [len(photos) for photos in load_mp100(tmp_path, skipped=skipped).values()] == [2]
    assert len(skipped) == 1


def test_the_annotations_of_a_true_split() -> None:
    folder = Path(os.environ.get("SEMCORR_MP100", Path(__file__).resolve().parents[3] / "shared" / "data" / "mp100"))
    if not (folder / "mp100_split1_test.json").is_file():
        pytest.skip(f"no annotations of MP-100 in {folder}: set SEMCORR_MP100 to their folder")
    categories = load_mp100(folder, check=False)
    assert len(categories) == 20
    assert {len(photos) for photos in categories.values()} == {100}
    assert sum(len(photo.keypoints) for photos in categories.values() for photo in photos) == 28290 + 1367
    assert next(iter(categories["dog_body"][0].keypoints)) in ("left_eye", "right_eye", "nose")
