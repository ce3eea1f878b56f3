"""The vote of several exemplars, on answers written by hand."""

from __future__ import annotations

import numpy as np
import pytest

from semcorr.annotation.voting import vote


def cast(points: list[list[tuple[float, float]]], confidence: list[list[float]], side: float = 100) -> object:
    array = np.array(points, dtype=float)
    return vote(array, np.array(confidence, dtype=float), np.ones(array.shape[:2]), side)


def test_one_exemplar_is_believed_as_it_is() -> None:
    voted = cast([[(12, 34)], [(56, 7)]], [[0.9], [0.2]])
    assert voted.points == pytest.approx(np.array([[12, 34], [56, 7]]))
    assert voted.confidence == pytest.approx([0.9, 0.2])
    assert voted.winner.tolist() == [0, 0]


def test_two_that_agree_outvote_one_that_is_as_sure() -> None:
    voted = cast([[(10, 10), (12, 10), (80, 80)]], [[0.8, 0.8, 0.8]])
    assert voted.points[0] == pytest.approx([11, 10], abs=0.01)
    assert voted.confidence[0] == pytest.approx(0.8 * 2 / 3, rel=0.02)
    assert voted.winner[0] in (0, 1)


def test_one_that_is_much_surer_outvotes_two_that_agree() -> None:
    voted = cast([[(10, 10), (10, 10), (80, 80)]], [[0.2, 0.2, 0.9]])
    assert voted.points[0] == pytest.approx([80, 80], abs=0.1)


def test_an_exemplar_that_doubts_everything_has_little_say() -> None:
    """The second exemplar is as sure of the first point, but unsure of all others."""
    others = [[(50, 50), (50, 50)]] * 9
    voted = cast([[(10, 10), (80, 80)], *others], [[0.6, 0.6], *[[0.9, 0.1]] * 9])
    assert voted.points[0] == pytest.approx([10, 10], abs=0.1)


def test_the_order_of_exemplars_does_not_matter() -> None:
    draw = np.random.default_rng(0)
    points, confidence = draw.uniform(0, 100, (20, 5, 2)), draw.uniform(0.1, 1, (20, 5))
    visibility, order = draw.uniform(0.1, 1, (20, 5)), np.array([3, 0, 4, 1, 2])
    one = vote(points, confidence, visibility, 100)
    other = vote(points[:, order], confidence[:, order], visibility[:, order], 100)
    assert other.points == pytest.approx(one.points)
    assert other.confidence == pytest.approx(one.confidence)
    assert order[other.winner].tolist() == one.winner.tolist()


def test_a_point_that_an_exemplar_lacks_is_left_to_the_others() -> None:
    nan = float("nan")
    voted = cast([[(nan, nan), (30, 40)], [(nan, nan), (nan, nan)]], [[0, 0.7], [0, 0]])
    assert voted.points[0] == pytest.approx([30, 40])
    assert voted.confidence.tolist() == pytest.approx([0.7, 0])
    assert np.isnan(voted.points[1]).all()


def test_without_any_confidence_there_is_still_a_place() -> None:
    voted = cast([[(10, 20), (10, 20)]], [[0.0, 0.0]])
    assert voted.points[0] == pytest.approx([10, 20])
    assert voted.confidence[0] == 0


def test_visibility_is_weighed_and_reported() -> None:
    points = np.array([[(10.0, 10.0), (80.0, 80.0)]])
    voted = vote(points, np.array([[0.8, 0.8]]), np.array([[0.1, 0.9]]), 100)
    assert voted.points[0] == pytest.approx([80, 80], abs=0.1)
    assert voted.visibility[0] == pytest.approx((0.1**3 + 0.9**3) / (0.1**2 + 0.9**2))
