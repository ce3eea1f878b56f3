"""Training that starts from a trained model."""

from dataclasses import replace

import pytest
import torch

import semcorr
from semcorr.errors import DataError, ModelError
from semcorr.features import FeatureExtractor
from semcorr.matchers.dense.confidence import rescale
from semcorr.training.loop import train
from semcorr.training.objectives.build import build_objective
from semcorr.training.objectives.start import load_start
from semcorr.training.recipe import find_recipe, read_recipe
from semcorr.weights import MODELS, expanded, read_weights

NCNET = "  kind: ncnet\n  kernels: [3, 3]\n  channels: [2, 1]"


@pytest.mark.parametrize("loss", ["cross-entropy", "weak"])
@pytest.mark.parametrize("frozen", [3, 4])  # the first stage that is used, and the one behind it
def test_second_stage_trains_the_last_blocks_too(tmp_path, folder, cat, loss, frozen, recipe_file):
    def recipe(out, more=""):
        path = recipe_file(tmp_path, folder, out, steps=4)
        model = path.read_text().replace("  radius: 1\n  hidden: 4", NCNET)
        path.write_text(f"{model}\nloss: {loss}\n{more}")
        return read_recipe(path)

    first = train(recipe("first"))
    second = train(recipe("second", f"start: {first}\ntrain_from: {frozen}\nbackbone_rate: 1.0e-3\n"))
    stored = read_weights(second).tensors
    before = FeatureExtractor(recipe("first").model.features).network.state_dict(prefix="backbone.")
    prefix = "model.now.backbone.network."
    last = read_weights(second.parent / "checkpoint.safetensors").tensors
    learned = {f"backbone.{key.removeprefix(prefix)}": value for key, value in last.items() if key.startswith(prefix)}
    moved = {key.split(".")[2] for key, value in before.items() if not torch.equal(learned[key], value)}
    assert moved == {str(index) for index in range({3: 3, 4: 5}[frozen], 7)}
    model = semcorr.load("ncnet", weights=second)
    assert model.match(cat, cat).forward.confidence.shape == (8, 12)
    held = model.features.network.state_dict(prefix="backbone.")
    assert all(torch.equal(held[key], stored[key]) for key in before)
    with pytest.raises(ModelError, match="was trained together with the features"):
        semcorr.load("ncnet", weights=second, stages=(3,))
    still = "learning_rate: 1.0e-12\nbackbone_rate: 1.0e-12\n"
    third = train(recipe("third", f"start: {second}\ntrain_from: {frozen}\n{still}"))
    assert all(torch.allclose(value, stored[key], atol=1e-7) for key, value in read_weights(third).tensors.items())
    with pytest.raises(DataError, match="do not fit the recipe's model"):
        train(recipe("frozen", f"start: {second}\n"))
    with pytest.raises(DataError, match="train_from must be a stage from 0 to 4"):
        train(recipe("late", f"start: {first}\ntrain_from: 5\n"))
    assert model.features.key != semcorr.load("ncnet", weights=first).features.key  # features are kept by it
    one = recipe("one", f"start: {second}\ntrain_from: {frozen}\n")
    one = replace(one, model=replace(one.model, features=replace(one.model.features, stages=(4,))))
    with pytest.raises(DataError, match=r"differs from the recipe.s model in features\.stages"):
        train(one)


def test_training_can_start_from_a_trained_model(tmp_path, folder, recipe_file):
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


def test_a_start_that_trained_what_shall_stay_frozen_is_refused(tmp_path, folder, recipe_file):
    def recipe(out, *more):
        path = recipe_file(tmp_path, folder, out, steps=1)
        text = path.read_text().replace("  hidden: 4", "  hidden: 4\n  adapter: 8")
        path.write_text("\n".join([text, "pictures: 2", *more]) + "\n")
        return read_recipe(path)

    first = train(recipe("first", "train_from: 3", "backbone_rate: 1.0e-2"))
    assert train(recipe("same", "train_from: 3", f"start: {first}")).is_file()
    with pytest.raises(DataError, match="has trained stages"):
        train(recipe("more", "train_from: 4", f"start: {first}"))


