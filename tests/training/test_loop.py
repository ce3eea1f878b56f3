"""Training on a small data set made of one real photograph and its shifted, mirrored copies."""

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semcorr.errors import DataError, ModelError
from semcorr.features import FeatureExtractor
from semcorr.training.loop import begin_from, build_objective, train
from semcorr.training.recipe import read_recipe
from semcorr.training.sampling.sampling import KeypointSampler
from semcorr.weights import read_weights

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


@pytest.fixture(scope="module")
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


def recipe_file(tmp_path, folder, out="run", **changes):
    text = RECIPE.replace("DATA", str(folder)).replace("OUT", str(tmp_path / out))
    for key, value in changes.items():
        text = "\n".join(f"{key}: {value}" if line.startswith(f"{key}:") else line for line in text.splitlines())
    path = tmp_path / f"{out}.yaml"
    path.write_text(text)
    return path


def test_weights_can_be_loaded_and_say_how_they_were_made(tmp_path, folder, cat):
    import semcorr

    weights = train(read_recipe(recipe_file(tmp_path, folder)))
    stored = read_weights(weights)
    assert stored.metadata["model"]["radius"] == 1
    assert stored.metadata["training"]["validation PCK@0.1"] > 50
    model = semcorr.load(weights=weights)
    assert model.features.options.grid == 10
    assert model.match(cat, cat).forward.confidence.shape == (8, 12)


NCNET = "  kind: ncnet\n  kernels: [3, 3]\n  channels: [2, 1]"
ANCNET = "  kind: ancnet\n  small: 1\n  large: 3\n  channels: 2"


@pytest.mark.parametrize(
    ("model", "loss"),
    [(NCNET, "cross-entropy"), (NCNET, "weak"), (ANCNET, "one-to-one"), (ANCNET, "cross-entropy"), (ANCNET, "weak")],
)
def test_dense_networks_learn_in_the_same_loop(tmp_path, folder, cat, model, loss):
    import semcorr

    path = recipe_file(tmp_path, folder, steps=4)
    path.write_text(path.read_text().replace("  radius: 1\n  hidden: 4", model) + f"\nloss: {loss}\n")
    weights = train(read_recipe(path))
    kind = model.split()[1]
    assert weights.name == f"{kind}.safetensors"
    stored = read_weights(weights)
    assert stored.metadata["training"]["loss"] == loss
    matcher = semcorr.load(kind, weights=weights)
    assert matcher.match(cat, cat).forward.confidence.shape == (8, 12)
    untrained = read_recipe(path).model.build()
    assert any(not torch.equal(value, untrained.state_dict()[key]) for key, value in stored.tensors.items())
    with pytest.raises(ModelError, match="load it by that name"):
        semcorr.load("pmnc", weights=weights)


@pytest.mark.parametrize("loss", ["cross-entropy", "weak"])
@pytest.mark.parametrize("frozen", [3, 5])  # before the first stage that is used, and behind it
def test_second_stage_trains_the_last_blocks_too(tmp_path, folder, cat, loss, frozen):
    import semcorr

    def recipe(out, more=""):
        path = recipe_file(tmp_path, folder, out, steps=4)
        model = path.read_text().replace("  radius: 1\n  hidden: 4", NCNET)
        path.write_text(f"{model}\nloss: {loss}\n{more}")
        return read_recipe(path)

    first = train(recipe("first"))
    second = train(recipe("second", f"start: {first}\nfrozen_blocks: {frozen}\nbackbone_rate: 1.0e-3\n"))
    stored = read_weights(second).tensors
    before = FeatureExtractor(recipe("first").model.features).network.state_dict(prefix="backbone.")
    moved = {key.split(".")[2] for key, value in before.items() if not torch.equal(stored[key], value)}
    assert moved == {str(index) for index in range(frozen, 7)}
    model = semcorr.load("ncnet", weights=second)
    assert model.match(cat, cat).forward.confidence.shape == (8, 12)
    held = model.features.network.state_dict(prefix="backbone.")
    assert all(torch.equal(held[key], stored[key]) for key in before)
    with pytest.raises(ModelError, match="was trained together with the features"):
        semcorr.load("ncnet", weights=second, stages=(3,))
    still = "learning_rate: 1.0e-12\nbackbone_rate: 1.0e-12\n"
    third = train(recipe("third", f"start: {second}\nfrozen_blocks: {frozen}\n{still}"))
    assert all(torch.allclose(value, stored[key], atol=1e-7) for key, value in read_weights(third).tensors.items())
    with pytest.raises(DataError, match="do not fit the recipe's model"):
        train(recipe("frozen", f"start: {second}\n"))
    with pytest.raises(DataError, match="frozen_blocks must be 5 at most"):
        train(recipe("late", f"start: {first}\nfrozen_blocks: 6\n"))
    assert model.features.key != semcorr.load("ncnet", weights=first).features.key  # features are kept by it
    one = recipe("one", f"start: {second}\nfrozen_blocks: {frozen}\n")
    one = replace(one, model=replace(one.model, features=replace(one.model.features, stages=(4,))))
    with pytest.raises(DataError, match="whose stages is not"):
        train(one)


