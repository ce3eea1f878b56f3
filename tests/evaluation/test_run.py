"""Runs on real photographs in small grids: what is on disk, what is matched again, and what survives a kill."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import semcorr
from semcorr.data.keypoints import load_pairs
from semcorr.errors import DataError
from semcorr.evaluation.run import FILE, RunOptions, fingerprint, predict
from semcorr.evaluation.score import evaluate

SMALL = {"image_size": 96, "grid": 6}
SETTINGS = {"model": "nearest", **SMALL}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, cat):
    """Twelve pairs of four crops of one photograph: the truth is known to the pixel."""
    root = tmp_path_factory.mktemp("pairs")
    (root / "images").mkdir()
    entries = []
    for shift in (0, 10, 30, 50):
        Image.fromarray(np.ascontiguousarray(cat[:, shift : shift + 400])).save(root / "images" / f"{shift}.png")
        points = {"nose": [265 - shift, 243], "eye": [170 - shift, 115], "other_eye": [319 - shift, 137]}
        entries.append(
            {"file": f"{shift}.png", "category": "cat", "width": 400, "height": 300, "bbox": None, "keypoints": points}
        )
    names = [entry["file"] for entry in entries]
    (root / "test.json").write_text(json.dumps(entries))
    (root / "test_pairs.json").write_text(json.dumps([[a, b] for a in names for b in names if a != b]))
    return root


@pytest.fixture(scope="module")
def pairs(folder):
    return load_pairs(folder, "test").pairs


def load():
    return semcorr.load("nearest", **SMALL)


def never():
    raise AssertionError("nothing should be matched")


def test_predictions_are_what_the_model_says(pairs, tmp_path):
    found = predict(load, SETTINGS, pairs, tmp_path, RunOptions(batch=5))
    assert len(found.predictions) == 12
    model = load()
    for pair, prediction in zip(pairs, found.predictions, strict=True):
        points, confidence = model.match(pair.source.path, pair.target.path).transfer(pair.points()[0].numpy())
        np.testing.assert_allclose(prediction.points, points, atol=0.01)
        np.testing.assert_allclose(prediction.confidence, confidence, atol=1e-4)
    assert 0 < found.seconds_per_pair["matching"] <= found.seconds_per_pair["total"]
    assert found.peak_megabytes > 100


def test_a_second_scoring_matches_nothing(pairs, tmp_path):
    first = predict(load, SETTINGS, pairs, tmp_path)
    again = predict(never, SETTINGS, pairs, tmp_path)
    assert again == first
    by_image = evaluate("nearest", "test", pairs, again.predictions, "image")
    by_extent = evaluate("nearest", "test", pairs, again.predictions, "keypoints")
    assert by_image.scores.per_image[0.1] > by_extent.scores.per_image[0.1]


@pytest.mark.parametrize("cut", ["between blocks", "in a block", "in a line"])
def test_an_interrupted_run_goes_on_with_the_same_predictions(pairs, tmp_path, cut):
    options = RunOptions(batch=5)
    whole = predict(load, SETTINGS, pairs, tmp_path / "whole", options)
    lines = (tmp_path / "whole" / FILE).read_bytes().splitlines(keepends=True)
    kept = {"between blocks": lines[:6], "in a block": lines[:9], "in a line": [*lines[:8], lines[8][:20]]}[cut]
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / FILE).write_bytes(b"".join(kept))
    cut_run = predict(load, SETTINGS, pairs, tmp_path / "cut", options)
    assert [p.points for p in cut_run.predictions] == [p.points for p in whole.predictions]
    assert [p.confidence for p in cut_run.predictions] == [p.confidence for p in whole.predictions]
    # the first block was not matched again: its times are those of the first run
    assert [p.seconds for p in cut_run.predictions[:5]] == [p.seconds for p in whole.predictions[:5]]


def test_a_killed_process_goes_on(folder, pairs, tmp_path):
    code = (
        "import semcorr, pathlib\n"
        "from semcorr.data.keypoints import load_pairs\n"
        "from semcorr.evaluation.run import *\n"
        f"pairs = load_pairs({str(folder)!r}, 'test').pairs\n"
        f"predict(lambda: semcorr.load('nearest', **{SMALL}), {SETTINGS}, pairs, pathlib.Path({str(tmp_path)!r}),"
        " RunOptions(batch=1))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    file = tmp_path / FILE
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if file.exists() and file.read_bytes().count(b"\n") >= 3:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    survived = file.read_bytes().count(b"\n") - 1
    assert survived >= 2
    found = predict(load, SETTINGS, pairs, tmp_path, RunOptions(batch=1))
    straight = predict(load, SETTINGS, pairs, tmp_path / "straight", RunOptions(batch=1))
    assert [p.points for p in found.predictions] == [p.points for p in straight.predictions]


def test_predictions_of_other_settings_are_not_taken(pairs, tmp_path):
    predict(load, SETTINGS, pairs, tmp_path)
    with pytest.raises(DataError, match="other settings or pairs"):
        predict(never, SETTINGS | {"grid": 7}, pairs, tmp_path)
    with pytest.raises(DataError, match="other settings or pairs"):
        predict(never, SETTINGS, pairs[:5], tmp_path)
    assert len(predict(load, SETTINGS, pairs[:5], tmp_path, fresh=True).predictions) == 5


def test_a_file_of_another_kind_is_not_overwritten(pairs, tmp_path):
    (tmp_path / FILE).write_text("my diary\n")
    with pytest.raises(DataError, match="other settings or pairs"):
        predict(never, SETTINGS, pairs, tmp_path)
    assert (tmp_path / FILE).read_text() == "my diary\n"


def test_the_fingerprint_knows_the_points(pairs):
    assert fingerprint(SETTINGS, pairs) == fingerprint(SETTINGS, list(pairs))
    assert fingerprint(SETTINGS, pairs) != fingerprint(SETTINGS, [pair.swapped() for pair in pairs])


def test_a_small_cache_gives_the_same(pairs, tmp_path):
    large = predict(load, SETTINGS, pairs, tmp_path / "large")
    small = predict(load, SETTINGS, pairs, tmp_path / "small", RunOptions(batch=8, cache_megabytes=1, workers=1))
    assert [p.points for p in small.predictions] == [p.points for p in large.predictions]


def test_senseless_options_are_refused():
    with pytest.raises(ValueError, match="batch must be 1 or more"):
        RunOptions(batch=0)


def command(*arguments) -> subprocess.CompletedProcess:
    line = [Path(sys.executable).with_name("semcorr"), *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_commands_as_a_user_runs_them(folder, tmp_path):
    done = command("compare", "keypoints", "--root", folder, "--models", "nearest,pmnc", "--grid", 6, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "pmnc − nearest" in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert [method["model"] for method in report["methods"]] == ["nearest", "pmnc"]
    assert report["methods"][0]["pairs"] == 12
    wrong = command("evaluate", "keypoint", "--root", folder, "--out", tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "keypoints" in wrong.stderr
    assert len(wrong.stderr.strip().splitlines()) == 1


def test_check_command(folder, tmp_path):
    good = command("data", "check", folder)
    assert good.returncode == 0, good.stderr
    assert "12 pairs" in good.stdout
    nothing = command("data", "check", tmp_path)
    assert (nothing.returncode, len(nothing.stderr.strip().splitlines())) == (2, 1)