def test_fine_descriptors_learn_on_a_finished_model(tmp_path, folder, cat, recipe_file):
    def recipe(name, fine, *lines):
        path = recipe_file(tmp_path, folder, name, steps=2)
        path.write_text(
            path.read_text().replace("  hidden: 4", f"  hidden: 4\n  adapter: 8\n  fine: {fine}")
            + "\n".join(["", "train_from: 3", *lines, ""])
        )
        return read_recipe(path)

    first = train(recipe("first", 0))
    weights = train(recipe("fine", 8, f"start: {first}", "fine_only: true"))
    before, after = read_weights(first).tensors, read_weights(weights).tensors
    assert all(torch.allclose(after[key], value, atol=1e-5) for key, value in before.items())
    assert {key.split(".")[0] for key in after.keys() - before.keys()} == {"fine"}
    match = semcorr.load(weights=weights).match(cat, cat)
    assert match.forward.confidence.shape == (16, 24)  # the early stage's cells, not the grid's
    assert semcorr.load(weights=weights, decoding="argmax").match(cat, cat).forward.confidence.shape == (8, 12)
    again = recipe("again", 8, f"start: {weights}")
    objective = build_objective(again, FeatureExtractor(again.model.features))
    load_start(objective, again, again.start)
    assert all(torch.equal(objective.state_dict()[key], after[key]) for key in after if key.startswith("fine."))
    with pytest.raises(DataError, match="do not fit"):
        train(recipe("wider", 16, f"start: {weights}"))
    with pytest.raises(DataError, match=r"has fine descriptors, which this recipe would lose.*drop: \[fine\]"):
        train(recipe("lost", 0, f"start: {weights}"))
    with pytest.raises(DataError, match="fine descriptors are trained on a finished model"):
        recipe("none", 8)


def test_fine_descriptors_of_another_backbone_are_refused(tmp_path, folder, recipe_file):
    path = recipe_file(tmp_path, folder)
    text = path.read_text().replace("tf_efficientnet_lite0", "resnet18, weights: random")
    text = text.replace("  hidden: 4", "  hidden: 4\n  adapter: 8\n  fine: 8") + "\ntrain_from: 3\nstart: pmnc\n"
    path.write_text(text)
    with pytest.raises(
        DataError, match="need an EfficientNet-Lite, whose early stage they read; 'resnet18' is another"
    ):
        train(read_recipe(path))
    assert not (tmp_path / "run").exists()


def test_fine_tuning_keeps_all_that_the_start_has(tmp_path, folder, capsys):
    """One command on one's own pairs: the package's model, its fine descriptors, and what was gained."""
    recipe = read_recipe(
        find_recipe("finetune"),
        data={"name": str(folder)},
        out=tmp_path / "mine",
        steps=2,
        pictures=2,
        cache=tmp_path / "cache",
        validate_every=1,
    )
    start = MODELS["pmnc"].load()
    weights = read_weights(train(recipe))
    assert expanded(weights.tensors).keys() == expanded(start.tensors).keys()
    assert {**weights.metadata["model"], "rescaling": None} == {**start.metadata["model"], "rescaling": None}
    said = " ".join(capsys.readouterr().err.split())
    assert said.index("step 0: validation PCK") < said.index("step 1: loss")
    assert "confidence not calibrated: too few validation points" in said
    assert "gain in points, with its 95 % interval: +" in said
    moved = read_weights(tmp_path / "mine" / "checkpoint.safetensors").tensors
    for part in (
        "joint.scoring.window",
        "joint.adapter.leave.weight",
        "joint.backbone.network.blocks.6.0.conv_pw.weight",
    ):
        key = part.removeprefix("joint.").replace("network.", "")
        assert not torch.allclose(moved[f"model.now.{part}"], start.tensors[key].float(), atol=1e-7), part
    assert not torch.equal(moved["model.now.fine.leave.weight"], expanded(start.tensors)["fine.leave.weight"])
    still = moved["model.now.joint.backbone.network.blocks.2.0.conv_pw.weight"]
    torch.testing.assert_close(still, start.tensors["backbone.blocks.2.0.conv_pw.weight"].float(), atol=1e-2, rtol=1e-2)


def test_confidence_is_calibrated_on_enough_points(tmp_path, folder):
    from semcorr.training.data import Validation, load_data
    from semcorr.training.finish import calibration, predict

    recipe = read_recipe(find_recipe("finetune"), data={"name": str(folder)}, out=tmp_path / "mine")
    pairs = load_data(recipe).validation.pairs
    predictions = predict(semcorr.load("nearest", grid=10, image_size=160), pairs)
    assert calibration(predictions, Validation(pairs)) is None
    # so many copies that the points suffice; half of them are answered wrongly and without confidence
    wrong = [replace(p, points=[(x + 200, y) for x, y in p.points], confidence=[0.1] * 4) for p in predictions]
    right = [replace(p, confidence=[0.9] * 4) for p in predictions]
    fitted = calibration((wrong + right) * 20, Validation(pairs * 40))
    low, high = rescale(torch.tensor([0.1, 0.9]), fitted).tolist()
    assert low == pytest.approx(0, abs=0.05)
    assert high == pytest.approx(1, abs=0.05)