def test_weak_training_reads_no_keypoints_and_keeps_the_last_weights(tmp_path, folder):
    photos = json.loads((folder / "train.json").read_text())
    unlike = [{**photo, "keypoints": {f"only here {i}": [1, 1]}} for i, photo in enumerate(photos)]
    (folder / "train.json").write_text(json.dumps(unlike))
    try:
        path = recipe_file(tmp_path, folder, steps=4)
        path.write_text(path.read_text().replace("  radius: 1\n  hidden: 4", NCNET) + "\nloss: weak\n")
        assert read_weights(train(read_recipe(path))).recipe["training"]["step"] == 4
        with pytest.raises(DataError, match="share 3 keypoints"):
            train(read_recipe(recipe_file(tmp_path, folder, "strong")))
    finally:
        (folder / "train.json").write_text(json.dumps(photos))


def test_interrupted_training_gives_the_same_result(tmp_path, folder):
    whole = read_weights(
        train(read_recipe(recipe_file(tmp_path, folder, "whole", steps=40))).parent / "checkpoint.safetensors"
    )
    path = recipe_file(tmp_path, folder, "cut", steps=40)
    code = "import sys; from semcorr.cli.app import main; sys.argv[0] = 'semcorr'; main()"
    process = subprocess.Popen([sys.executable, "-c", code, "train", str(path)], stderr=subprocess.PIPE)
    checkpoint = tmp_path / "cut" / "checkpoint.safetensors"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert read_weights(checkpoint).recipe["step"] < 40
    train(read_recipe(path))
    cut = read_weights(checkpoint)
    assert cut.recipe["step"] == whole.recipe["step"] == 40
    for key, value in whole.tensors.items():
        assert torch.equal(value, cut.tensors[key]), key


def test_checkpoint_of_another_recipe_is_not_overwritten(tmp_path, folder):
    train(read_recipe(recipe_file(tmp_path, folder, steps=2)))
    with pytest.raises(DataError, match="belongs to another recipe"):
        train(read_recipe(recipe_file(tmp_path, folder, steps=3)))
    train(read_recipe(recipe_file(tmp_path, folder, steps=3)), fresh=True)


def test_checkpoint_of_other_annotations_is_not_gone_on_with(tmp_path, folder):
    own = shutil.copytree(folder, tmp_path / "own")
    recipe = read_recipe(recipe_file(tmp_path, own, steps=2))
    train(recipe)
    entries = json.loads((own / "train.json").read_text())
    entries[0]["keypoints"]["nose"][0] += 1
    (own / "train.json").write_text(json.dumps(entries))
    with pytest.raises(DataError, match="another recipe or other annotations"):
        train(recipe)


def test_the_folder_and_the_devices_do_not_matter(tmp_path, folder):
    shutil.copytree(folder, tmp_path / "own")
    train(read_recipe(recipe_file(tmp_path, folder, steps=2)))
    train(read_recipe(recipe_file(tmp_path, tmp_path / "own", steps=2, validation_pairs="2\naccelerator: auto")))


def test_a_finished_run_whose_weights_are_gone_is_said(tmp_path, folder):
    recipe = read_recipe(recipe_file(tmp_path, folder, steps=2))
    weights = train(recipe)
    assert train(recipe) == weights
    weights.unlink()
    with pytest.raises(DataError, match=r"pmnc.safetensors, the best weights of this run so far, are gone: --fresh"):
        train(recipe)


def test_an_empty_list_of_validation_pairs_is_said(tmp_path, folder):
    own = shutil.copytree(folder, tmp_path / "own")
    (own / "val_pairs.json").write_text("[]")
    with pytest.raises(DataError, match="lists no pairs"):
        train(read_recipe(recipe_file(tmp_path, own)))


