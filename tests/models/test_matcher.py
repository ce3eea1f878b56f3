import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import semcorr
from semcorr import Match
from semcorr.errors import ImageError, ModelError
from semcorr.matchers.pmnc.matcher import dilation_of
from semcorr.models.encoded import Encoded


@pytest.fixture(scope="module")
def pmnc():
    return semcorr.load()


@pytest.mark.parametrize("name", semcorr.list_models())
def test_every_model_matches_odd_sizes(name, cat):
    model = semcorr.load(name)
    match = model.match(np.ascontiguousarray(cat[:, :150]), np.ascontiguousarray(cat[:99]))  # portrait, landscape
    assert match.model == name
    assert match.flow.shape == (300, 150, 2)
    points, confidence = match.transfer(np.random.default_rng(0).random((50, 2)) * [150, 300])
    assert (points >= 0).all()
    assert (points <= [451, 99]).all()
    assert ((confidence >= 0) & (confidence <= 1)).all()


@pytest.mark.parametrize("name", semcorr.list_models())
def test_an_image_matches_itself(name, cat):
    match = semcorr.load(name).match(cat, cat)
    points = np.random.default_rng(0).random((200, 2)) * [451, 300]
    moved, confidence = match.transfer(points)
    error = np.linalg.norm(moved - points, axis=1)
    assert np.median(error) < 3
    assert (error < 16).mean() > 0.97
    assert np.median(confidence) > 0.5 if name == "pmnc" else True


@pytest.mark.parametrize("name", semcorr.list_models())
def test_an_image_of_one_colour_has_no_confidence(name, cat):
    model, black = semcorr.load(name), np.zeros((300, 400, 3), np.uint8)
    for pair in ((black, black), (black, cat), (cat, black + 255)):
        match = model.match(*pair)
        assert match.confidence.max() == match.inverse().confidence.max() == 0
        assert len(match.keypoints().confidence) == 0


def test_a_mirror_image_matches_mirrored(pmnc, cat):
    """In the mirror the other eye is the left one: untouched features see like eyes, trained ones know the sides."""
    mirrored = np.ascontiguousarray(cat[:, ::-1])
    eye, other_eye, nose = np.array([[170.0, 115.0], [319.0, 137.0], [265.0, 243.0]])
    for model, same in ((semcorr.load("pmnc-universal"), eye), (pmnc, other_eye)):
        moved, _ = model.match(cat, mirrored).transfer([eye, nose])
        assert np.abs(moved - ([451, 0] + np.array([same, nose]) * [-1, 1])).max() < 30, model.name


def test_all_kinds_of_images_give_the_same_match(pmnc, cat, tmp_path):
    from PIL import Image

    Image.fromarray(cat).save(tmp_path / "cat.png")
    flows = [
        pmnc.match(image, cat).forward.points
        for image in (
            cat,
            str(tmp_path / "cat.png"),
            tmp_path / "cat.png",
            Image.fromarray(cat),
            torch.from_numpy(cat).permute(2, 0, 1),
            torch.from_numpy(cat).permute(2, 0, 1).float() / 255,
        )
    ]
    for flow in flows[1:]:
        assert np.array_equal(flow, flows[0])


def test_same_inputs_give_the_same_result(cat, cheetah_path):
    first, second = (semcorr.load().match(cat, cheetah_path) for _ in range(2))
    assert np.array_equal(first.forward.points, second.forward.points)
    assert np.array_equal(first.confidence, second.confidence)


def test_inverse_equals_matching_in_the_other_direction(pmnc, cat, cheetah_path):
    there, back = pmnc.match(cat, cheetah_path), pmnc.match(cheetah_path, cat)
    far = np.linalg.norm(there.inverse().forward.points - back.forward.points, axis=2) > 1
    assert far.mean() < 0.01


def test_encoded_images_give_the_same_match(pmnc, cat, cheetah_path, lion_path):
    pictures = [cat, cheetah_path, lion_path]
    encoded = [pmnc.encode(picture) for picture in pictures]
    plain = [pmnc.match(cat, other) for other in pictures[1:]]
    mixed = pmnc.match_many([(encoded[0], encoded[1]), (encoded[0], lion_path)])
    for one, other in zip(plain, mixed, strict=True):
        np.testing.assert_allclose(one.forward.points, other.forward.points, atol=0.05)


