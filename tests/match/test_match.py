import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from semcorr.match.blend import blend, blend_plain, smooth
from semcorr.match.result import Match
from semcorr.match.types import Field


def affine_match(
    source_size=(300, 400),
    target_size=(240, 500),
    grid=(21, 29),
    other_grid=(17, 36),
    scale=(1.1, 0.7),
    shift=(20.0, 12.0),
) -> Match:
    """A match whose truth is x' = scale · x + shift, with noise for pictures."""

    def field(grid, size, scale, shift):
        x = (np.arange(grid[1]) + 0.5) * size[1] / grid[1]
        y = (np.arange(grid[0]) + 0.5) * size[0] / grid[0]
        points = np.stack(np.meshgrid(x * scale[0] + shift[0], y * scale[1] + shift[1]), axis=-1)
        return Field(points.astype(np.float32), np.full(grid, 0.9, np.float32))

    rng = np.random.default_rng(0)
    source = rng.integers(0, 255, (*source_size, 3), dtype=np.uint8)
    target = rng.integers(0, 255, (*target_size, 3), dtype=np.uint8)
    inverse = tuple(1 / s for s in scale)
    back = tuple(-b / s for s, b in zip(scale, shift, strict=True))
    return Match(
        source,
        target,
        field(grid, source_size, scale, shift),
        field(other_grid, target_size, inverse, back),
        "affine",
    )


def test_continuous_points_follow_an_affine_map():
    match = affine_match()
    points = np.array([[7.0, 7.5], [123.4, 77.7], [200.25, 150.75], [390.0, 290.0]])
    moved, confidence = match.transfer(points)
    inner = moved[:3] - (points[:3] * [1.1, 0.7] + [20, 12])
    assert np.abs(inner).max() < 0.1
    assert confidence == pytest.approx(np.full(4, 0.9))
    assert moved.dtype == confidence.dtype == np.float32


def test_points_stay_inside_the_target():
    moved, _ = affine_match(shift=(150.0, 100.0)).transfer([(400, 300), (0, 0)])
    assert (moved >= 0).all()
    assert (moved <= [500, 240]).all()


def test_inverse_is_the_other_direction():
    match = affine_match()
    there = match.transfer([(100.0, 100.0)]).points
    back = match.inverse().transfer(there).points
    assert back[0] == pytest.approx([100, 100], abs=0.2)
    assert match.inverse().inverse().forward is match.forward


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([(1, 1), (401, 2)], r"point 1 \(401, 2\) is outside the source image: x must be 0 to 400, y 0 to 300"),
        ([(-0.1, 5)], "point 0"),
        ([(1, 1), (2, 2), (float("nan"), 3)], "point 2"),
        ([(float("inf"), 3)], "point 0"),
        ([1, 2], r"must be \(N, 2\)"),
        ([[1, 2, 3]], r"must be \(N, 2\)"),
        ([["a", "b"]], "array of real numbers"),
        ([[1j, 2]], "array of real numbers"),
        (torch.tensor([[1j, 2]]), "array of real numbers"),
        (np.array([[1 + 0j, 2]]), "array of real numbers"),
    ],
)
def test_bad_points_are_refused_with_their_index(points, message):
    with pytest.raises(ValueError, match=message):
        affine_match().transfer(points)


@pytest.mark.parametrize(
    "points",
    [
        torch.tensor([[16.0, 8.0], [64.0, 32.0]], requires_grad=True),
        torch.tensor([[16.0, 8.0], [64.0, 32.0]], dtype=torch.bfloat16),
        torch.tensor([[16, 8], [64, 32]]),
        [torch.tensor([16.0, 8.0], requires_grad=True), torch.tensor([64.0, 32.0], dtype=torch.bfloat16)],
        iter([(16, 8), (64, 32)]),
        ((x, x / 2) for x in (16, 64)),
        np.array([[16, 8], [64, 32]], np.uint8),
    ],
)
def test_points_of_many_types(points):
    match = affine_match()
    assert np.array_equal(match.transfer(points).points, match.transfer([(16, 8), (64, 32)]).points)