def test_broken_checkpoint_is_said(tmp_path, folder):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint.safetensors").write_bytes(b"half a file")
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        train(read_recipe(recipe_file(tmp_path, folder)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": "many"}, "steps: "),
        ({"steps": "0"}, "steps: "),
        ({"warmup": "2\nwarm_up: 3"}, "warm_up: "),
        ({"data": "[1"}, "is not YAML"),
        ({"pairs": "3\ndevices: 2"}, "3 pairs cannot be shared by 2 devices"),
        ({"steps": "8\nloss: strong"}, "loss: "),
        ({"warmup": "2\nloss: weak"}, "pmnc does not compute"),
        ({"warmup": "2\nfrozen_blocks: 3"}, "together with an adapter"),
        ({"  radius": "1\n  kind: ncnett"}, "model: "),
        ({"  radius": "1\n  kind: ncnet"}, "model.ncnet.radius: "),
    ],
)
def test_bad_recipes_name_the_key(tmp_path, folder, changes, message):
    with pytest.raises(DataError, match=message) as caught:
        read_recipe(recipe_file(tmp_path, folder, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_recipe_in_configs_is_one(path):
    assert read_recipe(path).out.name == path.stem


def test_options_take_the_place_of_folders(tmp_path, folder):
    recipe = read_recipe(recipe_file(tmp_path, "elsewhere"), data=folder, out=tmp_path / "other")
    assert (recipe.data, recipe.out) == (folder, tmp_path / "other")


def test_draws_depend_on_seed_and_step_alone(folder):
    from semcorr.data.formats.keypoints import load_photos

    photos = load_photos(folder, "train")
    first, again = (KeypointSampler(photos, 0, 4, 3) for _ in range(2))
    forwards = [first.draw(step, 0) for step in range(5)]
    backwards = [again.draw(step, 0) for step in reversed(range(5))][::-1]
    assert forwards == backwards
    assert forwards != [KeypointSampler(photos, 1, 4, 3).draw(step, 0) for step in range(5)]


@pytest.mark.parametrize("frozen", ["null", "3"])
def test_an_adapter_warps_and_a_cache(tmp_path, folder, cat, frozen):
    """All that the default model is trained with, interrupted once, gives what an uninterrupted run gives."""
    import semcorr

    (tmp_path / "photographs" / "animal").mkdir(parents=True)
    for shift in (0, 60):
        Image.fromarray(np.ascontiguousarray(cat[:, shift : shift + 380])).save(
            tmp_path / "photographs" / "animal" / f"{shift}.jpg"
        )
    more = "\n".join(
        [
            f"photographs: {tmp_path / 'photographs'}",
            f"cache: {tmp_path / 'cache'}",
            "warps: 2",
            "views: 4",
            "average: 0.9",
            "pictures: 3",
            "together: [[cat, dog]]",
            f"frozen_blocks: {frozen}",
        ]
    )

    def recipe(out, **changes):
        path = recipe_file(tmp_path, folder, out, **changes)
        text = path.read_text().replace("  hidden: 4", "  hidden: 4\n  adapter: 8")
        path.write_text(text + more)
        return read_recipe(path)

    weights = train(recipe("whole"))
    stored = read_weights(weights)
    assert stored.tensors["adapter.leave.weight"].abs().max() > 0  # it began at zero
    trained = [key for key in stored.tensors if key.startswith("backbone.")]
    assert bool(trained) == (frozen == "3")
    if trained:
        with pytest.raises(ModelError, match="trained its own backbone"):
            semcorr.load(weights=weights, backbone_weights="random")
    model = semcorr.load(weights=weights, grid=20)  # twice as fine: the adapter is dilated
    assert model.match(cat, cat).forward.confidence.shape == (16, 25)
    with pytest.raises(ModelError, match="choose 'pmnc-universal'"):
        semcorr.load(weights=weights, stages=(3,))
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("*/*.npy")}
    assert len(files) > 8
    again = read_weights(train(recipe("again")))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("*/*.npy")} == files  # read, not made
    assert all(torch.equal(value, again.tensors[key]) for key, value in stored.tensors.items())


def test_categories_can_be_left_out(tmp_path, folder):
    own = shutil.copytree(folder, tmp_path / "own")
    path = recipe_file(tmp_path, own)
    path.write_text(path.read_text() + "leave_out: [cat]\n")
    with pytest.raises(DataError, match="lists no pairs of what is trained on"):
        train(read_recipe(path))
    entries = json.loads((own / "val.json").read_text())
    entries = [{**entry, "file": f"dog-{entry['file']}", "category": "dog"} for entry in entries]
    for entry in entries:
        shutil.copy(own / "images" / entry["file"].removeprefix("dog-"), own / "images" / entry["file"])
    (own / "val.json").write_text(json.dumps(entries))
    (own / "val_pairs.json").write_text(json.dumps([[entries[0]["file"], entries[1]["file"]]]))
    with pytest.raises(DataError, match="a category with two photographs"):
        train(read_recipe(path))


