"""Training on every public layout, made of real photographs, by the commands of the documentation."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import converted
import pytest
import torch

from semcorr.data.pairs import mirrored_name
from semcorr.errors import DataError
from semcorr.training.data import load_data
from semcorr.training.loop import train
from semcorr.training.recipe import read_recipe
from semcorr.training.sampling.samplers import ListSampler
from semcorr.weights import read_weights

RECIPE = """
model: {features: {backbone: tf_efficientnet_lite0, image_size: 96, grid: 6}, radius: 1, hidden: 4}
data: nowhere
out: nowhere
steps: 30
pairs: 2
validate_every: 3
validation_pairs: 2
warmup: 2
"""


@pytest.fixture(scope="session")
def layouts(tmp_path_factory, folder):
    root = tmp_path_factory.mktemp("converted")
    return {name: build(folder, root / name) for name, build in converted.BUILDERS.items()}


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def lines_of(text):
    return [line for line in text.splitlines() if line.startswith("step ")]


@pytest.mark.parametrize("name", list(converted.BUILDERS))
def test_train_kill_resume_and_evaluate(tmp_path, layouts, recipe, run, name):
    options = ["--data", name, "--root", str(layouts[name])]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    code, _, err = run("train", recipe, *options, "--out", whole)
    assert code == 0, err
    command = [sys.executable, "-m", "semcorr", "train", str(recipe), *options, "--out", str(cut)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 240
    while not (cut / "checkpoint.safetensors").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert read_weights(cut / "checkpoint.safetensors").metadata["step"] < 30
    assert run("train", recipe, *options, "--out", cut)[0] == 0
    for file in ("checkpoint.safetensors", "pmnc.safetensors"):
        first, second = (read_weights(folder / file).tensors for folder in (whole, cut))
        assert all(torch.equal(value, second[key]) for key, value in first.items())
    weights = ["--weights", cut / "pmnc.safetensors"]
    code, out, err = run(
        "evaluate", name, "--root", layouts[name], "--split", "val", *weights, "--no-cost", "--limit", 2
    )
    assert code == 0, err
    assert "PCK" in out


def test_the_same_photographs_in_another_layout_give_the_same_steps(tmp_path, folder, recipe, capsys):
    _same_steps(folder, tmp_path, recipe, capsys)


def test_the_shared_photographs_in_pf_pascal_s_layout_give_the_same_steps(tmp_path, shared_keypoints, recipe, capsys):
    """The first photographs of two categories, with JPEG files and missing keypoints."""
    own = tmp_path / "own"
    own.mkdir()
    train_entries = json.loads((shared_keypoints / "train.json").read_text())
    chosen = [e for c in ("dog", "horse") for e in [e for e in train_entries if e["category"] == c][:6]]
    names = converted.names_of(chosen)
    for entry in chosen:  # the rows of PF-PASCAL's files are in the order of the class, and draws depend on the order
        points = entry["keypoints"]
        entry["keypoints"] = {name: points[name] for name in names[entry["category"]] if name in points}
    pairs = [[chosen[0]["file"], chosen[1]["file"]]]
    for split in ("train", "val"):
        (own / f"{split}.json").write_text(json.dumps(chosen))
    (own / "val_pairs.json").write_text(json.dumps(pairs))
    (own / "images").symlink_to(shared_keypoints / "images")
    _same_steps(own, tmp_path, recipe, capsys)


def _same_steps(folder, tmp_path, recipe, capsys):
    losses = []
    root = converted.pf_pascal(folder, tmp_path / "as-pf-pascal")
    for source in ({"name": str(folder)}, {"name": "pf-pascal", "root": str(root)}):
        out = tmp_path / f"run-{len(losses)}"
        settings = {"steps": 4, "validate_every": 1, "views": 1, "pairs_from": "category"}
        train(read_recipe(recipe, data=source, out=out, **settings))
        losses.append([line.split(",")[0] for line in lines_of(capsys.readouterr().err)])
    assert len(losses[0]) == 4
    assert losses[0] == losses[1]


@pytest.mark.parametrize("name", ["pf-pascal", "spair-71k"])
def test_listed_pairs_are_seen_once_in_every_epoch(layouts, recipe, name):
    data = load_data(read_recipe(recipe, data={"name": name, "root": str(layouts[name])}))
    assert len(data.pairs) == 3
    assert data.validation.threshold == ("image" if name == "pf-pascal" else "bbox")
    assert data.validation.space == ("square" if name == "pf-pascal" else "native")
    sampler = ListSampler(data.pairs, 0, 2, 3, per_step=3)
    for step in range(4):
        drawn = [sampler.draw(step, index) for index in range(3)]
        assert {(d.source.path, d.target.path) for d in drawn} == {(p.source.path, p.target.path) for p in data.pairs}
        assert all(d.source.mirrored == d.target.mirrored for d in drawn)
        assert all(len(d.source_points) == 3 for d in drawn)
    assert sampler.draw(1, 1) == ListSampler(data.pairs, 0, 2, 3, per_step=3).draw(1, 1)
    # the true points of the pair, mirrored with the picture
    for drawn in (sampler.draw(step, 0) for step in range(8)):
        (pair,) = [p for p in data.pairs if (p.source.path, p.target.path) == (drawn.source.path, drawn.target.path)]
        height, width = pair.source.size
        known = {(x / width, y / height) for x, y in pair.source.keypoints.values()}
        seen = {(1 - x if drawn.source.mirrored else x, y) for x, y in drawn.source_points}
        assert all(min(abs(x - a) + abs(y - b) for a, b in known) < 1e-9 for x, y in seen)


def test_photographs_are_drawn_from_any_coco_file_and_willow_validates(tmp_path, layouts, built, recipe):
    root = layouts["coco"]
    files = {"annotations": root / "annotations" / "person_keypoints_train2017.json", "images": root / "train2017"}
    source = {"name": "coco", **{key: str(value) for key, value in files.items()}}
    with pytest.raises(DataError, match="validation is missing"):
        load_data(read_recipe(recipe, data=source))
    willow = {"name": "pf-willow", "root": str(built["pf-willow"])}
    data = load_data(read_recipe(recipe, data=source, validation=willow))
    assert (len(data.photos), data.pairs, data.warnings) == (4, [], ())
    assert data.validation.threshold == "keypoints"
    with pytest.raises(DataError, match="PF-WILLOW has no training list"):
        load_data(read_recipe(recipe, data=willow))
    with pytest.raises(DataError, match="coco has no list of training pairs"):
        load_data(read_recipe(recipe, data=source, validation=willow, pairs_from="list"))


def test_mirrored_views_without_left_and_right_are_warned_of(tmp_path, layouts, recipe, capsys):
    source = {"name": "pf-pascal", "root": str(layouts["pf-pascal"])}
    assert not load_data(read_recipe(recipe, data=source)).warnings  # both pictures of a pair are mirrored
    settings = {"data": source, "pairs_from": "category", "out": tmp_path / "out", "steps": 1}
    train(read_recipe(recipe, **settings))
    assert "warning: views: 2 mirrors photographs, but no keypoint name says left or right (0, 1, 2" in (
        " ".join(capsys.readouterr().err.split())
    )
    assert not load_data(read_recipe(recipe, **settings | {"views": 1})).warnings


@pytest.mark.parametrize(
    ("name", "mirrored"),
    [
        ("left_eye", "right_eye"),
        ("L_Eye", "R_Eye"),
        ("LEFT_EAR", "RIGHT_EAR"),
        ("left ear", "right ear"),
        ("leftEar", "rightEar"),
        ("RightKnee", "LeftKnee"),
        ("kneeL", "kneeR"),
        ("eye-r", "eye-l"),
        ("L4", "L4"),
        ("lip", "lip"),
        ("tail_2", "tail_2"),
    ],
)
def test_left_and_right_in_many_spellings(name, mirrored):
    assert mirrored_name(name) == mirrored
    assert mirrored_name(mirrored) == name


def _break_mat(root: Path) -> None:
    next(root.glob("PF-dataset-PASCAL/Annotations/*/*.mat")).unlink()


def _break_list(root: Path) -> None:
    path = root / "image_pairs" / "train_pairs.csv"
    path.write_text(path.read_text().replace("cat10.png", "cat11.png"))


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("pf-pascal", _break_mat, r"\.mat is missing"),
        ("pf-pascal", _break_list, r"cat11\.png is missing"),
    ],
)
def test_broken_data_is_one_line_and_nothing_is_written(tmp_path, layouts, recipe, run, name, damage, message):
    root = shutil.copytree(layouts[name], tmp_path / "broken")
    damage(root)
    _refused(run, tmp_path, recipe, message, "--data", name, "--root", root)


def test_a_picture_of_another_size_is_refused(tmp_path, layouts, recipe, run):
    root = shutil.copytree(layouts["spair-71k"], tmp_path / "broken")
    path = next((root / "PairAnnotation" / "trn").glob("*.json"))
    annotation = json.loads(path.read_text())
    path.write_text(json.dumps(annotation | {"src_imsize": [401, 300, 3]}))
    _refused(
        run, tmp_path, recipe, "is annotated as 401×300|annotated as 401×300", "--data", "spair-71k", "--root", root
    )


def test_a_backbone_of_one_size_is_refused(tmp_path, folder, recipe, run):
    recipe.write_text(RECIPE.replace("tf_efficientnet_lite0", "test_maxvit, weights: random"))
    _refused(run, tmp_path, recipe, "cannot process an image of", "--data", folder)


def test_too_little_memory_is_one_line(tmp_path, folder, recipe, run):
    model = "{kind: ncnet, features: {backbone: tf_efficientnet_lite0, image_size: 96, grid: 500}}"
    recipe.write_text(RECIPE.replace(RECIPE.splitlines()[1], f"model: {model}"))
    _refused(run, tmp_path, recipe, "out of memory: choose fewer pairs", "--data", folder)


def _refused(run, tmp_path, recipe, message, *options):
    out = tmp_path / "out"
    code, printed, err = run("train", recipe, *options, "--out", out)
    assert (code, printed) == (2, "")
    last = [line for line in err.splitlines() if line.startswith("semcorr: ")]
    assert len(last) == 1
    assert re.search(message, last[0]), err
    assert "Traceback" not in err
    assert not list(out.glob("**/*")) if out.exists() else True


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path, layouts, recipe, capsys):
    """Three pairs of a step on two processes of torchrun: the gradients are those of one process."""
    text = RECIPE.replace("pairs: 2\n", "pairs: 3\ntrain_from: 4\n", 1).replace("steps: 30", "steps: 2")
    recipe.write_text(text.replace("validate_every: 3", "validate_every: 1"))
    root = str(layouts["spair-71k"])
    train(read_recipe(recipe, data={"name": "spair-71k", "root": root}, out=tmp_path / "one"))
    said = lines_of(capsys.readouterr().err)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "semcorr"]
    command += ["train", str(recipe), "--data", "spair-71k", "--root", root, "--out", str(tmp_path / "two")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line.split(",")[0] for line in lines_of(done.stderr)] == [line.split(",")[0] for line in said]
    one, two = (read_weights(tmp_path / name / "checkpoint.safetensors").tensors for name in ("one", "two"))
    gradients = [key for key in one if key.endswith("exp_avg")]  # their moving averages
    assert one.keys() == two.keys()
    assert len(gradients) > 20
    for key in gradients:
        assert (one[key] - two[key]).abs().max() <= 0.01 * one[key].abs().max() + 1e-7, key