def test_a_batch_gives_the_same_as_each_pair_alone(pmnc, cat):
    pictures = [cat, np.ascontiguousarray(cat[:, ::-1]), np.ascontiguousarray(cat[::-1])]
    pairs = [(pictures[0], pictures[1]), (pictures[0], pictures[2])]
    for (source, target), batched in zip(pairs, pmnc.match_many(pairs), strict=True):
        alone = pmnc.match(source, target)
        far = np.abs(alone.forward.points - batched.forward.points).max(axis=2) > 0.5
        assert far.mean() < 0.01


def test_one_against_many(pmnc, cat, cheetah_path, lion_path):
    exemplar, threads = pmnc.encode(cat), torch.get_num_threads()
    targets = [cheetah_path, pmnc.encode(lion_path), cat, lion_path, cheetah_path]
    torch.set_num_threads(2)
    try:
        found = list(pmnc.match_each(exemplar, iter(targets)))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    for match, target in zip(found, targets, strict=True):
        np.testing.assert_allclose(match.forward.points, pmnc.match(cat, target).forward.points, atol=0.5)
    assert list(pmnc.match_each(cat, [])) == []


def test_one_against_many_leaves_the_threads_of_others_alone(pmnc, cat):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        each = pmnc.match_each(cat, [cat] * 7)
        next(each)
        with ThreadPoolExecutor(1) as pool:  # a thread that is born while they are at work
            assert pool.submit(torch.get_num_threads).result() == 2
        assert len(list(each)) == 6
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_one_against_many_goes_on_after_a_broken_picture(pmnc, cat, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    other = semcorr.load("ncnet", grid=10).encode(cat)
    targets = [cat, broken, tmp_path / "none.jpg", np.zeros((5, 5), np.uint8), other, cat]
    found = list(pmnc.match_each(cat, targets, errors="return"))
    kinds = [Match, ImageError, FileNotFoundError, ImageError, ModelError, Match]
    assert [type(one) for one in found] == kinds
    assert "broken.jpg" in str(found[1])
    assert found[1].__traceback__ is None
    assert np.array_equal(found[0].forward.points, found[5].forward.points)
    with pytest.raises(ValueError, match="'raise' or 'return'; got 'ignore'"):
        pmnc.match_each(cat, [], errors="ignore")


def test_features_of_another_model_are_refused_with_both_names(pmnc, cat):
    for other, words in (
        (semcorr.load("pmnc-universal"), "pmnc-universal"),
        (semcorr.load("pmnc", grid=20), "grid=20"),
        (semcorr.load("pmnc", decoding="argmax"), "with other weights or another precision"),
        (semcorr.load("pmnc", precision="bfloat16"), "with other weights or another precision"),
    ):
        theirs = other.encode(cat)
        for pair in ((theirs, cat), (cat, theirs)):
            with pytest.raises(ModelError, match=r"computed by Matcher\(.*are given to Matcher\('pmnc'") as caught:
                pmnc.match(*pair)
            assert words in str(caught.value)
    bare = Encoded(cat, theirs.features)
    with pytest.raises(ModelError, match="computed by an unknown model"):
        pmnc.match(cat, bare)


def test_models_of_the_same_features_share_them(pmnc, cat, cheetah_path):
    again = semcorr.load("pmnc")
    alone = pmnc.match(cat, cheetah_path)
    for theirs in (again.encode(cat), pickle.loads(pickle.dumps(again)).encode(cat)):
        assert np.array_equal(pmnc.match(theirs, cheetah_path).forward.points, alone.forward.points)
    nearest, universal = semcorr.load("nearest", grid=20), semcorr.load("pmnc-universal", grid=20)
    universal.match(nearest.encode(cat), cat)


def test_one_against_many_stops_at_a_missing_image(pmnc, cat, tmp_path):
    answers = pmnc.match_each(cat, [cat, tmp_path / "none.jpg"])
    assert next(answers).target_size == cat.shape[:2]
    with pytest.raises(FileNotFoundError, match=r"none\.jpg"):
        next(answers)


def test_a_batch_does_not_change_the_grid_of_an_image(cat):
    model = semcorr.load(image_size=64)
    pictures = [np.ascontiguousarray(cat[:, :width]) for width in (300, 320)]
    together = model.encode_many(pictures)
    for picture, encoded in zip(pictures, together, strict=True):
        assert encoded.features.grid == model.encode(picture).features.grid
    assert together[0].features.grid != together[1].features.grid


def test_another_backbone_uses_the_same_scoring_function(cat):
    model = semcorr.load(backbone="resnet18", backbone_weights="random", grid=16)
    assert model.match(cat, cat).forward.confidence.shape[0] == 13


def test_a_finer_grid_dilates_the_window():
    assert dilation_of((25, 25), (25, 25), 25) == dilation_of((20, 31), (31, 20), 25) == 1
    assert dilation_of((50, 50), (50, 50), 25) == 2
    assert semcorr.load(grid=50).method.trained_grid == 25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "pmcn"}, "unknown model 'pmcn' — did you mean pmnc"),
        ({"name": "xyz"}, f"unknown model 'xyz'; choose from: {', '.join(semcorr.list_models())}"),
        ({"name": "nearest", "weights": "w.safetensors"}, "has no weights"),
        ({"weights": "none.safetensors"}, "not a readable safetensors file"),
        ({"device": "gpu"}, "device 'gpu' is not available"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not available"),
        ({"backbone": "resnt50"}, "did you mean"),
    ],
)
def test_load_errors_are_one_line(arguments, message):
    with pytest.raises(ModelError, match=message) as caught:
        semcorr.load(**arguments)
    assert "\n" not in str(caught.value)


