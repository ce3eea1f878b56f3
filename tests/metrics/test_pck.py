"""PCK against numbers computed by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from semcorr.data.pairs import Pair, Photo
from semcorr.errors import DataError
from semcorr.metrics.calibration import calibrate
from semcorr.metrics.pck import ALPHAS, CURVE, area_under, pck, pck_curve, pck_distances, reference_length, score

# The target is 200 wide and 100 high; its box is 80 × 50; its keypoints span 60 × 20.
POINTS = {"nose": (40.0, 50.0), "eye": (60.0, 40.0), "ear": (100.0, 60.0), "tail": (50.0, 45.0)}


def photo(points, size=(100, 200), bbox=(30.0, 20.0, 110.0, 70.0), category="cat", name="target"):
    return Photo(Path(f"{name}.jpg"), size, points, bbox, category)


SOURCE = photo({name: (x + 3.0, y + 7.0) for name, (x, y) in POINTS.items()}, (400, 300), None, name="source")
PAIR = Pair(SOURCE, photo(POINTS))
TRUTH = PAIR.points()[1]

# Distances in pixels of 0, 5 (3-4-5), 10 and 20.
OFF = TRUTH + np.array([[0.0, 0.0], [3.0, 4.0], [10.0, 0.0], [0.0, 20.0]])


def scored(*answers, alphas=ALPHAS):
    """Score answers, each the predicted points, the pair, and perhaps the confidences."""
    errors = [pck_distances(answer[0], answer[1]) for answer in answers]
    sure = [answer[2] for answer in answers if len(answer) > 2]
    categories = [answer[1].target.category for answer in answers]
    return score(errors, categories, alphas, sure if len(sure) == len(answers) else None)


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
        assert found.dtype == np.float64
        assert found.tolist() == pytest.approx(errors)

    def test_exactly_at_the_threshold_is_correct(self):
        assert pck(pck_distances(OFF, PAIR, "image"), 0.1) == 100.0
        assert pck(pck_distances(OFF, PAIR, "image"), 0.0999) == 75.0
        assert pck(pck_distances(OFF, PAIR, "image"), 0.05) == 75.0
        assert pck(pck_distances(OFF, PAIR, "image"), 0.01) == 25.0


class TestTraps:
    def test_neither_axis_is_scaled_alone(self):
        """In the square a tenth of the width and a tenth of the height weigh the same; natively they do not."""
        along_x, along_y = TRUTH + np.array([20.0, 0.0]), TRUTH + np.array([0.0, 10.0])
        for off in (along_x, along_y):
            errors = pck_distances(off, PAIR, "image", "square")
            assert errors.tolist() == pytest.approx([0.1] * 4)
        assert pck_distances(along_x, PAIR, "image").tolist() == pytest.approx([0.1] * 4)
        assert pck_distances(along_y, PAIR, "image").tolist() == pytest.approx([0.05] * 4)

    def test_the_extent_is_scaled_like_the_error(self):
        """Squashing both leaves a point that is off by the whole extent at an error of 1, in either axis."""
        tall = Pair(SOURCE, photo({"nose": (10.0, 10.0), "ear": (20.0, 90.0)}, (100, 200)))
        off = tall.points()[1] + np.array([0.0, 80.0])
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
        resized = TRUTH * np.array([400 / 200, 400 / 100])
        assert pck(pck_distances(resized, PAIR, "image", "square"), 0.1) == 0.0

    def test_answers_follow_the_order_of_points(self):
        assert pck(pck_distances(TRUTH[::-1], PAIR), 0.01) == 0.0


class TestEdges:
    def test_a_point_that_was_not_found_is_wrong_at_every_threshold(self):
        lost = TRUTH.copy()
        lost[1] = np.nan
        lost[2] = np.inf
        errors = pck_distances(lost, PAIR)
        assert errors.tolist() == [0.0, math.inf, math.inf, 0.0]
        assert pck(errors, 1.0) == 50.0

    def test_one_keypoint_has_no_extent(self):
        pair = Pair(photo({"nose": (1.0, 1.0)}), photo({"nose": (5.0, 5.0)}))
        assert pck_distances(np.array([[5.0, 5.0]]), pair, "keypoints").tolist() == [0.0]
        assert pck_distances(np.array([[5.1, 5.0]]), pair, "keypoints").tolist() == [math.inf]

    @pytest.mark.parametrize("shape", [(3, 2), (4, 3), (8,), (1, 4, 2)])
    def test_wrong_shapes_are_refused(self, shape):
        with pytest.raises(ValueError, match=r"expected \(4, 2\)"):
            pck_distances(np.zeros(shape), PAIR)

    def test_no_box(self):
        with pytest.raises(DataError, match=r"source\.jpg has no box"):
            pck_distances(PAIR.points()[0], PAIR.swapped(), "bbox")

    def test_nothing_shared(self):
        with pytest.raises(DataError, match="share no keypoint"):
            pck_distances(np.zeros((0, 2)), Pair(SOURCE, photo({"wing": (1.0, 1.0)})))

    @pytest.mark.parametrize("arguments", [{"threshold": "box"}, {"space": "cube"}])
    def test_unknown_options(self, arguments):
        with pytest.raises(ValueError, match="must be"):
            pck_distances(OFF, PAIR, **arguments)


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
    def scores(self):
        return scored(
            (TRUTH + np.array([[0.0, 0.0], [0.0, 10.0], [15.0, 0.0], [40.0, 0.0]]), self.cat),
            (np.array([[50.0, 71.0]]), self.small),
            (np.array([[50.0, 50.0], [90.0, 20.0]]), self.dog),
            alphas=(0.1, 0.05),
        )

    def test_by_hand(self, scores):
        assert (scores.pairs, scores.points) == (3, 7)
        # per image: (75 + 0 + 100) / 3 and (50 + 0 + 100) / 3
        assert scores.per_image == pytest.approx({0.1: 175 / 3, 0.05: 150 / 3})
        # per point: 5 of 7 and 4 of 7
        assert scores.per_point == pytest.approx({0.1: 500 / 7, 0.05: 400 / 7})
        # cats (75 + 0) / 2, dogs 100: their mean
        assert scores.categories == {"cat": {0.1: 37.5, 0.05: 25.0}, "dog": {0.1: 100.0, 0.05: 100.0}}
        assert scores.per_category == pytest.approx({0.1: 68.75, 0.05: 62.5})

    def test_scoring_errors_that_are_known(self, scores):
        errors = [np.array([0.0, 0.05, 0.075, 0.2]), np.array([0.105]), np.array([0.0, 0.05])]
        known = score(errors, ["cat", "cat", "dog"], (0.1, 0.05))
        assert known.per_image == pytest.approx(scores.per_image)
        assert known.curve == pytest.approx(scores.curve)

    def test_scoring_nothing(self):
        with pytest.raises(ValueError, match="a category for each pair"):
            score([], [])


class TestCurve:
    def test_by_hand(self):
        errors = np.array([0.0, 0.1, 0.15, 0.3], dtype=np.float64)
        assert pck_curve(errors, [0.0, 0.1, 0.2, 0.3]).tolist() == [25.0, 50.0, 75.0, 100.0]

    def test_area_by_hand(self):
        # trapezoids over [0, 0.1] and [0.1, 0.4]: (0.1 · 50 + 0.3 · 75) / 0.4
        assert area_under(np.array([0.0, 100.0, 50.0]), (0.0, 0.1, 0.4)) == pytest.approx(68.75)

    def test_the_truth_has_an_area_of_100(self):
        scores = scored((TRUTH, PAIR))
        assert scores.area == pytest.approx(100.0)
        assert len(scores.curve) == len(CURVE)

    def test_rises(self):
        scores = scored((OFF, PAIR))
        assert list(scores.curve) == sorted(scores.curve)
        assert dict(zip(CURVE, scores.curve, strict=True))[0.1] == scores.per_image[0.1]

    @pytest.mark.parametrize("alphas", [(0.1,), (0.2, 0.1), (0.1, 0.1)])
    def test_area_needs_rising_alphas(self, alphas):
        with pytest.raises(ValueError, match="rising order"):
            area_under(np.zeros(len(alphas)), alphas)


class TestCalibration:
    def test_by_hand(self):
        said = np.array([0.05, 0.55, 0.58, 0.6, 0.95, 1.0])
        right = np.array([False, True, False, True, True, True])
        result = calibrate(said, right, bins=10)
        assert result.counts == (1, 0, 0, 0, 0, 3, 0, 0, 0, 2)
        assert result.accuracy[5] == pytest.approx(2 / 3)
        assert result.confidence[5] == pytest.approx((0.55 + 0.58 + 0.6) / 3)
        assert math.isnan(result.accuracy[1])
        # 1/6 · |0.05 − 0| + 3/6 · |0.5767 − 0.6667| + 2/6 · |0.975 − 1|
        assert result.error == pytest.approx(0.05 / 6 + 3 / 6 * (2 / 3 - 1.73 / 3) + 2 / 6 * 0.025)

    def test_nine_times_in_ten(self):
        said = np.full(1000, 0.9)
        right = np.arange(1000) % 10 != 0
        assert calibrate(said, right).error == pytest.approx(0.0, abs=1e-6)
        assert calibrate(said, ~right).error == pytest.approx(0.8, abs=1e-6)

    def test_the_ends_belong_to_the_first_and_last_bin(self):
        result = calibrate(np.array([0.0, 1.0]), np.array([True, True]), bins=4)
        assert result.counts == (1, 0, 0, 1)

    @pytest.mark.parametrize(
        ("said", "right", "bins"),
        [([0.5], [True, False], 10), ([1.5], [True], 10), ([float("nan")], [True], 10), ([0.5], [True], 0)],
    )
    def test_nonsense_is_refused(self, said, right, bins):
        with pytest.raises(ValueError, match=r"must|shape"):
            calibrate(np.array(said), np.array(right), bins)

    def test_of_scores(self):
        result = scored((OFF, PAIR, np.array([0.9, 0.8, 0.8, 0.1])), alphas=(0.05, 0.01)).calibration
        assert result is not None
        assert sum(result.counts) == 4
        # right at α = 0.05: the first three. Gaps: 0.1, 0.2, 0.2 and 0.1
        assert result.error == pytest.approx((0.1 + 0.2 + 0.2 + 0.1) / 4, abs=1e-6)

    def test_without_confidences_there_is_none(self):
        assert scored((OFF, PAIR)).calibration is None
        assert scored((OFF, PAIR)).ranking is None


def test_how_well_confidences_order_the_points():
    # right at α = 0.05: the first three
    ranking = scored((OFF, PAIR, np.array([0.9, 0.8, 0.3, 0.5])), alphas=(0.05, 0.01)).ranking
    assert ranking is not None
    assert ranking.auroc == pytest.approx(2 / 3)
    assert ranking.risk == pytest.approx((0 + 0 + 1 / 3 + 1 / 4) / 4)
    assert ranking.false_matches == 1.0
    all_right = scored((TRUTH, PAIR, np.array([0.9, 0.8, 0.3, 0.5])), alphas=(0.05, 0.01)).ranking
    assert all_right is not None
    assert (all_right.auroc, all_right.risk, all_right.false_matches) == (None, 0.0, 0.0)
