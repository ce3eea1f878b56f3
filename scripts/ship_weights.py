"""Put trained weights into the package and print the line that names their checksum.

python scripts/ship_weights.py runs/pmnc/pmnc.safetensors pmnc
python scripts/ship_weights.py runs/ancnet/ancnet.safetensors ancnet --grid 25
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

import semcorr
from semcorr.matchers.pmnc.search import SearchOptions
from semcorr.models.building import build
from semcorr.weights import FOLDER, SCALE, Weights, read_weights, reduced, write_weights

HALVED = (
    "adapter.",
    "backbone.",
    "fine.",
    "untouched.",
    "gate.",
    "judge.kind",
    "judge.enter_cell",
    "judge.enter_match",
    "scoring.window",
)
EIGHT_BITS = ("untouched.", "judge.kind", "fine.from_deep.")  # whose large tensors need to be less exact still
LARGE = 4096


def main() -> None:
    """Check, copy, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("name")
    parser.add_argument("--grid", type=int, help="the grid that is used, where it is not the one of the training")
    arguments = parser.parse_args()
    stored = read_weights(arguments.file)
    semcorr.load(build(stored).config.kind, weights=arguments.file)
    path = FOLDER / f"{arguments.name}.safetensors"
    small = smaller(stored.tensors)
    model = dict(stored.metadata["model"])
    if "search" in model:  # training does not depend on it: the package's own way
        model["search"] = asdict(SearchOptions())
    training = dict(stored.metadata["training"])
    if arguments.grid is not None:
        if model["kind"] == "pmnc":
            parser.error("--grid: the window of pmnc is dilated by the grid of its training")
        training["grid"] = model["features"]["grid"]
        model["features"] = model["features"] | {"grid": arguments.grid}
    write_weights(path, Weights(small, {"model": model, "training": training}))
    path.chmod(0o644)
    print(training)
    print(f'Embedded("{path.name}", "{hashlib.sha256(path.read_bytes()).hexdigest()}")')


def smaller(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Keep what is large in half precision, or in eight bits."""
    small = {key: value.half() if key.startswith(HALVED) else value for key, value in tensors.items()}
    for key, value in tensors.items():
        if key.startswith(EIGHT_BITS) and value.ndim > 1 and value.numel() >= LARGE:
            small[key], small[key + SCALE] = reduced(value)
    return small


if __name__ == "__main__":
    main()
