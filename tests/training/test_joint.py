from itertools import permutations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from semcorr.features import FeatureExtractor, FeatureOptions
from semcorr.features.adapter import Adapter
from semcorr.geometry import cells_to_sampling
from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction
from semcorr.training.backbone import train_from
from semcorr.training.objectives.joint import JointModel, Picture, Scored, Share, cells_of
from semcorr.training.objectives.losses import cross_entropy, target_probability

OPTIONS = FeatureOptions(image_size=160, grid=10)
POINTS = {"nose": (6.4, 7.6), "right_eye": (3.7, 3.3), "left_eye": (7.5, 4.1)}


def joint(frozen, contrast=0.5):
    torch.manual_seed(0)
    extractor = FeatureExtractor(OPTIONS)
    backbone = None if frozen is None else train_from(extractor, frozen)
    scored = Scored(pairs=2, keypoints=3, contrast=contrast)
    model = JointModel(ScoringFunction(1, 4), Adapter(extractor.channels, 8), scored, backbone)
    return model, extractor


def group(cat, extractor, frozen, move=0.0, shift=32):
    """The cat, and the cat two cells further left; its points truly there, or ``move`` cells away."""
    pictures = [np.ascontiguousarray(cat[:, :400]), np.ascontiguousarray(cat[:, shift : shift + 400])]
    cell = shift * extractor.grid((300, 400))[1] / 400
    points = [POINTS, {name: (x - cell + move, y) for name, (x, y) in POINTS.items()}]
    if frozen is None:
        stems = [extractor.encode([p]).tensor[0] for p in pictures]
    else:
        stems = [train_from(extractor, frozen).keep(extractor.pixels(p))[0] for p in pictures]
    return [Picture(one.clone(), extractor.grid((300, 400)), where) for one, where in zip(stems, points, strict=True)]


@pytest.mark.parametrize("frozen", [None, 3])
def test_untrained_it_has_the_features_of_the_extractor(cat, frozen):
    model, extractor = joint(frozen)
    picture = group(cat, extractor, frozen)[0]
    expected = extractor.encode([np.ascontiguousarray(cat[:, :400])]).tensor
    with torch.no_grad():
        torch.testing.assert_close(model.features(picture.stem[None], picture.grid), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("frozen", "contrast"), [(None, 0.0), (3, 0.0), (3, 5.0)])
def test_the_truth_costs_less_than_a_lie(cat, frozen, contrast):
    model, extractor = joint(frozen, contrast)
    right, wrong = (group(cat, extractor, frozen, move) for move in (0.0, -2.0))
    with torch.no_grad():
        losses = [model([one], [Share()], [np.random.default_rng(0)]).item() for one in (right, wrong)]
    assert losses[0] < losses[1]


def test_what_is_frozen_stays_and_the_rest_learns(cat):
    model, extractor = joint(3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-3)
    examples = group(cat, extractor, 3)
    losses = []
    for _ in range(8):
        loss = model([examples], [Share()], [np.random.default_rng(0)])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert not [key for key in changed if key.startswith(("backbone.network.conv_stem", "backbone.network.blocks.2"))]
    assert {"scale", "scoring.window", "adapter.leave.weight", "backbone.network.blocks.3.0.conv_pw.weight"} <= changed


def test_pictures_that_share_nothing_cost_nothing(cat):
    model, extractor = joint(None)
    first, second = group(cat, extractor, None)
    with torch.no_grad():
        assert model([[first, second]], [Share()], [np.random.default_rng(0)]) > 0
        alone = [first, second._replace(points={"tail": (1.0, 1.0)})]
        assert model([alone], [Share()], [np.random.default_rng(0)]) == 0


def test_without_an_adapter_the_features_are_the_backbone_s(cat):
    model, extractor = joint(3)
    picture = group(cat, extractor, 3)[0]
    model.adapter = None
    expected = extractor.encode([np.ascontiguousarray(cat[:, :400])]).tensor
    with torch.no_grad():
        torch.testing.assert_close(model.features(picture.stem[None], picture.grid), expected, atol=1e-4, rtol=0)


def contrast_pair_by_pair(model, group, features):
    """The contrastive loss as it is defined, one pair after the other."""
    losses = []
    for first, second in permutations(range(len(group)), 2):
        names = [name for name in group[first].points if name in group[second].points]
        if not names:
            continue
        known, wanted = (cells_of(group[i], names, features[i]) for i in (first, second))
        positions = cells_to_sampling(known, group[first].grid)[None, None]
        sampled = F.grid_sample(features[first], positions, align_corners=False, padding_mode="border")
        cosines = F.normalize(sampled[0, :, 0].T, dim=1) @ features[second][0].flatten(1)
        truth = target_probability(wanted, group[second].grid)
        losses.append(cross_entropy((model.scale.exp() * cosines).reshape_as(truth), truth))
    return torch.stack(losses).mean()


def test_the_contrastive_loss_of_a_group_is_that_of_its_pairs(cat):
    model, extractor = joint(None)
    first, second = group(cat, extractor, None)
    third = second._replace(points={"left_eye": (5.5, 4.0), "tail": (1.0, 1.0)})
    fourth = first._replace(points={"tail": (2.0, 3.5)})
    pictures = [first, second, third, fourth]
    with torch.no_grad():
        features = [model.features(picture.stem[None], picture.grid) for picture in pictures]
        expected = contrast_pair_by_pair(model, pictures, features)
        torch.testing.assert_close(model._contrast(pictures, features), expected)


@pytest.mark.parametrize("least_share", [None, 0.3])
def test_groups_at_once_cost_what_they_cost_one_by_one(cat, least_share):
    model, extractor = joint(3)
    if least_share is not None:
        model = JointModel(model.scoring, model.adapter, model.scored, model.backbone, least_share=least_share)
    one = group(cat, extractor, 3)
    portrait = extractor.pixels(np.ascontiguousarray(np.rot90(cat[:, :400])))
    other = Picture(model.backbone.keep(portrait)[0], extractor.grid((400, 300)), POINTS)
    groups, shares = [one, [other, one[1], one[0]]], [Share(0.5, 0.3), Share(0.2, 0.7, annotated=False)]

    def costs(indices):
        rngs = [np.random.default_rng(i) for i in indices]
        model.zero_grad()
        loss = model([groups[i] for i in indices], [shares[i] for i in indices], rngs)
        loss.backward()
        return loss.detach(), model.backbone.network.blocks[4][0].conv_pw.weight.grad.clone()

    together, apart = costs([0, 1]), [costs([i]) for i in (0, 1)]
    for at_once, one_by_one in zip(together, zip(*apart, strict=True), strict=True):
        torch.testing.assert_close(at_once, sum(one_by_one), atol=1e-5, rtol=1e-3)
