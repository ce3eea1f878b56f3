"""PCK against numbers computed by hand."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from semcorr.calibration import calibrate
from semcorr.data.pairs import Pair, Photo
from semcorr.errors import DataError
from semcorr.metrics import CURVE, PCK, area_under, pck, pck_curve, pck_distances, reference_length, score

# The target is 200 wide and 100 high; its box is 80 × 50; its keypoints span 60 × 20.
POINTS = {"nose": (40.0, 50.0), "eye": (60.0, 40.0), "ear": (100.0, 60.0), "tail": (50.0, 45.0)}


def photo(points, size=(100, 200), bbox=(30.0, 20.0, 110.0, 70.0), category="cat", name="target"):
    return Photo(Path(f"{name}.jpg"), size, points, bbox, category)


SOURCE = photo({name: (x + 3.0, y + 7.0) for name, (x, y) in POINTS.items()}, (400, 300), None, name="source")
PAIR = Pair(SOURCE, photo(POINTS))
TRUTH = PAIR.points()[1]

# Distances in pixels of 0, 5 (3-4-5), 10 and 20.
OFF = TRUTH + torch.tensor([[0.0, 0.0], [3.0, 4.0], [10.0, 0.0], [0.0, 20.0]])


class TestErrorsByHand:
    @pytest.mark.parametrize(
        ("threshold", "space", "length", "errors"),
        [
            ("image", "native", 200.0, [0.0, 0.025, 0.05, 0.1]),
            ("bbox", "native", 80.0, [0.0, 0.0625, 0.125, 0.25]),
            ("keypoints", "native", 60.0, [0.0, 5 / 60, 10 / 60, 20 / 60]),
            # squashed to a square of side 1: x / 200, y / 100
            ("image", "square", 1.0, [0.0, math.hypot(0.015, 0.04), 0.05, 0.2]),
            # the box is 0.4 × 0.5 there
            ("bbox", "square", 0.5, [0.0, math.hypot(0.015, 0.04) / 0.5, 0.1, 0.4]),
            # the keypoints span 0.3 × 0.2 there
            ("keypoints", "square", 0.3, [0.0, math.hypot(0.015, 0.04) / 0.3, 0.05 / 0.3, 0.2 / 0.3]),
        ],
    )
    def test_every_threshold_in_every_space(self, threshold, space, length, errors):
        assert reference_length(PAIR, threshold, space) == pytest.approx(length)
        found = pck_distances(OFF, PAIR, threshold, space)
        assert found.dtype == torch.float64
        assert found.tolist() == pytest.approx(errors)

    def test_exactly_at_the_threshold_is_correct(self):
        assert pck(pck_distances(OFF, PAIR, "image"), 0.1) == 100.0
        assert pck(pck_distances(OFF, PAIR, "image"), 0.0999) == 75.0
        assert pck(pck_distances(OFF, PAIR, "image"), 0.05) == 75.0
        assert pck(pck_distances(OFF, PAIR, "image"), 0.01) == 25.0


class TestTraps:
    def test_neither_axis_is_scaled_alone(self):
        """In the square a tenth of the width and a tenth of the height weigh the same; natively they do not."""
        along_x, along_y = TRUTH + torch.tensor([20.0, 0.0]), TRUTH + torch.tensor([0.0, 10.0])
        for off in (along_x, along_y):
            errors = pck_distances(off, PAIR, "image", "square")
            assert errors.tolist() == pytest.approx([0.1] * 4)
        assert pck_distances(along_x, PAIR, "image").tolist() == pytest.approx([0.1] * 4)
        assert pck_distances(along_y, PAIR, "image").tolist() == pytest.approx([0.05] * 4)

    def test_the_extent_is_scaled_like_the_error(self):
        """Squashing both leaves a point that is off by the whole extent at an error of 1, in either axis."""
        tall = Pair(SOURCE, photo({"nose": (10.0, 10.0), "ear": (20.0, 90.0)}, (100, 200)))
        off = tall.points()[1] + torch.tensor([0.0, 80.0])
        for space in ("native", "square"):
            assert pck_distances(off, tall, "keypoints", space).tolist() == pytest.approx([1.0, 1.0])

    def test_length_and_errors_belong_to_the_target(self):
        assert reference_length(PAIR, "image") == 200.0
        assert reference_length(PAIR.swapped(), "image") == 400.0
        source, target = PAIR.points()
        assert pck_distances(target, PAIR).max() == 0.0
        assert pck_distances(source, PAIR).min() > 0.03
        assert pck_distances(source, PAIR.swapped()).max() == 0.0

    def test_keypoints_that_are_not_shared_do_not_stretch_the_extent(self):
        target = photo({**POINTS, "padding": (-1.0, -1.0), "far": (199.0, 99.0)})
        assert reference_length(Pair(SOURCE, target), "keypoints") == 60.0

    def test_answers_are_native_pixels_not_those_of_the_resized_picture(self):
        """A model that answers in pixels of a 400 × 400 picture gets what it deserves."""
        resized = TRUTH * torch.tensor([400 / 200, 400 / 100])
        assert pck(pck_distances(resized, PAIR, "image", "square"), 0.1) == 0.0

    def test_answers_follow_the_order_of_points(self):
        assert pck(pck_distances(TRUTH.flip(0), PAIR), 0.01) == 0.0


class TestEdges:
    def test_a_point_that_was_not_found_is_wrong_at_every_threshold(self):
        lost = TRUTH.clone()
        lost[1] = torch.nan
        lost[2] = torch.inf
        errors = pck_distances(lost, PAIR)
        assert errors.tolist() == [0.0, math.inf, math.inf, 0.0]
        assert pck(errors, 1.0) == 50.0

    def test_one_keypoint_has_no_extent(self):
        pair = Pair(photo({"nose": (1.0, 1.0)}), photo({"nose": (5.0, 5.0)}))
        assert pck_distances(torch.tensor([[5.0, 5.0]]), pair, "keypoints").tolist() == [0.0]
        assert pck_distances(torch.tensor([[5.1, 5.0]]), pair, "keypoints").tolist() == [math.inf]

    @pytest.mark.parametrize("shape", [(3, 2), (4, 3), (8,), (1, 4, 2)])
    def test_wrong_shapes_are_refused(self, shape):
        with pytest.raises(ValueError, match=r"expected \(4, 2\)"):
            pck_distances(torch.zeros(shape), PAIR)

    def test_no_box(self):
        with pytest.raises(DataError, match=r"source\.jpg has no box"):
            pck_distances(PAIR.points()[0], PAIR.swapped(), "bbox")

    def test_nothing_shared(self):
        with pytest.raises(DataError, match="share no keypoint"):
            pck_distances(torch.zeros(0, 2), Pair(SOURCE, photo({"wing": (1.0, 1.0)})))

    @pytest.mark.parametrize("arguments", [{"threshold": "box"}, {"space": "cube"}, {"alphas": ()}, {"alphas": (10,)}])
    def test_unknown_options(self, arguments):
        with pytest.raises(ValueError, match="must be"):
            PCK(**arguments)


class TestAverages:
    """Three pairs: two cats with 4 and 1 points, a dog with 2.

    At α = 0.1 of 200 pixels 3 of 4, 0 of 1 and 2 of 2 are right.
    """

    cat = PAIR
    small = Pair(photo({"nose": (1.0, 1.0)}), photo({"nose": (50.0, 50.0)}))
    dog = Pair(
        photo({"nose": (1.0, 1.0), "ear": (9.0, 9.0)}, category="dog"),
        photo({"nose": (50.0, 50.0), "ear": (90.0, 10.0)}, category="dog"),
    )

    @pytest.fixture
    def metric(self):
        metric = PCK(alphas=(0.1, 0.05))
        metric.update(TRUTH + torch.tensor([[0.0, 0.0], [0.0, 10.0], [15.0, 0.0], [40.0, 0.0]]), self.cat)
        metric.update(torch.tensor([[50.0, 71.0]]), self.small)
        metric.update(torch.tensor([[50.0, 50.0], [90.0, 20.0]]), self.dog)
        return metric

    def test_by_hand(self, metric):
        scores = metric.scores()
        assert (scores.pairs, scores.points) == (3, 7)
        # per image: (75 + 0 + 100) / 3 and (50 + 0 + 100) / 3
        assert scores.per_image == pytest.approx({0.1: 175 / 3, 0.05: 150 / 3})
        # per point: 5 of 7 and 4 of 7
        assert scores.per_point == pytest.approx({0.1: 500 / 7, 0.05: 400 / 7})
        # cats (75 + 0) / 2, dogs 100: their mean
        assert scores.categories == {"cat": {0.1: 37.5, 0.05: 25.0}, "dog": {0.1: 100.0, 0.05: 100.0}}
        assert scores.per_category == pytest.approx({0.1: 68.75, 0.05: 62.5})

    def test_compute_gives_scalars_by_name(self, metric):
        computed = metric.compute()
        assert set(computed) == {
            f"{average}@{alpha}" for average in ("per_image", "per_point", "per_category") for alpha in (0.1, 0.05)
        }
        assert computed["per_point@0.1"].item() == pytest.approx(500 / 7)
        assert computed["per_point@0.1"].shape == ()

    def test_reset_forgets(self, metric):
        metric.reset()
        with pytest.raises(ValueError, match="no pair was scored"):
            metric.scores()
        metric.update(TRUTH, PAIR)
        assert metric.scores().per_image == {0.1: 100.0, 0.05: 100.0}

    def test_forward_gives_the_pair_and_keeps_all(self, metric):
        assert metric(TRUTH, PAIR)["per_image@0.1"] == 100.0
        assert metric.scores().pairs == 4

    def test_scores_again_gives_the_same(self, metric):
        assert metric.scores() == metric.scores()

    def test_category_names_of_any_language(self):
        metric = PCK()
        pair = Pair(photo({"n": (1.0, 1.0)}, category="猫 façade"), photo({"n": (5.0, 5.0)}, category="猫 façade"))
        metric.update(torch.tensor([[5.0, 5.0]]), pair)
        assert list(metric.scores().categories) == ["猫 façade"]
        long = Pair(pair.source, photo({"n": (5.0, 5.0)}, category="x" * 65))
        with pytest.raises(DataError, match="64 bytes"):
            metric.update(torch.tensor([[5.0, 5.0]]), long)

    def test_pure_scoring_agrees_with_the_metric(self, metric):
        errors = [torch.tensor([0.0, 0.05, 0.075, 0.2]), torch.tensor([0.105]), torch.tensor([0.0, 0.05])]
        scores = score(errors, ["cat", "cat", "dog"], (0.1, 0.05))
        assert scores.per_image == pytest.approx(metric.scores().per_image)
        assert scores.curve == pytest.approx(metric.scores().curve)

    def test_scoring_nothing(self):
        with pytest.raises(ValueError, match="a category for each pair"):
            score([], [])


class TestCurve:
    def test_by_hand(self):
        errors = torch.tensor([0.0, 0.1, 0.15, 0.3], dtype=torch.float64)
        assert pck_curve(errors, [0.0, 0.1, 0.2, 0.3]).tolist() == [25.0, 50.0, 75.0, 100.0]

    def test_area_by_hand(self):
        # trapezoids over [0, 0.1] and [0.1, 0.4]: (0.1 · 50 + 0.3 · 75) / 0.4
        assert area_under(torch.tensor([0.0, 100.0, 50.0]), (0.0, 0.1, 0.4)) == pytest.approx(68.75)

    def test_the_truth_has_an_area_of_100(self):
        metric = PCK()
        metric.update(TRUTH, PAIR)
        assert metric.scores().area == pytest.approx(100.0)
        assert len(metric.scores().curve) == len(CURVE)

    def test_rises(self):
        metric = PCK()
        metric.update(OFF, PAIR)
        curve = metric.scores().curve
        assert list(curve) == sorted(curve)
        assert dict(zip(CURVE, curve, strict=True))[0.1] == metric.scores().per_image[0.1]

    @pytest.mark.parametrize("alphas", [(0.1,), (0.2, 0.1), (0.1, 0.1)])
    def test_area_needs_rising_alphas(self, alphas):
        with pytest.raises(ValueError, match="must rise"):
            area_under(torch.zeros(len(alphas)), alphas)


class TestCalibration:
    def test_by_hand(self):
        said = torch.tensor([0.05, 0.55, 0.58, 0.6, 0.95, 1.0])
        right = torch.tensor([False, True, False, True, True, True])
        result = calibrate(said, right, bins=10)
        assert result.counts == (1, 0, 0, 0, 0, 3, 0, 0, 0, 2)
        assert result.accuracy[5] == pytest.approx(2 / 3)
        assert result.confidence[5] == pytest.approx((0.55 + 0.58 + 0.6) / 3)
        assert math.isnan(result.accuracy[1])
        # 1/6 · |0.05 − 0| + 3/6 · |0.5767 − 0.6667| + 2/6 · |0.975 − 1|
        assert result.error == pytest.approx(0.05 / 6 + 3 / 6 * (2 / 3 - 1.73 / 3) + 2 / 6 * 0.025)

    def test_nine_times_in_ten(self):
        said = torch.full((1000,), 0.9)
        right = torch.arange(1000) % 10 != 0
        assert calibrate(said, right).error == pytest.approx(0.0, abs=1e-6)
        assert calibrate(said, ~right).error == pytest.approx(0.8, abs=1e-6)

    def test_the_ends_belong_to_the_first_and_last_bin(self):
        result = calibrate(torch.tensor([0.0, 1.0]), torch.tensor([True, True]), bins=4)
        assert result.counts == (1, 0, 0, 1)

    @pytest.mark.parametrize(
        ("said", "right", "bins"),
        [([0.5], [True, False], 10), ([1.5], [True], 10), ([float("nan")], [True], 10), ([0.5], [True], 0)],
    )
    def test_nonsense_is_refused(self, said, right, bins):
        with pytest.raises(ValueError, match=r"must|shape"):
            calibrate(torch.tensor(said), torch.tensor(right), bins)

    def test_through_the_metric(self):
        metric = PCK(alphas=(0.05, 0.01))
        metric.update(OFF, PAIR, torch.tensor([0.9, 0.8, 0.8, 0.1]))
        result = metric.scores().calibration
        assert result is not None
        assert sum(result.counts) == 4
        # right at α = 0.05: the first three. Gaps: 0.1, 0.2, 0.2 and 0.1
        assert result.error == pytest.approx((0.1 + 0.2 + 0.2 + 0.1) / 4, abs=1e-6)

    def test_without_confidences_there_is_none(self):
        metric = PCK()
        metric.update(OFF, PAIR, torch.tensor([0.9, 0.8, 0.8, 0.1]))
        metric.update(OFF, PAIR)
        assert metric.scores().calibration is None

    def test_wrong_shape_of_confidence(self):
        with pytest.raises(ValueError, match="confidence has shape"):
            PCK().update(OFF, PAIR, torch.tensor([0.5]))


PROCESS = """
import sys
from pathlib import Path
import torch
import torch.distributed as dist
from semcorr.data.pairs import Pair, Photo
from semcorr.metrics import PCK

