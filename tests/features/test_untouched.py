import numpy as np
import pytest
import torch
import torch.nn.functional as F

from semcorr.features import FeatureExtractor, FeatureOptions
from semcorr.features.untouched import Gate, join_features
from semcorr.models.torch_loading import load


def unit(channels: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(1, channels, 3, 4, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_joined_features_have_norm_one_and_cosines_weighed_by_both_shares():
    first, second = ((unit(6, seed), unit(6, seed + 10)) for seed in (0, 1))
    a, b = 0.36, 0.81
    joined = join_features(*first, a), join_features(*second, b)
    assert torch.allclose(joined[0].norm(dim=1), torch.ones(1, 3, 4), atol=1e-6)
    found = (joined[0] * joined[1]).sum(1)
    expected = (a * b) ** 0.5 * (first[0] * second[0]).sum(1)
    expected = expected + ((1 - a) * (1 - b)) ** 0.5 * (first[1] * second[1]).sum(1)
    assert torch.allclose(found, expected, atol=1e-6)


def test_the_gate_stays_between_its_shares_and_rises_with_familiarity():
    gate = Gate(6, 0.4, 0.9)
    torch.nn.init.ones_(gate.familiar.weight)
    features = torch.stack([torch.full((6, 3, 4), value) for value in (-50.0, 0.0, 0.1, 50.0)])
    shares = gate(features).detach()
    assert shares.shape == (4, 1, 1, 1)
    assert shares.flatten().tolist() == sorted(shares.flatten().tolist())
    assert shares.min() == pytest.approx(0.4)
    assert shares.max() == pytest.approx(0.9)


@pytest.mark.parametrize("shares", [(0.5, 0.4), (-0.1, 1.0), (0.0, 1.1)])
def test_impossible_shares_are_refused(shares):
    with pytest.raises(ValueError, match="shares must be"):
        Gate(6, *shares)


def test_the_second_half_of_the_default_models_features_is_the_backbone_of_the_package():
    """As exactly as eight bits allow: blocks that training must not have touched."""
    picture = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    model = load("pmnc")
    joined = model.encode(picture).features.tensor
    plain = FeatureExtractor(FeatureOptions()).encode([picture]).tensor
    half = model.features.channels
    assert joined.shape[1] == model.features.width == 2 * half
    assert torch.allclose(joined.norm(dim=1), torch.ones(joined.shape[0], *joined.shape[2:]), atol=1e-5)
    cosines = (F.normalize(joined[:, half:], dim=1) * plain).sum(1)
    assert cosines.min() > 0.99
    share = joined[:, :half].square().sum(1)
    assert torch.allclose(share, share[:, :1, :1].expand_as(share), atol=1e-5)
    assert 0.4 <= share.mean() <= 1


def test_a_pictures_share_does_not_depend_on_what_it_is_encoded_with():
    model = load("pmnc")
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 256, (96, 96, 3), dtype=np.uint8), np.full((96, 96, 3), 90, np.uint8)]
    together = [one.features.tensor for one in model.encode_many(pictures)]
    for picture, found in zip(pictures, together, strict=True):
        assert torch.allclose(model.encode(picture).features.tensor, found, atol=1e-5)
