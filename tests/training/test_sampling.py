"""Views of real photographs: what is at a point of a bent picture is what was at that point of the original."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from semcorr.data.pairs import Photo
from semcorr.errors import DataError
from semcorr.training.sampling.ahead import read_ahead
from semcorr.training.sampling.augment import MILD, STRONG, Warp, random_warp, recolour, warp_picture
from semcorr.training.sampling.bank import FeatureBank
from semcorr.training.sampling.pseudo_labels import PseudoLabelSampler
from semcorr.training.sampling.samplers import GroupSampler, KeypointSampler, WarpSampler
from semcorr.training.sampling.views import View, view_of


@pytest.fixture(scope="module")
def photo(tmp_path_factory, cat):
    path = tmp_path_factory.mktemp("photos") / "cat.png"
    Image.fromarray(cat).save(path)
    points = {"nose": (265.0, 243.0), "right_eye": (170.0, 115.0), "left_eye": (319.0, 137.0), "mouth": (262.0, 280.0)}
    return Photo(path, (300, 451), points, None, "cat")


def draw(seed, size=(300, 451), strength=STRONG):
    return random_warp(np.random.default_rng(seed), size, strength)


def test_a_spline_through_an_affine_map_is_that_map():
    control = torch.rand(9, 2, generator=torch.Generator().manual_seed(0))
    matrix, offset = torch.tensor([[0.9, 0.2], [-0.1, 1.1]]), torch.tensor([0.05, -0.1])
    warp = Warp(control, control @ matrix + offset)
    points = torch.tensor([[0.3, 0.8], [2.0, -1.0]])
    torch.testing.assert_close(warp.to_original(points).float(), points @ matrix + offset, atol=1e-5, rtol=0)


@pytest.mark.parametrize("seed", range(5))
def test_there_and_back(seed):
    warp = draw(seed, strength=MILD)
    points = torch.rand(20, 2, generator=torch.Generator().manual_seed(seed)).double() * 0.8 + 0.1
    back, arrived = warp.from_original(warp.to_original(points))
    assert arrived.all()
    torch.testing.assert_close(back, points, atol=2e-3, rtol=0)


@pytest.mark.parametrize("portrait", [False, True])
def test_a_bent_picture_shows_at_a_point_what_the_original_had_there(portrait):
    height, width = (451, 300) if portrait else (300, 451)
    ys, xs = np.mgrid[:height, :width]
    ramp = np.stack([255 * (xs + 0.5) / width, 255 * (ys + 0.5) / height, np.full_like(xs, 99.0)], axis=2)
    warp = draw(3, (height, width))
    bent = warp_picture(ramp.round().astype(np.uint8), warp)
    assert bent.shape == (height, width, 3)
    points = torch.rand(200, 2, generator=torch.Generator().manual_seed(0)).double() * 0.9 + 0.05
    original = warp.to_original(points)
    inside = ((original > 0.02) & (original < 0.98)).all(dim=1)
    assert inside.sum() > 50
    for (x, y), place in zip(points[inside].tolist(), original[inside].tolist(), strict=True):
        red, green, blue = bent[int(y * height), int(x * width)].astype(float) / 255
        assert red == pytest.approx(place[0], abs=0.012)
        assert green == pytest.approx(place[1], abs=0.012)
        assert blue == pytest.approx(99 / 255, abs=0.005)


def test_large_pictures_shrink():
    assert warp_picture(np.zeros((1000, 2000, 3), np.uint8), draw(0, (1000, 2000))).shape == (256, 512, 3)


def test_colours_change_and_shapes_stay(cat):
    views = [recolour(np.random.default_rng(seed), cat, STRONG) for seed in range(6)]
    assert all(view.shape == cat.shape and view.dtype == np.uint8 for view in views)
    assert all(np.abs(view.astype(float) - cat).mean() > 2 for view in views)


@pytest.mark.parametrize("number", range(4))
def test_keypoints_follow_their_view(photo, cat, number):
    view = view_of(photo, number)
    picture, points = view.picture(), view.keypoints(photo)
    assert {"left_eye", "right_eye"} <= set(points) <= set(photo.keypoints)
    if number == 1:
        assert points["left_eye"] == pytest.approx((1 - 170 / 451, 115 / 300))  # the other eye is the left one now
    height, width = picture.shape[:2]
    # the pupils are darker than the cat, whatever was done to its colours
    for eye in ("left_eye", "right_eye"):
        x, y = points[eye][0] * width, points[eye][1] * height
        pupil = picture[int(y) - 4 : int(y) + 4, int(x) - 4 : int(x) + 4]
        assert pupil.mean() < picture.mean()


def test_views_are_a_function_of_their_numbers(photo):
    again = view_of(photo, 3)
    np.testing.assert_array_equal(view_of(photo, 3).picture(), again.picture())
    assert not np.array_equal(view_of(photo, 2).picture()[:, ::-1], again.picture())


def test_warps_give_points_that_mean_the_same(photo):
    drawn = WarpSampler([(photo.path, photo.size)], 0, 2, 5).draw(0, 0)
    assert (drawn.source.draw, drawn.target.draw > 0) == (0, True)
    there = drawn.target.warp.to_original(torch.tensor(drawn.target_points))
    torch.testing.assert_close(there, torch.tensor(drawn.source_points).double(), atol=1e-6, rtol=0)
    assert 3 <= len(drawn.source_points) <= 5


def test_too_few_photographs_are_said(photo):
    with pytest.raises(DataError, match="at least two photographs"):
        KeypointSampler([photo], 0, 1, 3)
    with pytest.raises(DataError, match="no photographs"):
        WarpSampler([], 0, 1, 3)


def test_features_come_from_the_disk_the_second_time(photo, tmp_path):
    from semcorr.features import FeatureExtractor, FeatureOptions

    extractor = FeatureExtractor(FeatureOptions(image_size=128, grid=8))
    view = View(photo.path, photo.size, draw=1)
    first = FeatureBank(extractor, tmp_path).features(view)
    (file,) = tmp_path.glob("*/*.npy")
    assert torch.equal(FeatureBank(extractor, tmp_path).features(view), first)
    np.save(file, np.zeros_like(np.load(file)))
    assert FeatureBank(extractor, tmp_path).features(view).abs().max() == 0  # it was read, not computed
    assert FeatureBank(extractor).features(view).abs().max() > 0


def test_a_picture_may_be_matched_with_its_own_mirror_image(photo):
    sampler = GroupSampler([photo], 0, 4, pictures=5, mirrors=1)
    for step in range(5):
        group = sampler.draw(step, 0)
        assert len(group) == 5
        first, second = group[:2]
        assert first.view.mirrored != second.view.mirrored
        assert set(first.points) & set(second.points) >= {"left_eye", "right_eye"}
    upright, mirrored = sorted(GroupSampler([photo], 0, 2, 2, mirrors=1).draw(0, 0), key=lambda v: v.view.mirrored)
    left, right = (upright.points[name][0] for name in ("left_eye", "right_eye"))
    assert mirrored.points["right_eye"][0] == pytest.approx(1 - left)
    assert mirrored.points["left_eye"][0] == pytest.approx(1 - right)


def test_pseudo_labels_of_left_out_categories_are_not_drawn(tmp_path):
    points = [[0.2, 0.2], [0.5, 0.5], [0.8, 0.4]]
    pairs = [
        {"source": f"{name}/a.jpg", "target": f"{name}/b.jpg", "source_points": points, "target_points": points}
        for name in ("chair", "lamp")
    ]
    file = tmp_path / "pseudo.json"
    file.write_text(json.dumps(pairs))
    photos = [(tmp_path / "lamp" / name, (40, 40)) for name in ("a.jpg", "b.jpg")]
    sampler = PseudoLabelSampler(file, photos, 0, 0, ("chair",))
    assert {sampler.draw(step, 0).source.path.parent.name for step in range(10)} == {"lamp"}
    with pytest.raises(DataError, match=r"names chair/a\.jpg"):
        PseudoLabelSampler(file, photos, 0, 0)


@pytest.mark.parametrize("frozen", [None, 3])
def test_what_is_read_ahead_is_what_the_bank_reads(photo, frozen):
    from semcorr.features import FeatureExtractor, FeatureOptions
    from semcorr.training.backbone import train_from

    extractor = FeatureExtractor(FeatureOptions(image_size=128, grid=8))
    bank = FeatureBank(extractor, backbone=None if frozen is None else train_from(extractor, frozen))
    draws = [GroupSampler([photo], 0, 6, pictures=3).draw, GroupSampler([photo], 1, 6, pictures=2).draw]
    for step, read in enumerate(read_ahead(draws, [0, 1], extractor, range(2), workers=2)):
        for index, group in enumerate(bank.pictures([read[0], read[1]])):
            for picture, seen in zip(group, draws[index](step, index), strict=True):
                expected = bank.picture(seen)
                assert (picture.grid, picture.points) == (expected.grid, expected.points)
                assert (picture.stem - expected.stem).norm() < 0.005 * expected.stem.norm()  # pixels in half precision