rank, world, init = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
dist.init_process_group("gloo", init_method=init, rank=rank, world_size=world)

def pair(points, category):
    named = {str(i): (10.0 * i, 5.0) for i in range(points)}
    photo = Photo(Path("photo.jpg"), (100, 200), named, None, category)
    return Pair(photo, photo)

work = [[(4, "cat", 8.0), (1, "dog", 30.0), (2, "猫", 15.0)], [(3, "dog", 12.0)], []]  # the third has nothing
metric = PCK(alphas=(0.1, 0.05))
for points, category, off in work[rank]:
    answer = pair(points, category)
    predicted = answer.points()[1].clone()
    predicted[0, 0] += off  # one point is off
    metric.update(predicted, answer, torch.full((points,), 0.5))
scores = metric.scores()
computed = {name: value.item() for name, value in metric.compute().items()}
print((scores.pairs, scores.points, scores.per_image, scores.per_point, sorted(scores.categories), computed))
dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="this build of torch has no torch.distributed")
def test_three_processes_agree_with_the_numbers_by_hand(tmp_path):
    script = tmp_path / "process.py"
    script.write_text(PROCESS, encoding="utf-8")
    init = (tmp_path / "meeting").as_uri()
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), "3", init],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        for rank in range(3)
    ]
    answers = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=180)
            assert process.returncode == 0, err
            answers.append(out)
    finally:
        for process in processes:
            process.kill()
    assert answers[0] == answers[1] == answers[2]
    pairs, points, per_image, per_point, categories, computed = eval(answers[0])  # printed a few lines above
    assert (pairs, points, categories) == (4, 10, ["cat", "dog", "猫"])
    # of 200 pixels, at 0.1: 4/4, 0/1, 2/2, 3/3; at 0.05 (10 px): 4/4, 0/1, 1/2, 2/3
    assert per_image == pytest.approx({0.1: 75.0, 0.05: 100 * (1 + 0 + 1 / 2 + 2 / 3) / 4})
    assert per_point == pytest.approx({0.1: 90.0, 0.05: 70.0})
    assert computed["per_image@0.1"] == pytest.approx(75.0)
