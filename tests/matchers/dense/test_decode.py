import math

import pytest
import torch

from semcorr.matchers.dense.decode import decode, soft_argmax
from semcorr.matchers.dense.scores import ScoredPairs


def test_soft_argmax_by_hand():
    scores = torch.full((1, 5, 5), -20.0)
    scores[0, 2, 2], scores[0, 2, 3] = math.log(3.0), 0.0
    cells, mass = soft_argmax(scores, radius=1)
    assert cells[0].tolist() == pytest.approx([2.25, 2.0], abs=1e-6)
    assert mass.item() == pytest.approx(1.0, abs=1e-6)


def test_radius_zero_returns_the_cell_centre():
    scores = torch.zeros(1, 4, 6)
    scores[0, 3, 5] = 1.0
    cells, mass = soft_argmax(scores, radius=0)
    assert cells[0].tolist() == [5.0, 3.0]
    assert mass.item() == pytest.approx(math.e / (math.e + 23), abs=1e-6)


def test_unscored_cells_and_cells_outside_are_ignored():
    scores = torch.full((1, 3, 3), -torch.inf)
    scores[0, 0, 0] = 1.0
    cells, mass = soft_argmax(scores, radius=2)
    assert cells[0].tolist() == [0.0, 0.0]
    assert mass.item() == pytest.approx(1.0)


def test_confidence_falls_with_a_second_peak_and_with_disagreement():
    one = torch.full((1, 1, 8, 1, 8), -30.0)
    for k in range(8):
        one[0, 0, k, 0, k] = 0.0
    sure = decode(one)[0]
    assert sure.confidence.min() > 0.99
    two = one.clone()
    two[0, 0, 0, 0, 6] = -1e-3  # cell 0 might also go to 6
    forward = decode(two)[0]
    assert forward.confidence[0, 0, 0] == pytest.approx(0.5, abs=0.01)
    three = one.clone()
    three[0, 0, 1, 0, 6] = 5.0  # cell 1 goes to 6, but 6 ... goes back to 1: agreed; cell 6 lost its own
    forward, backward = decode(three)
    assert forward.confidence[0, 0, 1] > 0.99
    assert backward.cells[0, 0, 6, 0] == pytest.approx(1.0, abs=1e-3)
    assert forward.confidence[0, 0, 6] < 1e-3


def test_transposing_the_table_exchanges_the_directions():
    scores = torch.randn(2, 3, 4, 5, 2, generator=torch.Generator().manual_seed(0))
    forward, backward = decode(scores)
    other_backward, other_forward = decode(scores.permute(0, 3, 4, 1, 2))
    torch.testing.assert_close(forward.cells, other_forward.cells)
    torch.testing.assert_close(backward.confidence, other_backward.confidence)


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_scored_pairs_are_decoded_like_their_table(radius, native):
    generator = torch.Generator().manual_seed(5)
    scores, tried = torch.randn(2, 4, 5, 6, 3, generator=generator) * 3, torch.rand(2, 4, 5, 6, 3, generator=generator)
    scores[tried < 0.7] = -torch.inf
    scores[:, :, :, 1, 1], scores[:, 1, 1] = 0.5, 0.25  # every cell has a score, and there are equal ones
    flat = scores.flatten(1)
    pairs = tuple(row.isfinite().nonzero()[:, 0].flip(0) for row in flat)
    scored = ScoredPairs(pairs, tuple(row[index] for row, index in zip(flat, pairs, strict=True)), (4, 5, 6, 3))
    assert torch.equal(scored.table(), scores)
    for expected, found in zip(decode(scores, radius), decode(scored, radius), strict=True):
        torch.testing.assert_close(found.cells, expected.cells, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found.confidence, expected.confidence, atol=1e-5, rtol=1e-5)
