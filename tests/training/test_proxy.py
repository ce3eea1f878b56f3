import pytest
import torch
import torch.nn.functional as F

from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction
from semcorr.training.objectives.losses import target_probability
from semcorr.training.objectives.proxy import Example, ProxyModel

GRIDS = ((10, 10), (10, 10))


def test_target_probability_by_hand():
    truth = target_probability(torch.tensor([[1.25, 0.5], [-3.0, 9.0]]), (2, 4))
    assert truth[0].tolist() == [[0, 0.375, 0.125, 0], [0, 0.375, 0.125, 0]]
    assert truth[1].tolist() == [[0, 0, 0, 0], [1, 0, 0, 0]]  # outside: the nearest cell


def example(shift: int = 2) -> Example:
    coarse = torch.randn(1, 32, 4, 4, generator=torch.Generator().manual_seed(0))
    big = F.normalize(F.interpolate(coarse, (10, 10 + shift), mode="bicubic"), dim=1)[0]
    cells = torch.tensor([[5.0, 3.0], [6.5, 7.25]])
    return Example(big[:, :, :10], big[:, :, shift:], cells, cells - torch.tensor([shift, 0]), GRIDS)


def test_the_truth_costs_less_than_a_lie():
    proxy = ProxyModel(ScoringFunction(1, 4))
    right = example()
    wrong = Example(
        right.source, right.target, right.source_cells, right.target_cells + torch.tensor([3.0, 1.0]), GRIDS
    )
    assert proxy(right) < proxy(wrong)


def test_both_directions_cost_the_same():
    proxy, one = ProxyModel(ScoringFunction(1, 4)), example()
    other = Example(one.target, one.source, one.target_cells, one.source_cells, GRIDS)
    assert proxy(one).item() == pytest.approx(proxy(other).item(), abs=1e-5)


def test_it_learns():
    torch.manual_seed(0)
    proxy = ProxyModel(ScoringFunction(1, 4))
    optimizer = torch.optim.Adam(proxy.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        loss = proxy(example())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
