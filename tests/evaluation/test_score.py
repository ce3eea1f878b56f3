from pathlib import Path

import numpy as np
import pytest

from semcorr.data.pairs import Pair, Photo
from semcorr.errors import DataError
from semcorr.evaluation.results import Prediction
from semcorr.evaluation.score import differences, evaluate


def make_pairs(count: int = 6) -> list[Pair]:
    """Pairs of two categories and two degrees of a nuisance, two points each in pictures of 100 × 100."""
    pairs = []
    for index in range(count):
        category = "cat" if index % 2 else "dog"
        points = {"nose": (20.0, 30.0), "tail": (60.0, 70.0)}
        photos = [Photo(Path(f"{index}{side}.jpg"), (100, 100), points, None, category) for side in "ab"]
        pairs.append(Pair(*photos, {"viewpoint": "easy" if index < count // 2 else "hard"}))
    return pairs


def answers(pairs: list[Pair], off: list[float]) -> list[Prediction]:
    """Answer the truth, moved right by ``off`` pixels."""
    return [
        Prediction([(x + wrong, y) for x, y in pair.points()[1].tolist()], [0.5, 0.5])
        for pair, wrong in zip(pairs, off, strict=True)
    ]


def test_the_truth_is_worth_100():
    pairs = make_pairs()
    found = evaluate("truth", "made up", pairs, answers(pairs, [0] * 6))
    assert set(found.scores.per_image.values()) == {100.0}
    assert found.scores.area == pytest.approx(100.0)


def test_groups_by_hand():
    pairs = make_pairs()
    found = evaluate("m", "made up", pairs, answers(pairs, [0, 4, 0, 20, 0, 20]))
    assert found.scores.per_image[0.1] == pytest.approx(100 * 4 / 6)
    assert found.groups["category"]["dog"].per_image[0.01] == 100.0
    assert found.groups["category"]["cat"].per_image[0.1] == pytest.approx(100 / 3)
    assert found.groups["viewpoint"]["easy"].per_image[0.05] == 100.0
    assert found.groups["viewpoint"]["easy"].per_image[0.03] == pytest.approx(200 / 3)
    assert {name: scores.pairs for name, scores in found.groups["viewpoint"].items()} == {"easy": 3, "hard": 3}


def test_threshold_by_the_extent_of_the_keypoints():
    pairs = make_pairs(1)
    # the points extend 40 pixels: α = 0.1 allows 4
    assert evaluate("m", "d", pairs, answers(pairs, [3.9]), "keypoints").scores.per_image[0.1] == 100.0
    assert evaluate("m", "d", pairs, answers(pairs, [4.1]), "keypoints").scores.per_image[0.1] == 0.0


def test_a_constant_difference_has_no_width():
    pairs = make_pairs()
    good = evaluate("good", "d", pairs, answers(pairs, [0] * 6))
    bad = evaluate("bad", "d", pairs, answers(pairs, [50] * 6))
    for difference in differences(good, bad):
        assert (difference.mean, difference.low, difference.high) == (100.0, 100.0, 100.0)


def test_interval_has_the_width_of_the_binomial():
    pairs = make_pairs(400)
    rng = np.random.default_rng(0)
    won = rng.random(400) < 0.3
    first = evaluate("first", "d", pairs, answers(pairs, np.where(won, 0.0, 50.0).tolist()))
    second = evaluate("second", "d", pairs, answers(pairs, [50.0] * 400))
    found = differences(first, second)[0]
    deviation = 100 * np.sqrt(won.mean() * (1 - won.mean()) / 400)
    assert found.mean == pytest.approx(100 * won.mean())
    assert found.low == pytest.approx(found.mean - 1.96 * deviation, abs=0.6)
    assert found.high == pytest.approx(found.mean + 1.96 * deviation, abs=0.6)
    assert differences(first, second)[0] == found  # seeded


def test_what_cannot_be_compared_is_refused():
    pairs = make_pairs()
    first = evaluate("a", "d", pairs, answers(pairs, [0] * 6))
    with pytest.raises(DataError, match="same pairs and protocol"):
        differences(first, evaluate("b", "d", pairs[:3], answers(pairs[:3], [0] * 3)))
    with pytest.raises(DataError, match="same pairs and protocol"):
        differences(first, evaluate("b", "d", pairs, answers(pairs, [0] * 6), "keypoints"))
    with pytest.raises(DataError, match="a prediction for each"):
        evaluate("a", "d", [], [])
