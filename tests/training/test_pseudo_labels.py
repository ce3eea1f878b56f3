"""Pseudo-labels: their points follow the view, bad files are said, and training reads them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import semcorr
from semcorr.data.formats.keypoints import load_photos
from semcorr.data.pairs import Pair
from semcorr.errors import DataError
from semcorr.training.anchored_labels import anchored_labels, anchored_points, within
from semcorr.training.loop import train
from semcorr.training.recipe import read_recipe
from semcorr.training.sampling.augment import STRONG
from semcorr.training.sampling.pseudo_labels import PseudoLabelSampler
from semcorr.training.sampling.views import View

CAT_POINTS = {"nose": (265, 243), "right_eye": (170, 115), "left_eye": (319, 137)}
CAT_POINTS |= {"right_ear": (150, 20), "left_ear": (328, 30), "chin": (230, 280)}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory, cat):
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "cats").mkdir()
    for shift in (0, 20, 40):
        Image.fromarray(np.ascontiguousarray(cat[:, shift : shift + 400])).save(folder / "cats" / f"cat{shift}.jpg")
    return folder


def labels(**changes):
    points = [[0.3, 0.4], [0.5, 0.5], [0.6, 0.3], [0.4, 0.7]]
    moved = [[x - 0.05, y] for x, y in points]
    return {"source": "cats/cat0.jpg", "target": "cats/cat20.jpg", "source_points": points, "target_points": moved} | (
        changes
    )


def sampler(tmp_path, photographs, content, views=2):
    file = tmp_path / "labels.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    photos = [(path, (300, 400)) for path in sorted(photographs.glob("*/*.jpg"))]
    return PseudoLabelSampler(file, photos, 0, views)


def test_points_follow_the_view(tmp_path, photographs):
    draw = sampler(tmp_path, photographs, [labels()]).draw
    drawn = [draw(step, 0) for step in range(12)]
    assert {d.target.draw for d in drawn} == {0, 1, 2}
    assert drawn == [draw(step, 0) for step in range(12)]
    for one in drawn:
        there = torch.tensor(one.target_points).double()
        if one.target.draw:
            view = View(photographs / "cats" / "cat20.jpg", (300, 400), draw=one.target.draw, strength=STRONG)
            assert one.target == view
            there = view.warp.to_original(there)
        expected = torch.tensor(one.source_points).double() - torch.tensor([0.05, 0.0])
        torch.testing.assert_close(there, expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "holds no pseudo-labels"),
        ([{"source": "cats/cat0.jpg"}], "holds no pseudo-labels"),
        ([labels(source_points=[[0.5, 0.5]])], "holds no pseudo-labels"),
        ([labels(target="cats/gone.jpg")], r"cats/gone\.jpg, which is not among"),
        ([], "lists no pairs"),
    ],
)
def test_bad_files_are_said(tmp_path, photographs, content, message):
    with pytest.raises(DataError, match=message):
        sampler(tmp_path, photographs, content)


@pytest.fixture
def keypoints(tmp_path, cat):
    """Three shifted views of a cat, with keypoints."""
    folder = tmp_path / "keypoints"
    (folder / "images").mkdir(parents=True)
    entries = []
    for shift in (0, 10, 25):
        name = f"cat{shift}.png"
        Image.fromarray(np.ascontiguousarray(cat[:, shift : shift + 400])).save(folder / "images" / name)
        points = {name: [x - shift, y] for name, (x, y) in CAT_POINTS.items()}
        entry = {"file": name, "category": "cat", "width": 400, "height": 300, "bbox": [40, 10, 390, 290]}
        entries.append(entry | {"keypoints": points})
    for split in ("train", "val"):
        (folder / f"{split}.json").write_text(json.dumps(entries))
    (folder / "val_pairs.json").write_text(json.dumps([["cat0.png", "cat25.png"]]))
    return folder


def test_points_between_keypoints_are_labelled_where_they_move_as_those_do(tmp_path, photographs, keypoints, run):
    out = tmp_path / "labels.json"
    command = ("data", "pseudo-labels", photographs, out, "--photographs", 2, "--keypoints", keypoints, "--pairs", 5)
    code, _, err = run(*command)
    assert code == 0, err
    pairs = [pair for pair in json.loads(out.read_text()) if pair["source"].startswith("images/")]
    assert [pair["category"] for pair in pairs] == ["cat"] * 5
    for pair in pairs:
        shift = [int(Path(pair[side]).stem.removeprefix("cat")) for side in ("source", "target")]
        moved = np.subtract(pair["source_points"], pair["target_points"]) * [400, 300]
        assert np.abs(moved - [shift[1] - shift[0], 0]).max() < 0.15 * 178  # of the extent of the keypoints
        assert within(
            np.array(list(CAT_POINTS.values())) - [shift[0], 0], pair["source_points"] * np.array([400, 300])
        ).all()


def test_keypoints_that_moved_otherwise_vouch_for_nothing(keypoints):
    first, second = load_photos(keypoints, "train")[:2]
    match = semcorr.load().match(first.path, second.path)
    assert len(anchored_points(match, Pair(first, second))) > 50
    astray = {name: (x, y * 0.5 + 150) for name, (x, y) in second.keypoints.items()}
    few = len(anchored_points(match, Pair(first, replace(second, keypoints=astray))))
    assert few < len(anchored_points(match, Pair(first, second))) / 2
    on_a_line = {name: (x, 100.0) for name, (x, _) in first.keypoints.items()}
    assert len(anchored_points(match, Pair(replace(first, keypoints=on_a_line), second))) == 0


def test_too_few_pairs_are_refused(keypoints):
    photos = [replace(photo, keypoints={"nose": (265.0, 243.0)}) for photo in load_photos(keypoints, "train")]
    with pytest.raises(DataError, match="only 0 of 3 pairs of photographs share 6 keypoints"):
        list(anchored_labels(semcorr.load(), photos, 3, 24, 8, np.random.default_rng(0)))


def test_labels_of_a_category_that_is_left_out_are_not_drawn(tmp_path, photographs):
    file = tmp_path / "labels.json"
    file.write_text(json.dumps([labels(), labels(category="lion")]))
    photos = [(path, (300, 400)) for path in sorted(photographs.glob("*/*.jpg"))]
    assert len(PseudoLabelSampler(file, photos, 0, 2, ["lion"]).pairs) == 1
    assert len(PseudoLabelSampler(file, photos, 0, 2, ["cats"]).pairs) == 1


def test_the_command_finds_what_was_shifted_and_training_reads_it(tmp_path, photographs, keypoints, run):
    out = tmp_path / "labels.json"
    code, printed, err = run(
        "data", "pseudo-labels", photographs, out, "--points", 30, "--keypoints", keypoints, "--pairs", 2
    )
    assert (code, printed.strip()) == (0, str(out)), err
    pairs = json.loads(out.read_text())
    assert len(pairs) == 6 + 2
    for pair in pairs[:6]:
        shift = [int(Path(pair[side]).stem.removeprefix("cat")) for side in ("source", "target")]
        moved = np.subtract(pair["source_points"], pair["target_points"])
        assert np.median(moved[:, 0]) == pytest.approx((shift[1] - shift[0]) / 400, abs=0.02)
        assert np.median(moved[:, 1]) == pytest.approx(0, abs=0.02)
    recipe = tmp_path / "recipe.yaml"
    text = (
        "model: {features: {backbone: tf_efficientnet_lite0, image_size: 160, grid: 10}, radius: 1, hidden: 4, "
        f"adapter: 8, votes: 1.0}}\ndata: {keypoints}\nout: {tmp_path / 'run'}\nphotographs: {photographs}\n"
        f"pseudo_labels: {out}\npseudo: 1\nwarps: 1\npictures: 2\npairs: 1\nsteps: 2\nvalidate_every: 2\n"
    )
    recipe.write_text(text)
    assert train(read_recipe(recipe)).is_file()
    recipe.write_text(text.replace("pseudo: 1\n", ""))
    with pytest.raises(DataError, match="pseudo_labels needs pseudo, 1 or more"):
        read_recipe(recipe)
