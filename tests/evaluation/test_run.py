"""Runs on real photographs in small grids: what is on disk, what is matched again, and what survives damage."""

import functools
import json
import shutil
from collections import OrderedDict
from dataclasses import replace
from types import SimpleNamespace

import layouts
import numpy as np
import pytest
import torch

import semcorr
from semcorr.data.formats.keypoints import load_pairs
from semcorr.data.registry import DATASETS, load_dataset
from semcorr.errors import DataError, ImageError, ModelError
from semcorr.evaluation.run import FILE, RunOptions, fingerprint, predict
from semcorr.evaluation.score import evaluate
from semcorr.features import FeatureMap
from semcorr.geometry import cells_to_pixels, pixels_to_cells
from semcorr.image import load_image
from semcorr.match.types import Transferred
from semcorr.models.encoded import Encoded

SMALL = {"image_size": 96, "grid": 6}
SETTINGS = {"model": "nearest", **SMALL}


@pytest.fixture(scope="module")
def pairs(folder):
    return load_pairs(folder, "test").pairs


@functools.cache
def load():
    return semcorr.load("nearest", **SMALL)


def never():
    raise AssertionError("nothing should be matched")


def test_predictions_are_what_the_model_says(pairs, tmp_path):
    found = predict(load, SETTINGS, pairs, tmp_path, RunOptions(batch=5))
    assert len(found.predictions) == 12
    model = load()
    for pair, prediction in zip(pairs, found.predictions, strict=True):
        points, confidence = model.match(pair.source.path, pair.target.path).transfer(pair.points()[0])
        np.testing.assert_allclose(prediction.points, points, atol=0.01)
        np.testing.assert_allclose(prediction.confidence, confidence, atol=1e-4)


def test_a_second_scoring_matches_nothing(pairs, tmp_path):
    first = predict(load, SETTINGS, pairs, tmp_path)
    again = predict(never, SETTINGS, pairs, tmp_path)
    assert again == first
    by_image = evaluate("nearest", "test", pairs, again.predictions, "image")
    by_extent = evaluate("nearest", "test", pairs, again.predictions, "keypoints")
    assert by_image.scores.per_image[0.1] > by_extent.scores.per_image[0.1]


@pytest.mark.parametrize("cut", ["between blocks", "in a block", "in a line", "before a line's end", "no pair yet"])
def test_an_interrupted_run_goes_on_with_the_same_predictions(pairs, tmp_path, cut):
    options = RunOptions(batch=5)
    whole = predict(load, SETTINGS, pairs, tmp_path / "whole", options)
    lines = (tmp_path / "whole" / FILE).read_bytes().splitlines(keepends=True)
    kept = {
        "between blocks": lines[:6],
        "in a block": lines[:9],
        "in a line": [*lines[:8], lines[8][:20]],
        "before a line's end": [*lines[:10], lines[10][:-1]],
        "no pair yet": lines[:1],
    }[cut]
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / FILE).write_bytes(b"".join(kept))
    cut_run = predict(load, SETTINGS, pairs, tmp_path / "cut", options)
    assert cut_run == whole
    assert (tmp_path / "cut" / FILE).read_bytes() == (tmp_path / "whole" / FILE).read_bytes()
    # and what is on disk now is whole
    assert predict(never, SETTINGS, pairs, tmp_path / "cut", options) == cut_run


def test_predictions_of_other_settings_are_not_taken(pairs, tmp_path):
    predict(load, SETTINGS, pairs, tmp_path)
    with pytest.raises(DataError, match="other settings or pairs"):
        predict(never, SETTINGS | {"grid": 7}, pairs, tmp_path)
    with pytest.raises(DataError, match="other settings or pairs"):
        predict(never, SETTINGS, pairs[:5], tmp_path)
    assert len(predict(load, SETTINGS, pairs[:5], tmp_path, fresh=True).predictions) == 5


