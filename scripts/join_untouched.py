"""Join tuned features with untouched ones: go back some of the way to the backbone's first weights, and fit the gate.

python scripts/join_untouched.py runs/pmnc-fine-2/pmnc.safetensors runs/joined.safetensors FOLDER PHOTOGRAPHS

FOLDER holds photographs with keypoints, in the layout of `semcorr.data.formats.keypoints`; PHOTOGRAPHS those of other
categories, category/*.jpg. The gate tells one from the other by their mean untouched features, a logistic regression;
see `semcorr.features.untouched`. Mammals among the other categories count with those that have keypoints: what is
learned of dogs and horses helps with them. Categories that are kept for validation are left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor

from semcorr.data.formats.keypoints import load_photos
from semcorr.features import FeatureExtractor
from semcorr.features.architecture import EARLY_BLOCKS
from semcorr.features.untouched import Gate
from semcorr.image import load_image
from semcorr.models.building import build
from semcorr.models.configs import BACKBONE, UNTOUCHED
from semcorr.weights import Weights, expanded, read_weights, write_weights

UNSEEN = "airplanes helicopter revolver chair windsor_chair wheelchair faces nautilus butterfly inline_skate"
MAMMALS = (
    "beaver cougar_body cougar_face dalmatian elephant gerenuk hedgehog kangaroo leopards llama okapi panda platypus "
    "rhino wild_cat"
)
DECAY = 1e-4  # of the regression's weights, on features of deviation 1


def main() -> None:
    """Read, interpolate, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("weights", "out", "folder", "photographs"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--way", type=float, default=0.8, help="of the way from the first weights to the tuned ones")
    parser.add_argument("--shares", type=float, nargs=2, default=[0.4, 0.99], help="of the tuned features")
    parser.add_argument("--votes", type=float, default=3.0)
    parser.add_argument("--leave-out", nargs="*", default=UNSEEN.split(), metavar="CATEGORY")
    parser.add_argument("--alike", nargs="*", default=MAMMALS.split(), metavar="CATEGORY")
    arguments = parser.parse_args()
    stored = read_weights(arguments.weights)
    extractor = FeatureExtractor(build(stored).config.features)  # as it was before training
    tensors = interpolated(expanded(stored.tensors), extractor, arguments.way)
    known, other = sample(arguments.folder, arguments.photographs, set(arguments.leave_out), set(arguments.alike))
    gate = fit(*(means(extractor, files) for files in (known, other)), *arguments.shares)
    tensors |= {f"gate.{key}": value for key, value in gate.state_dict().items()}
    model = stored.metadata["model"] | {"shares": arguments.shares, "votes": arguments.votes, "rescaling": None}
    training = stored.metadata["training"] | {"way from the first weights": arguments.way}
    weights = Weights(tensors, {"model": model, "training": training})
    build(weights)
    write_weights(arguments.out, weights)
    print(arguments.out)


def interpolated(tensors: dict[str, Tensor], extractor: FeatureExtractor, way: float) -> dict[str, Tensor]:
    """Move tuned blocks, and what the adapter adds, towards untouched ones, whose later blocks are kept beside them."""
    first = extractor.network.state_dict()
    found = {key: value for key, value in tensors.items() if not key.startswith((UNTOUCHED, "gate."))}
    for key, value in first.items():
        found[BACKBONE + key] = torch.lerp(value, found[BACKBONE + key], way)
        if key.startswith("blocks.") and int(key.split(".")[1]) >= EARLY_BLOCKS:
            found[UNTOUCHED + key] = value
    for key in ("adapter.leave.weight", "adapter.leave.bias"):
        found[key] = way * found[key]
    return found


def sample(folder: Path, photographs: Path, leave_out: set[str], alike: set[str]) -> tuple[list[Path], list[Path]]:
    """Draw at most a hundred training photographs of each category with keypoints, and six of each without."""
    rng = np.random.default_rng(0)
    with_keypoints: dict[str, list[Path]] = {}
    for photo in load_photos(folder, "train"):
        with_keypoints.setdefault(photo.category, []).append(photo.path)

    def draw(files: list[Path], most: int) -> list[Path]:
        return [files[i] for i in rng.permutation(len(files))[:most]]

    known = [file for files in with_keypoints.values() for file in draw(files, 100)]
    other: list[Path] = []
    for category in sorted(photographs.iterdir()):
        if category.is_dir() and category.name not in leave_out:
            (known if category.name in alike else other).extend(draw(sorted(category.glob("*.jpg")), 6))
    return known, other


@torch.inference_mode()
def means(extractor: FeatureExtractor, files: list[Path]) -> Tensor:
    """Return the mean untouched features of photographs, ``(N, C)``."""
    return torch.cat(
        [extractor.encode([load_image(file)]).tensor.mean(dim=(2, 3)) for file in track(files, "encoding")]
    ).clone()


def fit(known: Tensor, other: Tensor, least: float, most: float) -> Gate:
    """Fit the gate by logistic regression, both kinds of photographs counting alike."""
    features = torch.cat([known, other])
    truth = torch.cat([torch.ones(len(known)), torch.zeros(len(other))])
    importance = torch.cat([torch.full((len(part),), 0.5 / len(part)) for part in (known, other)])
    deviation = features.std()
    gate = Gate(features.shape[1], least, most)
    weight, bias = gate.familiar.weight, gate.familiar.bias
    torch.nn.init.zeros_(weight)
    torch.nn.init.zeros_(bias)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=300, line_search_fn="strong_wolfe")
    scaled = (features - features.mean(0)) / deviation

    def closure() -> Tensor:
        optimizer.zero_grad()
        losses = F.binary_cross_entropy_with_logits(gate.familiar(scaled)[:, 0], truth, reduction="none")
        loss = (importance * losses).sum() + DECAY * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        bias -= (weight @ features.mean(0)) / deviation
        weight /= deviation
    return gate.requires_grad_(False)


if __name__ == "__main__":
    main()