def test_a_generator_can_be_plotted():
    sheet = affine_match().plot(points=((x, x / 2) for x in (16, 64))).axes[-1]
    assert [text.get_text() for text in sheet.texts][-6:] == ["1", "1", "0.90", "2", "2", "0.90"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_points_on_another_device():
    affine_match().transfer(torch.tensor([[16.0, 8.0]], device="cuda"))


def test_no_points_and_many_points():
    match = affine_match()
    assert match.transfer([]).points.shape == (0, 2)
    many = np.random.default_rng(0).random((100_000, 2)) * [400, 300]
    assert match.transfer(many).points.shape == (100_000, 2)


def test_corners_of_the_image_are_valid_points():
    assert np.isfinite(affine_match().transfer([(0, 0), (400, 0), (0, 300), (400, 300)]).points).all()


def test_flow_is_the_displacement_of_each_pixel_centre():
    match = affine_match()
    assert match.flow.shape == (300, 400, 2)
    assert match.confidence.shape == (300, 400)
    y, x = 120, 211
    expected = match.transfer([(x + 0.5, y + 0.5)]).points[0] - [x + 0.5, y + 0.5]
    assert match.flow[y, x] == pytest.approx(expected, abs=1e-4)


def test_warp_shows_the_target_at_each_match():
    match = affine_match(scale=(1.0, 1.0), shift=(0.0, 0.0), target_size=(300, 400), other_grid=(21, 29))
    # the identity shows the target itself, where cells are not extrapolated
    assert np.abs(match.warp()[20:280, 20:380].astype(int) - match.target[20:280, 20:380]).max() <= 1
    assert affine_match().warp().shape == (300, 400, 3)


def test_keypoints_are_mutual_confident_and_spread():
    match = affine_match(shift=(0.0, 0.0))
    match.forward.confidence[:, :15] = 0.2
    chosen = match.keypoints(12)
    assert len(chosen.confidence) == 12
    assert chosen.confidence[0] == pytest.approx(0.9)
    distances = np.linalg.norm(chosen.source[:, None] - chosen.source[None], axis=2) + 1e9 * np.eye(12)
    assert distances.min() > 40
    # matches that do not return to their start are left out
    match.backward.points[:] = 0
    assert len(match.keypoints(12).source) <= 1


def test_only_the_centre_of_a_reflection_is_mutual():
    match = affine_match(scale=(1.0, 1.0), shift=(0.0, 0.0), target_size=(300, 400), other_grid=(21, 29))
    match.backward.points[:] = [400.0, 300.0] - match.backward.points
    chosen = match.keypoints(20)
    assert 1 <= len(chosen.source) <= 9
    assert np.abs(chosen.source - [200, 150]).max() <= 15


@pytest.mark.parametrize("count", [0, -1, 2.5, "3", None])
def test_invalid_counts_are_refused(count):
    with pytest.raises(ValueError, match="whole number, 1 or more"):
        affine_match().keypoints(count)


def test_matches_of_zero_confidence_are_no_keypoints():
    match = affine_match()
    match.forward.confidence[:, 3:] = 0
    assert (match.keypoints(np.int64(400)).confidence > 0).all()


def test_changing_the_returned_confidence_changes_nothing():
    match = affine_match()
    match.confidence[:] = 0
    assert match.confidence.min() > 0.8


def test_repr_is_one_line():
    assert repr(affine_match()) == "Match('affine', 300×400 to 240×500 pixels, 21×29 to 17×36 cells)"


def test_to_dict_is_json_and_keeps_the_match():
    values = json.loads(json.dumps(affine_match().to_dict()))
    assert values["source_size"] == [300, 400]
    assert values["forward"]["grid"] == [21, 29]
    assert values["forward"]["points"][0][0] == pytest.approx(
        [400 / 29 / 2 * 1.1 + 20, 300 / 21 / 2 * 0.7 + 12], abs=0.01
    )
    assert values["backward"]["confidence"][16][35] == 0.9


def test_one_cell_is_enough():
    field = Field(np.full((1, 1, 2), 5.0, np.float32), np.ones((1, 1), np.float32))
    picture = np.zeros((10, 10, 3), np.uint8)
    assert Match(picture, picture, field, field).transfer([(5, 5)]).points[0] == pytest.approx([5, 5])


@pytest.mark.parametrize("kind", ["random", "whole cells", "faint"])
@pytest.mark.parametrize(
    ("grid", "other"), [((6, 8), (7, 5)), ((1, 9), (3, 2)), ((1, 1), (4, 4)), ((25, 25), (25, 25))]
)
def test_native_blending_equals_numpy(grid, other, kind, level):
    rng = np.random.default_rng(0)
    sizes = (90, 120), (333, 333)

    def field(shape, size, there):
        points = rng.uniform(0, 1, (*shape, 2)) * size[::-1]
        if kind == "whole cells":  # many proposals are exactly three cells apart, up to rounding
            cell = np.array([size[1] / there[1], size[0] / there[0]])
            points = (np.floor(points / cell) + 0.5) * cell
        confidence = rng.uniform(0, 1, shape) if kind != "faint" else 10.0 ** rng.uniform(-20, -9, shape)
        return Field(points.astype(np.float32), confidence.astype(np.float32))

    fields = field(grid, sizes[1], other), field(other, sizes[0], grid)
    match = Match(*(np.zeros((*size, 3), np.uint8) for size in sizes), *fields)
    corners = np.stack(np.meshgrid(np.arange(grid[1] + 1) / grid[1], np.arange(grid[0] + 1) / grid[0]), 2)
    points = np.concatenate([rng.uniform(0, 1, (2000, 2)), corners.reshape(-1, 2)]) * [120, 90]
    (moved, agreement), (expected, share) = (
        way(match.direction, points.astype(np.float32)) for way in (blend, blend_plain)
    )
    assert moved.points == pytest.approx(expected.points, abs=1e-3)
    assert moved.confidence == pytest.approx(expected.confidence, abs=1e-5)
    assert agreement == pytest.approx(share, abs=1e-5)
    assert moved.points.dtype == moved.confidence.dtype == agreement.dtype == np.float32


def half_visible(match: Match) -> Match:
    """The same, whose source is only on the left also in the target."""
    rows, columns = match.forward.confidence.shape
    visibility = np.tile(np.linspace(0.95, 0.05, columns, dtype=np.float32), (rows, 1))
    return replace(match, forward=match.forward._replace(visibility=visibility))


def test_visibility_is_between_that_of_the_cells_around():
    match = half_visible(affine_match())
    dense = match.visibility
    assert dense.shape == (300, 400)
    assert (np.diff(dense, axis=1) <= 1e-6).all()
    points = np.array([[10.5, 20.5], [200.5, 150.5], [390.5, 5.5]])
    at_pixels = [dense[int(y), int(x)] for x, y in points]
    assert match.visible(points) == pytest.approx(at_pixels, abs=1e-5)
    assert match.visible([(200.0, 150.0)])[0] == pytest.approx(0.5, abs=0.01)


def test_a_model_that_does_not_say_sees_everything():
    match = affine_match()
    assert (match.visibility == 1).all()
    assert match.visible([(3.0, 4.0)]).tolist() == [1]
    assert "visibility" not in match.to_dict()["forward"]


def test_only_what_the_target_shows_becomes_a_keypoint():
    match = half_visible(affine_match())
    chosen = match.keypoints(12)
    assert len(chosen.source) > 3
    assert match.visible(chosen.source).min() >= 0.5
    assert (chosen.source[:, 0] < 205).all()
    assert match.visible(match.keypoints(12, min_visibility=0.0).source).min() < 0.5
    assert len(match.keypoints(12, min_visibility=1.0).source) == 0


@pytest.mark.parametrize("least", [-0.1, 1.1, float("nan")])
def test_an_impossible_visibility_is_refused(least):
    with pytest.raises(ValueError, match="min_visibility must be"):
        affine_match().keypoints(12, least)


def test_to_dict_has_visibility_and_similarity():
    found = json.loads(json.dumps(replace(half_visible(affine_match()), similarity=0.25).to_dict()))
    assert found["similarity"] == 0.25
    assert found["forward"]["visibility"][0][0] == 0.95


def test_a_smooth_match_has_no_jumps_and_follows_what_is_sure():
    """Cells that are wrong and say so do not bend the warped picture; the others keep their way."""
    match = affine_match()
    points, confidence = match.forward.points.copy(), match.forward.confidence.copy()
    wrong = np.zeros_like(confidence, bool)
    wrong[5:9, 12:16] = True
    points[wrong] = (10.0, 200.0)
    confidence[wrong] = 0.02
    torn = replace(match, forward=match.forward._replace(points=points, confidence=confidence))
    found = smooth(torn.direction).points
    steps = [np.abs(np.diff(found, axis=axis)).max() for axis in (0, 1)]
    assert max(steps) < 4
    y, x = np.indices((300, 400)) + 0.5
    truth = np.stack([x * 1.1 + 20, y * 0.7 + 12], axis=2)
    assert np.abs(found - truth)[40:260, 60:340].max() < 6