@pytest.mark.parametrize("content", [b"my diary\n", b"[1]\n", b"", b"\xff\xfe\n", b'{"fingerprint": "other"}\n'])
def test_a_file_of_another_kind_is_not_overwritten(pairs, tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(DataError, match="other settings or pairs"):
        predict(never, SETTINGS, pairs, tmp_path)
    assert (tmp_path / FILE).read_bytes() == content


@pytest.mark.parametrize("damage", ["two runs at once", "no prediction", "a point short"])
def test_lines_that_are_not_the_pairs_answer_are_matched_again(pairs, tmp_path, damage):
    options = RunOptions(batch=1)
    whole = predict(load, SETTINGS, pairs, tmp_path, options)
    lines = (tmp_path / FILE).read_text().splitlines(keepends=True)
    fifth = json.loads(lines[5])
    lines[5] = {
        "two runs at once": lines[4],
        "no prediction": '{"points": []}\n',
        "a point short": json.dumps(fifth | {"points": fifth["points"][1:]}) + "\n",
    }[damage]
    (tmp_path / FILE).write_text("".join(lines))
    mended = predict(load, SETTINGS, pairs, tmp_path, options)
    assert [p.points for p in mended.predictions] == [p.points for p in whole.predictions]
    assert mended.predictions[:4] == whole.predictions[:4]


def test_a_model_that_cannot_be_loaded_leaves_everything_as_it_was(pairs, tmp_path):
    def broken():
        raise ModelError("no such weights")

    with pytest.raises(ModelError):
        predict(broken, SETTINGS, pairs, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    first = predict(load, SETTINGS, pairs, tmp_path / "old")
    with pytest.raises(ModelError):
        predict(broken, SETTINGS, pairs, tmp_path / "old", fresh=True)
    assert predict(never, SETTINGS, pairs, tmp_path / "old") == first


def test_a_damaged_picture_stops_the_run_or_is_left_out(folder, tmp_path):
    root = shutil.copytree(folder, tmp_path / "pairs")
    picture = root / "images" / "30.png"
    whole = picture.read_bytes()
    picture.write_bytes(whole[: len(whole) // 2])  # its header, all that the loader looks at, is sound
    pairs = load_pairs(root, "test", skip_broken=True).pairs
    out, options = tmp_path / "out", RunOptions(batch=5)
    with pytest.raises(ImageError, match=r"30\.png"):
        predict(load, SETTINGS, pairs, out, options)
    found = predict(load, SETTINGS, pairs, out, options, skip_broken=True)
    hurt = [i for i, pair in enumerate(pairs) if "30.png" in (pair.source.path.name, pair.target.path.name)]
    assert (list(found.broken), len(hurt), len(found.predictions)) == (hurt, 6, 6)
    assert all("30.png" in reason for reason in found.broken.values())
    assert predict(never, SETTINGS, pairs, out, options, skip_broken=True) == found
    # each prediction is still its own pair's
    sound = [pair for i, pair in enumerate(pairs) if i not in hurt]
    alone = predict(load, SETTINGS, sound, tmp_path / "alone", options)
    assert [p.points for p in found.predictions] == [p.points for p in alone.predictions]
    # mended, and without skip_broken, they are tried again
    picture.write_bytes(whole)
    mended = predict(load, SETTINGS, pairs, out, options)
    assert (mended.broken, len(mended.predictions)) == ({}, 12)


def test_nothing_to_match_is_said(pairs, tmp_path):
    with pytest.raises(DataError, match="no pair could be matched"):
        predict(never, SETTINGS, [], tmp_path)


def test_a_point_outside_the_source_is_moved_from_its_border(pairs, tmp_path):
    """Annotators click a little outside; that is no reason to stop a run."""
    photo = replace(pairs[0].source, keypoints={"nose": (401.5, -2.0), "eye": (170.0, 115.0)})
    pair = replace(pairs[0], source=photo)
    found = predict(load, SETTINGS, [pair], tmp_path)
    border, _ = load().match(photo.path, pair.target.path).transfer([(400, 0), (170, 115)])
    np.testing.assert_allclose(found.predictions[0].points, border, atol=0.01)


def test_the_fingerprint_knows_the_points(pairs):
    assert fingerprint(SETTINGS, pairs) == fingerprint(SETTINGS, list(pairs))
    assert fingerprint(SETTINGS, pairs) != fingerprint(SETTINGS, [pair.swapped() for pair in pairs])


def test_a_small_cache_gives_the_same(pairs, tmp_path):
    large = predict(load, SETTINGS, pairs, tmp_path / "large")
    small = predict(load, SETTINGS, pairs, tmp_path / "small", RunOptions(batch=8, cache_megabytes=1, workers=1))
    assert [p.points for p in small.predictions] == [p.points for p in large.predictions]


def test_models_on_the_same_features_compute_them_once(pairs, tmp_path, monkeypatch):
    known, encoded = OrderedDict(), []
    model, other = load(), semcorr.load("nearest", image_size=96, grid=5)
    for one in (model, other):
        encode = one.encode
        monkeypatch.setattr(one, "encode", lambda image, encode=encode: encoded.append(1) or encode(image))
    first = predict(lambda: model, SETTINGS, pairs, tmp_path / "first", known=known)
    second = predict(lambda: model, SETTINGS, pairs, tmp_path / "second", known=known)
    assert (second, len(encoded)) == (first, 4)
    alone = predict(lambda: other, SETTINGS, pairs, tmp_path / "alone")
    shared = predict(lambda: other, SETTINGS, pairs, tmp_path / "shared", known=known)
    assert (shared, len(encoded)) == (alone, 12)  # another grid's features are others


def test_senseless_options_are_refused():
    with pytest.raises(ValueError, match="batch must be 1 or more"):
        RunOptions(batch=0)


class Answer:
    """Where the truth of `layouts` has the points, or so many cells of a 25 × 25 grid beside it."""

    def __init__(self, source, target, points, cells_off):
        self.source, self.target, self.points, self.cells_off = source, target, points, cells_off

    def transfer(self, points):
        (source, _), (target, size) = self.source, self.target
        places = torch.tensor(list(self.points(source).values()))
        distances, parts = torch.cdist(torch.from_numpy(points), places).min(dim=1)
        assert bool((distances < 1e-3).all()), "the source's points were moved on the way"
        truth = torch.tensor(list(self.points(target).values()))[parts]
        moved = cells_to_pixels(pixels_to_cells(truth, size, (25, 25)) + self.cells_off, size, (25, 25))
        return Transferred(moved.numpy(), np.full(len(moved), 0.9, np.float32))


class Truth:
    """A model that knows every photograph of `layouts` by its size, and answers from the truth."""

    name = "truth"
    features = SimpleNamespace(key=None)

    def __init__(self, points, cells_off=0.0):
        self.points, self.cells_off = points, cells_off

    def encode(self, image):
        pixels = load_image(image)
        return Encoded(pixels, FeatureMap(torch.zeros(1, 1, 5, 5), (pixels.shape[:2],)))

    def match_many(self, pairs):
        names = {size: name for name, size in layouts.SIZES.items()}
        known = [[(names[one.image.shape[:2]], one.image.shape[:2]) for one in pair] for pair in pairs]
        return [Answer(source, target, self.points, self.cells_off) for source, target in known]


# What half a cell is worth by each protocol is worked out in tests/data/test_loaders.py.
@pytest.mark.parametrize(
    ("name", "half_a_cell"),
    [
        ("keypoints", {0.03: 100.0, 0.025: 200 / 3, 0.0225: 100 / 3, 0.02: 0.0}),
        ("pf-pascal", {0.0283: 100.0, 0.028: 0.0}),
        ("pf-willow", {0.2: 100.0, 0.15: 200 / 3, 0.1: 100 / 3, 0.07: 0.0}),
        ("spair-71k", {0.1: 100.0, 0.05: 200 / 3, 0.03: 100 / 3, 0.02: 0.0}),
        ("ap-10k", {0.1: 100.0, 0.05: 200 / 3, 0.03: 100 / 3, 0.02: 0.0}),
    ],
)
def test_the_truth_gets_100_through_the_whole_path(built, tmp_path, name, half_a_cell):
    listed = {"pairs": built[name] / "pairs.json"} if name == "ap-10k" else {}
    pairs = load_dataset(name, built[name], "test", **listed)
    known = DATASETS[name]
    points = layouts.willow_points if name == "pf-willow" else layouts.TRUTH.__getitem__

    def scores_of(cells_off, alphas):
        settings = {"model": "truth", "off": cells_off}
        found = predict(lambda: Truth(points, cells_off), settings, pairs, tmp_path / str(cells_off), RunOptions(2))
        return evaluate("truth", name, pairs, found.predictions, known.threshold, known.space, alphas).scores

    truth = scores_of(0.0, [1e-4])
    assert (truth.per_image, truth.per_point, truth.per_category) == ({1e-4: 100.0},) * 3
    assert scores_of(0.5, list(half_a_cell)).per_image == pytest.approx(half_a_cell)
