import torch

from semcorr.calibration import calibrate, fit_rescaling, rescale


def test_the_fit_finds_how_confidences_were_bent():
    generator = torch.Generator().manual_seed(0)
    honest = torch.rand(20_000, generator=generator)
    correct = torch.rand(20_000, generator=generator) < honest
    timid = rescale(honest, 0.5, -1.0)
    slope, offset = fit_rescaling(timid, correct)
    torch.testing.assert_close(torch.tensor([slope, offset]), torch.tensor([2.0, 2.0]), atol=0.1, rtol=0)
    assert calibrate(timid, correct).error > 0.15
    assert calibrate(rescale(timid, slope, offset), correct).error < 0.02


def test_rescaling_keeps_the_order_and_the_range():
    confidence = torch.linspace(0, 1, 11)
    found = rescale(confidence, 1.7, 0.4)
    assert bool((found.diff() > 0).all())
    assert 0 <= found.min() < found.max() <= 1
