"""Training of any backbone: what is frozen stays bit-equal, the rest learns, and the cut changes nothing."""

import numpy as np
import pytest
import torch

from semcorr.errors import DataError
from semcorr.features import FeatureExtractor, FeatureOptions
from semcorr.training.backbone import PIXELS, frozen_tensors, train_from

GRID = (6, 9)
# backbone, stages, first stage that learns, modules before the cut
CASES = [
    ("resnet18", (3,), 3, 6),
    ("resnet18", (2, 3), 3, 6),  # the cut may not hide the first stage in use
    ("resnet18", (1, 3), 3, 5),
    ("resnet18", (3,), 0, PIXELS),
    ("convnext_atto", (2,), 1, 3),
    ("vit_tiny_patch16_224", (2,), 2, PIXELS),
    ("mobilenetv3_small_050", (3,), 2, PIXELS),
    ("tf_efficientnet_lite0", None, 3, 3),
    ("tf_efficientnet_lite0", (4,), 0, PIXELS),
]


def taken_over(name, stages, stage, checkpointing=False):
    torch.manual_seed(0)
    extractor = FeatureExtractor(FeatureOptions(name, stages, image_size=96, grid=6, weights="random"))
    return extractor, train_from(extractor, stage, checkpointing)


@pytest.mark.parametrize(("name", "stages", "stage", "modules"), CASES)
def test_frozen_stages_stay_and_the_others_learn(cat, name, stages, stage, modules):
    extractor, backbone = taken_over(name, stages, stage)
    assert backbone.cut.modules == modules
    picture = np.ascontiguousarray(cat[::3, ::3])
    grid = extractor.grid(picture.shape[:2])
    expected = extractor.encode([picture]).tensor
    kept = backbone.keep(extractor.pixels(picture)).clone()
    torch.testing.assert_close(backbone.features(kept, grid).detach(), expected, atol=2e-4, rtol=0)
    frozen = {key: value.clone() for key, value in frozen_tensors(backbone).items()}
    learning = {key: value.clone() for key, value in backbone.network.named_parameters() if value.requires_grad}
    assert bool([key for key in frozen if "num_batches" not in key]) == (stage > 0)
    optimizer = torch.optim.AdamW([p for p in backbone.parameters() if p.requires_grad], 1e-2)
    (backbone.features(kept, grid) * torch.randn(expected.shape)).sum().backward()
    optimizer.step()
    after = backbone.network.state_dict()
    assert all(torch.equal(after[key], value) for key, value in frozen.items())
    used = [key for key, value in backbone.network.named_parameters() if value.grad is not None]
    assert used
    assert any(not torch.equal(after[key], learning[key]) for key in used)


@pytest.mark.parametrize("case", [("resnet18", (3,), 2), ("resnet18", (3,), 0), ("vit_tiny_patch16_224", (3,), 0)])
def test_checkpointing_gives_the_same_gradients_and_stores_less(cat, case):
    stored, gradients = [], []
    for checkpointing in (False, True):
        extractor, backbone = taken_over(*case, checkpointing)
        kept = backbone.keep(extractor.pixels(cat)).clone()
        sizes: dict[int, int] = {}
        weights = {parameter.data_ptr() for parameter in backbone.parameters()}

        def pack(value, sizes=sizes, weights=weights):
            if value.data_ptr() not in weights:
                sizes[value.data_ptr()] = value.nbytes
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            features = backbone.features(kept, GRID)
        features.square().mul(torch.arange(features.shape[1]).view(1, -1, 1, 1)).sum().backward()
        stored.append(sum(sizes.values()))
        gradients.append({key: p.grad.clone() for key, p in backbone.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert len(gradients[0]) > 4
    for key, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], value, msg=key)
    assert stored[1] < 0.8 * stored[0]


def test_batch_norms_that_cannot_be_folded_stay_as_they_are():
    _, backbone = taken_over("densenet121", (2,), 0)
    norms = {name: m for name, m in backbone.network.named_modules() if isinstance(m, torch.nn.BatchNorm2d)}
    assert norms
    assert not any(module.training or module.weight.requires_grad for module in norms.values())


def test_a_stage_that_no_feature_uses_is_refused():
    with pytest.raises(DataError, match="must be a stage from 0 to 3"):
        taken_over("resnet18", (3,), 4)
