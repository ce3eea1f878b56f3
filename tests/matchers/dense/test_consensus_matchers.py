"""NC-Net and ANC-Net: symmetry, their definition step by step, and both decodings."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from semcorr.features import FeatureMap
from semcorr.match.result import Match
from semcorr.match.types import Field
from semcorr.matchers.dense.ancnet import AdaptiveConsensus, ANCNet, SelfSimilarity, self_similarity
from semcorr.matchers.dense.conv4d import conv4d
from semcorr.matchers.dense.correlation import cosine_correlation, soft_mutual_filter
from semcorr.matchers.dense.decode import decode
from semcorr.matchers.dense.ncnet import NCNet, NeighbourhoodConsensus, exchange, filtered_consensus


def features(rows, columns, seed, channels=16):
    values = torch.randn(1, channels, rows, columns, generator=torch.Generator().manual_seed(seed))
    return FeatureMap(F.normalize(values, dim=1), ((rows * 16, columns * 16),))


def random_weights(module):
    """Perturb the weights, so that no symmetry comes from their initialisation."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return module.eval()


MATCHERS = {
    "ncnet": lambda: NCNet(NeighbourhoodConsensus((3, 3, 3), (4, 4, 1))),
    "ncnet 5-3": lambda: NCNet(NeighbourhoodConsensus((5, 3), (3, 1))),
    "ancnet": lambda: ANCNet(AdaptiveConsensus(channels=4), SelfSimilarity(channels=(8, 4))),
}


@pytest.mark.parametrize("name", MATCHERS)
@torch.inference_mode()
def test_exchanging_the_images_exchanges_the_map(name):
    torch.manual_seed(0)
    matcher = random_weights(MATCHERS[name]())
    source, target = features(5, 7, 1), features(6, 4, 2)
    there, back = (
        matcher.consensus_map(source.tensor, target.tensor),
        matcher.consensus_map(target.tensor, source.tensor),
    )
    assert there.shape == (1, 5, 7, 6, 4)
    assert there.amax() > 0
    assert (there.permute(0, 3, 4, 1, 2) - back).abs().max() <= 1e-5 * there.amax()
    for ours, theirs in zip(decode(matcher(source, target)), decode(matcher(target, source))[::-1], strict=True):
        torch.testing.assert_close(ours.cells, theirs.cells, atol=1e-3, rtol=1e-3)


@torch.inference_mode()
def test_ncnet_equals_its_definition():
    torch.manual_seed(0)
    network = random_weights(NeighbourhoodConsensus((3, 5), (3, 1)))
    correlation = cosine_correlation(features(4, 5, 1).tensor, features(5, 4, 2).tensor)
    first, second = network.layers[0], network.layers[2]

    def stack(maps):
        return F.relu(conv4d(F.relu(conv4d(maps, first.weight, first.bias)), second.weight, second.bias))

    filtered = soft_mutual_filter(correlation)[:, None]
    expected = stack(filtered) + exchange(stack(exchange(filtered)))
    torch.testing.assert_close(filtered_consensus(network, correlation), soft_mutual_filter(expected[:, 0]))


@torch.inference_mode()
def test_ancnet_is_symmetric_stage_by_stage_and_not_only_as_a_whole():
    torch.manual_seed(0)
    network = random_weights(AdaptiveConsensus(channels=4))
    maps = torch.rand(1, 1, 5, 5, 5, 5)
    first = torch.cat([s(maps) + exchange(s(exchange(maps))) for s in (network.unequal, network.equal)], dim=1)
    torch.testing.assert_close(network(maps), network.rest(first) + exchange(network.rest(exchange(first))))
    assert network.unequal[0].weight.shape == (2, 1, 3, 3, 5, 5)
    assert network.equal[0].weight.shape == (2, 1, 5, 5, 5, 5)


def test_self_similarity_against_a_loop():
    tensor = features(4, 6, 1).tensor
    window = self_similarity(tensor, 2)
    for y, x, dy, dx in ((0, 0, 0, 0), (1, 2, -1, 1), (3, 5, -2, -2), (0, 5, 1, 1), (2, 0, 2, 2)):
        inside = 0 <= y + dy < 4 and 0 <= x + dx < 6
        expected = (tensor[0, :, y, x] @ tensor[0, :, y + dy, x + dx]).item() if inside else 0.0
        assert window[0, (dx + 2) * 5 + dy + 2, y, x].item() == pytest.approx(expected, abs=1e-6)
    assert SelfSimilarity()(tensor).shape == (1, 25 + 64 + 32, 4, 6)


def test_descriptors_do_not_depend_on_the_features_themselves():
    """Self-similarity depends only on how features resemble their neighbours, not on the features themselves."""
    tensor = features(5, 5, 1).tensor
    rotation = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(0)))[0]
    turned = torch.einsum("dc,bchw->bdhw", rotation, tensor)
    torch.testing.assert_close(self_similarity(tensor), self_similarity(turned), atol=1e-5, rtol=1e-5)


def test_untrained_networks_give_values_and_gradients():
    for seed in range(5):
        torch.manual_seed(seed)
        for build in MATCHERS.values():
            values = build().consensus_map(features(5, 5, 1).tensor, features(5, 5, 2).tensor)
            assert (values > 0).float().mean() > 0.05
            values.sum().backward()


@pytest.mark.parametrize("channels", [(4, 4), (4, 2), ()])
def test_wrong_channels(channels):
    with pytest.raises(ValueError, match="channel"):
        NeighbourhoodConsensus((3, 3), channels)


def test_odd_channels():
    with pytest.raises(ValueError, match="even"):
        AdaptiveConsensus(channels=5)


def test_plain_interpolation_blends_the_four_matches_around_a_point():
    picture = np.zeros((40, 40, 3), np.uint8)
    points = np.random.default_rng(0).random((4, 4, 2)).astype(np.float32) * 40
    confidence = np.full((4, 4), 0.5, np.float32)
    match = Match(picture, picture, Field(points, confidence), Field(points, confidence), "", plain_interpolation=True)
    moved, sure = match.transfer([(12, 20), (15, 15), (0, 0), (40, 40)])
    # centres at 5, 15, 25, 35: (12, 20) is 0.7 of the way from x = 5 to 15, and half way from y = 15 to 25
    expected = 0.15 * (points[1, 0] + points[2, 0]) + 0.35 * (points[1, 1] + points[2, 1])
    np.testing.assert_allclose(moved, [expected, points[1, 1], points[0, 0], points[3, 3]], rtol=1e-5)
    np.testing.assert_allclose(sure, 0.5)
    assert match.inverse().plain_interpolation
