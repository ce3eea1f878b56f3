import torch

from semcorr.matchers.dense.confidence import fit_rescaling, rescale
from semcorr.metrics.calibration import calibrate


def test_the_fit_finds_what_confidences_are_worth():
    generator = torch.Generator().manual_seed(0)
    raw = torch.rand(20_000, generator=generator)
    correct = torch.rand(20_000, generator=generator) < rescale(raw, (-0.5, 1.0, 2.5))
    found = fit_rescaling(raw, correct)
    assert calibrate(raw, correct).error > 0.1
    assert calibrate(rescale(raw, found), correct).error < 0.02


def test_a_confidence_that_is_worth_nothing_is_not_turned_round():
    generator = torch.Generator().manual_seed(0)
    raw = torch.rand(5_000, generator=generator)
    correct = torch.rand(5_000, generator=generator) < 0.8 - 0.3 * raw  # the surer, the worse
    _, slope, curve = fit_rescaling(raw, correct)
    assert slope >= 0
    assert curve >= 0


def test_rescaling_keeps_the_order_and_the_range():
    confidence = torch.linspace(0, 1, 11)
    found = rescale(confidence, (-0.1, 0.3, 4.7))
    assert bool((found.diff() > 0).all())
    assert 0 <= found.min() < found.max() <= 1