def test_weights_of_another_kind_are_refused(tmp_path):
    from semcorr.weights import Weights, write_weights

    write_weights(tmp_path / "w.safetensors", Weights({"a": torch.zeros(1)}, {}))
    with pytest.raises(ModelError, match="not weights of a semcorr model"):
        semcorr.load(weights=tmp_path / "w.safetensors")


def test_weights_of_another_version_are_refused_by_unknown_key(tmp_path):
    from semcorr.weights import MODELS, Weights, write_weights

    stored = MODELS["pmnc-universal"].load()
    recipe = {"model": stored.metadata["model"] | {"colour": "blue"}}
    write_weights(tmp_path / "w.safetensors", Weights(stored.tensors, recipe))
    with pytest.raises(ModelError, match=r"of this version \(.*colour"):
        semcorr.load(weights=tmp_path / "w.safetensors")


def test_bad_images_are_refused(pmnc, cat):
    with pytest.raises(ImageError):
        pmnc.match(cat, np.zeros((5, 5), np.uint8))
    with pytest.raises(FileNotFoundError):
        pmnc.match(cat, "no such picture.jpg")


def test_default_model_names():
    assert semcorr.load().name == "pmnc"
    assert semcorr.load(backbone="resnet18", backbone_weights="random").name == "pmnc-universal"
    with pytest.raises(ModelError, match="for other features choose 'pmnc-universal'"):
        semcorr.load("pmnc", backbone="resnet18", backbone_weights="random")


def test_encoded_images_have_the_adapted_features(cat):
    own, untouched = semcorr.load("pmnc"), semcorr.load("pmnc-universal")
    assert own.features.architecture.adapter
    assert not untouched.features.architecture.adapter
    assert own.features.key == semcorr.load("pmnc").features.key != untouched.features.key
    assert untouched.features.key == semcorr.load("nearest").features.key
    plain, channels = torch.from_numpy(untouched.encode(cat).features.tensor), untouched.features.width
    adapted = torch.nn.functional.normalize(torch.from_numpy(own.encode(cat).features.tensor)[:, :channels], dim=1)
    assert (adapted * plain).sum(1).mean() < 0.99 < plain.square().sum(1).mean()


@pytest.mark.parametrize("name", semcorr.list_models())
def test_every_model_works_with_the_weights_in_the_package(cat, name):
    match = semcorr.load(name, grid=10, image_size=160).match(cat, cat)
    assert np.isfinite(match.forward.points).all()
    assert match.forward.confidence.shape == ((16, 24) if name == "pmnc" else (8, 12))  # on its fine cells


def test_argmax_decoding_follows_ncnet(cat):
    plain = semcorr.load("ncnet", decoding="argmax", grid=10, image_size=160).match(cat, cat)
    cells = plain.forward.points / [451 / 12, 300 / 8] - 0.5
    assert np.abs(cells - cells.round()).max() < 1e-3  # cell centres
    assert plain.plain_interpolation
    soft = semcorr.load("ncnet", grid=10, image_size=160).match(cat, cat)
    assert not soft.plain_interpolation
    with pytest.raises(ValueError, match="'soft-argmax' or 'argmax'"):
        semcorr.load("ncnet", decoding="best")