def test_warps_need_photographs(tmp_path, folder):
    path = recipe_file(tmp_path, folder)
    path.write_text(path.read_text() + "warps: 2\n")
    with pytest.raises(DataError, match="need a folder of photographs"):
        read_recipe(path)
    path.write_text(path.read_text() + f"photographs: {tmp_path}\n")
    with pytest.raises(DataError, match="holds no photographs"):
        train(read_recipe(path))


def test_one_scoring_function_for_several_kinds_of_features(tmp_path, folder, cat):
    import semcorr

    others = "others: [{backbone: tf_efficientnet_lite0, stages: [3], image_size: 128, grid: 8}]\n"
    path = recipe_file(tmp_path, folder)
    path.write_text(path.read_text() + others)
    weights = train(read_recipe(path))
    alone = train(read_recipe(recipe_file(tmp_path, folder, "alone")))
    first, second = (read_weights(file).tensors["scoring.window"] for file in (weights, alone))
    assert not torch.equal(first, second)  # it has seen the others
    match = semcorr.load("pmnc-universal", weights=weights, backbone="resnet18", backbone_weights="random").match(
        cat, cat
    )
    assert match.forward.confidence.shape == (8, 12)
    path.write_text(path.read_text().replace("  hidden: 4", "  hidden: 4\n  adapter: 8"))
    with pytest.raises(DataError, match="an adapter belongs to one kind of features"):
        read_recipe(path)


def test_training_can_start_from_a_trained_model(tmp_path, folder):
    first = train(read_recipe(recipe_file(tmp_path, folder)))
    path = recipe_file(tmp_path, folder, "more", steps=2)
    path.write_text(path.read_text() + f"\nstart: {first}\nlearning_rate: 1.0e-9\nweight_decay: 0.0\n")
    begun, ended = (read_weights(file).tensors for file in (first, train(read_recipe(path))))
    for key, value in begun.items():
        torch.testing.assert_close(ended[key], value, atol=1e-6, rtol=0)
    path.write_text(path.read_text().replace("hidden: 4", "hidden: 5"))
    with pytest.raises(DataError, match="do not fit the recipe's model"):
        train(read_recipe(path), fresh=True)
    path.write_text(path.read_text().replace(str(first), str(tmp_path / "gone.safetensors")))
    with pytest.raises(ModelError, match=r"gone\.safetensors"):
        train(read_recipe(path), fresh=True)


def test_a_start_that_trained_what_shall_stay_frozen_is_refused(tmp_path, folder):
    def recipe(out, *more):
        path = recipe_file(tmp_path, folder, out, steps=1)
        text = path.read_text().replace("  hidden: 4", "  hidden: 4\n  adapter: 8")
        path.write_text("\n".join([text, "pictures: 2", *more]) + "\n")
        return read_recipe(path)

    first = train(recipe("first", "frozen_blocks: 3", "backbone_rate: 1.0e-2"))
    assert train(recipe("same", "frozen_blocks: 3", f"start: {first}")).is_file()
    with pytest.raises(DataError, match="has trained blocks"):
        train(recipe("more", "frozen_blocks: 5", f"start: {first}"))


def test_fine_descriptors_learn_on_a_finished_model(tmp_path, folder, cat):
    import semcorr

    def recipe(name, fine, *lines):
        path = recipe_file(tmp_path, folder, name, steps=2)
        path.write_text(
            path.read_text().replace("  hidden: 4", f"  hidden: 4\n  adapter: 8\n  fine: {fine}")
            + "\n".join(["", "frozen_blocks: 3", *lines, ""])
        )
        return read_recipe(path)

    first = train(recipe("first", 0))
    weights = train(recipe("fine", 8, f"start: {first}"))
    before, after = read_weights(first).tensors, read_weights(weights).tensors
    assert all(torch.allclose(after[key], value, atol=1e-5) for key, value in before.items())
    assert {key.split(".")[0] for key in after.keys() - before.keys()} == {"fine"}
    match = semcorr.load(weights=weights).match(cat, cat)
    assert match.forward.confidence.shape == (16, 24)  # the early stage's cells, not the grid's
    assert semcorr.load(weights=weights, decoding="argmax").match(cat, cat).forward.confidence.shape == (8, 12)
    again = recipe("again", 8, f"start: {weights}")
    objective = build_objective(again, FeatureExtractor(again.model.features))
    begin_from(objective, again)
    assert all(torch.equal(objective.state_dict()[key], after[key]) for key in after if key.startswith("fine."))
    with pytest.raises(DataError, match="do not fit"):
        train(recipe("wider", 16, f"start: {weights}"))
    with pytest.raises(DataError, match="fine descriptors are trained on a finished model"):
        recipe("none", 8)
