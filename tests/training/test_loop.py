"""Training on a small data set made of one real photograph and its shifted, mirrored copies."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from semcorr.errors import DataError, ModelError
from semcorr.models.building import build_matcher
from semcorr.training.loop import train
from semcorr.training.recipe import read_recipe
from semcorr.training.sampling.samplers import KeypointSampler
from semcorr.weights import read_weights


def test_weights_can_be_loaded_and_say_how_they_were_made(tmp_path, folder, cat, recipe_file):
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
def test_dense_networks_learn_in_the_same_loop(tmp_path, folder, cat, model, loss, recipe_file):
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
    untrained = build_matcher(read_recipe(path).model)
    assert any(not torch.equal(value, untrained.state_dict()[key]) for key, value in stored.tensors.items())
    with pytest.raises(ModelError, match="load it as"):
        semcorr.load("pmnc", weights=weights)


def test_weak_training_reads_no_keypoints_and_keeps_the_last_weights(tmp_path, folder, recipe_file):
    photos = json.loads((folder / "train.json").read_text())
    unlike = [{**photo, "keypoints": {f"only here {i}": [1, 1]}} for i, photo in enumerate(photos)]
    (folder / "train.json").write_text(json.dumps(unlike))
    try:
        path = recipe_file(tmp_path, folder, steps=4)
        path.write_text(path.read_text().replace("  radius: 1\n  hidden: 4", NCNET) + "\nloss: weak\n")
        assert read_weights(train(read_recipe(path))).metadata["training"]["step"] == 4
        with pytest.raises(DataError, match="share 3 keypoints"):
            train(read_recipe(recipe_file(tmp_path, folder, "strong")))
    finally:
        (folder / "train.json").write_text(json.dumps(photos))


def test_interrupted_training_gives_the_same_result(tmp_path, folder, recipe_file):
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
    assert read_weights(checkpoint).metadata["step"] < 40
    train(read_recipe(path))
    cut = read_weights(checkpoint)
    assert cut.metadata["step"] == whole.metadata["step"] == 40
    for key, value in whole.tensors.items():
        assert torch.equal(value, cut.tensors[key]), key


def test_checkpoint_of_another_recipe_is_not_overwritten(tmp_path, folder, recipe_file):
    train(read_recipe(recipe_file(tmp_path, folder, steps=2)))
    with pytest.raises(DataError, match="belongs to another recipe"):
        train(read_recipe(recipe_file(tmp_path, folder, steps=3)))
    train(read_recipe(recipe_file(tmp_path, folder, steps=3)), fresh=True)


def test_checkpoint_of_other_annotations_is_not_gone_on_with(tmp_path, folder, recipe_file):
    own = shutil.copytree(folder, tmp_path / "own")
    recipe = read_recipe(recipe_file(tmp_path, own, steps=2))
    train(recipe)
    entries = json.loads((own / "train.json").read_text())
    entries[0]["keypoints"]["nose"][0] += 1
    (own / "train.json").write_text(json.dumps(entries))
    with pytest.raises(DataError, match="another recipe or other annotations"):
        train(recipe)


def test_the_folder_and_the_devices_do_not_matter(tmp_path, folder, recipe_file):
    shutil.copytree(folder, tmp_path / "own")
    train(read_recipe(recipe_file(tmp_path, folder, steps=2)))
    train(read_recipe(recipe_file(tmp_path, tmp_path / "own", steps=2, validation_pairs="2\naccelerator: auto")))


def test_a_finished_run_whose_weights_are_gone_is_said(tmp_path, folder, recipe_file):
    recipe = read_recipe(recipe_file(tmp_path, folder, steps=2))
    weights = train(recipe)
    assert train(recipe) == weights
    weights.unlink()
    with pytest.raises(
        DataError, match=r"pmnc.safetensors, the best weights of this run so far, is missing: start over with --fresh"
    ):
        train(recipe)


def test_an_empty_list_of_validation_pairs_is_said(tmp_path, folder, recipe_file):
    own = shutil.copytree(folder, tmp_path / "own")
    (own / "val_pairs.json").write_text("[]")
    with pytest.raises(DataError, match="holds no pairs"):
        train(read_recipe(recipe_file(tmp_path, own)))


def test_broken_checkpoint_is_said(tmp_path, folder, recipe_file):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint.safetensors").write_bytes(b"half a file")
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        train(read_recipe(recipe_file(tmp_path, folder)))


def test_draws_depend_on_seed_and_step_alone(folder):
    from semcorr.data.formats.keypoints import load_photos

    photos = load_photos(folder, "train")
    first, again = (KeypointSampler(photos, 0, 4, 3) for _ in range(2))
    forwards = [first.draw(step, 0) for step in range(5)]
    backwards = [again.draw(step, 0) for step in reversed(range(5))][::-1]
    assert forwards == backwards
    assert forwards != [KeypointSampler(photos, 1, 4, 3).draw(step, 0) for step in range(5)]


@pytest.mark.parametrize("frozen", ["null", "3"])
def test_an_adapter_warps_and_a_cache(tmp_path, folder, cat, frozen, recipe_file):
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
            "together: [[cat]]",
            f"train_from: {frozen}",
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
        with pytest.raises(ModelError, match="comes with its own trained backbone"):
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


def test_features_can_be_trained_beside_what_they_were(tmp_path, folder, recipe_file):
    def recipe(out, more):
        path = recipe_file(tmp_path, folder, out)
        text = path.read_text().replace("  hidden: 4", "  hidden: 4\n  adapter: 8")
        path.write_text(f"{text}pictures: 3\ntrain_from: 3\n{more}")
        return read_recipe(path)

    joined, alone = (read_weights(train(recipe(*given))) for given in (("joined", "least_share: 0.3\n"), ("alone", "")))
    assert set(joined.tensors) == set(alone.tensors)  # the untouched features are no part of the file
    assert not torch.equal(joined.tensors["adapter.leave.weight"], alone.tensors["adapter.leave.weight"])
    again = read_weights(train(recipe("again", "least_share: 0.3\n")))
    assert all(torch.equal(value, again.tensors[key]) for key, value in joined.tensors.items())
    with pytest.raises(DataError, match="set train_from"):
        read_recipe(recipe_file(tmp_path, folder, "frozen"), least_share=0.3)
    with pytest.raises(DataError, match="mirrors needs mirrored views"):
        recipe("upright", "views: 1\nmirrors: 1\n")


def test_any_number_of_processes_reads_the_same_ahead(tmp_path, folder, recipe_file):
    def recipe(out, **changes):
        path = recipe_file(tmp_path, folder, out)
        text = path.read_text().replace("  hidden: 4", "  hidden: 4\n  adapter: 8")
        path.write_text(f"{text}pictures: 3\ntrain_from: 3\nviews: 6\n")
        return read_recipe(path, **changes)

    one, two = (read_weights(train(recipe(f"by{n}", workers=n))).tensors for n in (1, 2))
    assert all(torch.equal(value, two[key]) for key, value in one.items())
    with pytest.raises(DataError, match="views must be 1 or an even number"):
        recipe("odd", views=5)
    with pytest.raises(DataError, match="workers needs features that learn"):
        read_recipe(recipe_file(tmp_path, folder, "frozen"), workers=1)


def test_categories_can_be_left_out(tmp_path, folder, recipe_file):
    own = shutil.copytree(folder, tmp_path / "own")
    path = recipe_file(tmp_path, own)
    path.write_text(path.read_text() + "leave_out: [cat]\n")
    with pytest.raises(DataError, match="holds no pairs of the categories"):
        train(read_recipe(path))
    entries = json.loads((own / "val.json").read_text())
    entries = [{**entry, "file": f"dog-{entry['file']}", "category": "dog"} for entry in entries]
    for entry in entries:
        shutil.copy(own / "images" / entry["file"].removeprefix("dog-"), own / "images" / entry["file"])
    (own / "val.json").write_text(json.dumps(entries))
    (own / "val_pairs.json").write_text(json.dumps([[entries[0]["file"], entries[1]["file"]]]))
    with pytest.raises(DataError, match="a category with at least two photographs"):
        train(read_recipe(path))


def test_one_scoring_function_for_several_kinds_of_features(tmp_path, folder, cat, recipe_file):
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
    with pytest.raises(DataError, match="features that learn belong to one backbone"):
        read_recipe(path)
