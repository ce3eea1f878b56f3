"""It learns: backbones with random weights fit real pairs, jointly with the scoring function."""

import importlib.util
from pathlib import Path

import pytest

from semcorr.data.formats.keypoints import load_pairs
from semcorr.features import FeatureOptions

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fit.py"


@pytest.fixture(scope="module")
def fit():
    if not SCRIPT.is_file():
        pytest.skip("no checkout with benchmarks/fit.py")
    spec = importlib.util.spec_from_file_location("fit", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.fit


@pytest.fixture(scope="module")
def pairs(built):
    """Eight pairs of four animals: tabby, cheetah, lion and cub, each with both eyes and the nose."""
    listed = load_pairs(built["keypoints"], "test").pairs
    both = [*listed, *(pair.swapped() for pair in listed)]
    return (both * 2)[:8]


@pytest.mark.slow
def test_resnet18_fits_eight_pairs(fit, pairs):
    """conv4_x; benchmarks/fit.py measures ResNet-101 and conv3_x."""
    result = fit(pairs, FeatureOptions("resnet18", (3,), 96, 6, weights="random"), 20)
    assert result["pck_0.1"] > 90
    assert result["last_loss"] < 0.5 * result["first_loss"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "stage"), [("vgg16", 4), ("convnext_nano", 2), ("vit_tiny_patch16_224", 5)])
def test_three_steps_lower_the_loss(fit, pairs, name, stage):
    result = fit(pairs[:2], FeatureOptions(name, (stage,), 64, 4, weights="random"), 3, first_stage=1)
    assert result["last_loss"] < result["first_loss"]
