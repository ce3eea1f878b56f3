"""Losses against values found by hand, and their minima."""

import pytest
import torch

from semcorr.training.objectives.losses import (
    cross_entropy,
    matching_score,
    one_to_one,
    smoothed,
    target_probability,
    weak_loss,
)


def test_cross_entropy_by_hand():
    scores = torch.tensor([[[1.0, 2.0], [0.0, 3.0]]])
    truth = torch.tensor([[[0.25, 0.0], [0.0, 0.75]]])
    total = scores.exp().sum().log()
    expected = total - 0.25 * 1 - 0.75 * 3
    assert cross_entropy(scores, truth).item() == pytest.approx(expected.item())


def test_smoothing_is_a_gaussian_of_one_cell():
    spread = smoothed(target_probability(torch.tensor([[4.0, 4.0], [0.0, 0.0], [8.0, 2.5]]), (9, 9)))
    torch.testing.assert_close(spread.sum(dim=(1, 2)), torch.ones(3))
    assert (spread[0, 4, 5] / spread[0, 4, 4]).item() == pytest.approx(2.718281828**-0.5, rel=1e-5)
    assert (spread[0, 2, 2] / spread[0, 4, 4]).item() == pytest.approx(2.718281828**-4, rel=1e-5)
    assert spread[0, 1, 4] == 0
    assert spread[1].argmax() == 0


def test_one_to_one_by_hand():
    """Two keypoints that both fall on the middle of two cells, where each has a cell of its own."""
    scores, truth = torch.zeros(2, 1, 2), torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    off = 0.5**0.5  # each row is (½, ½) and should be (1, 0): distance √½
    apart = 1.0  # XXᵀ is ½ everywhere, GGᵀ the identity: four differences of ½
    assert one_to_one(scores, truth).item() == pytest.approx(off + 0.1 * apart / 2)
    assert one_to_one((truth + 1e-12).log(), truth).item() == pytest.approx(0, abs=1e-5)


def test_matching_score_is_one_for_decided_and_a_share_for_undecided_tables():
    assert matching_score(torch.zeros(1, 2, 2, 3, 4)).item() == pytest.approx((1 / 12 + 1 / 4) / 2)
    decided = 100 * torch.eye(6).view(1, 2, 3, 2, 3)
    assert matching_score(decided).item() == pytest.approx(1)


def test_weak_loss_rewards_decided_pairs_and_undecided_negatives():
    decided, undecided = 100 * torch.eye(4).view(1, 2, 2, 2, 2), torch.zeros(1, 2, 2, 2, 2)
    assert weak_loss(decided, undecided).item() == pytest.approx(1 / 4 - 1)
    assert weak_loss(undecided, decided).item() == pytest.approx(1 - 1 / 4)
