import pytest
import torch

from semcorr.metrics.selective import auroc, false_matches, risk_coverage


def test_auroc_by_counting_pairs():
    rng = torch.Generator().manual_seed(0)
    positive = (torch.rand(40, generator=rng) * 8).round() / 8  # with ties
    negative = (torch.rand(30, generator=rng) * 6).round() / 8
    wins = sum(float(a > b) + 0.5 * float(a == b) for a in positive for b in negative)
    assert auroc(positive, negative) == pytest.approx(wins / 1200)
    assert auroc(negative, positive) == pytest.approx(1 - wins / 1200)


def test_auroc_at_its_ends():
    low, high = torch.tensor([0.1, 0.2]), torch.tensor([0.3, 0.9])
    assert (auroc(high, low), auroc(low, high), auroc(low, low)) == (1, 0, 0.5)


def test_risk_rises_where_the_wrong_ones_begin():
    confidence, correct = torch.linspace(1, 0.1, 10), torch.arange(10) < 7
    found = risk_coverage(confidence, correct)
    assert found.coverage == pytest.approx([k / 10 for k in range(1, 11)])
    assert found.risk == pytest.approx([0] * 7 + [1 / 8, 2 / 9, 3 / 10])
    assert found.area == pytest.approx(sum(found.risk) / 10)


def test_one_confidence_for_all_orders_nothing():
    found = risk_coverage(torch.full((8,), 0.46), torch.arange(8) < 6)
    assert found.coverage == (1.0,)
    assert found.risk == (0.25,)
    assert found.area == 0.25


def test_the_order_of_points_does_not_matter():
    rng = torch.Generator().manual_seed(1)
    confidence = (torch.rand(50, generator=rng) * 10).round() / 10
    correct = torch.rand(50, generator=rng) < 0.6
    order = torch.randperm(50, generator=rng)
    assert risk_coverage(confidence, correct) == risk_coverage(confidence[order], correct[order])


def test_false_matches_at_ninety_per_cent():
    right = torch.linspace(0.1, 1.0, 10)  # nine of ten are 0.2 or more
    false = torch.tensor([0.15, 0.2, 0.25, 0.95])
    assert false_matches(right, false, pictures=3) == 1.0
    assert false_matches(right, false, pictures=1, kept=1.0) == 4
    assert false_matches(right, torch.zeros(0), pictures=5) == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: auroc(torch.zeros(0), torch.zeros(2)),
        lambda: auroc(torch.tensor([float("nan")]), torch.zeros(2)),
        lambda: risk_coverage(torch.zeros(0), torch.zeros(0, dtype=torch.bool)),
        lambda: risk_coverage(torch.zeros(2), torch.zeros(3, dtype=torch.bool)),
        lambda: false_matches(torch.zeros(0), torch.zeros(2), 1),
        lambda: false_matches(torch.zeros(2), torch.zeros(2), 0),
        lambda: false_matches(torch.zeros(2), torch.zeros(2), 1, 0.0),
    ],
)
def test_what_cannot_be_measured_is_refused(call):
    with pytest.raises(ValueError):  # noqa: PT011 - each message is of its own
        call()
