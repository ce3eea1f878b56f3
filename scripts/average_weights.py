"""Average the weights of models that were trained on from the same start: better than either, at no cost.

    python scripts/average_weights.py runs/average.safetensors runs/one/pmnc.safetensors runs/other/pmnc.safetensors
    python scripts/average_weights.py runs/average.safetensors A B --fine src/semcorr/weights/pmnc.safetensors

As in Wortsman et al., Model soups, ICML 2022. The recipe is that of the first file. ``--fine`` takes fine descriptors from
a third file, for `semcorr train configs/pmnc-fine.yaml` to go on from.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from semcorr.recipes import build
from semcorr.weights import Weights, read_weights, write_weights

FINE = "fine."


def main() -> None:
    """Read, average, check, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--fine", type=Path)
    arguments = parser.parse_args()
    stored = [read_weights(file) for file in arguments.files]
    shapes = [{key: value.shape for key, value in one.tensors.items() if not key.startswith(FINE)} for one in stored]
    if any(shape != shapes[0] for shape in shapes):
        parser.error("the files are of models of different shapes")
    averaged = {key: torch.stack([one.tensors[key].float() for one in stored]).mean(0) for key in shapes[0]}
    model = dict(stored[0].recipe["model"]) | {"fine": 0, "rescaling": None}
    if arguments.fine is not None:
        other = read_weights(arguments.fine)
        averaged |= {key: value for key, value in other.tensors.items() if key.startswith(FINE)}
        model["fine"] = other.recipe["model"]["fine"]
    training = {"averaged": [one.recipe["training"] for one in stored]}
    weights = Weights(averaged, {"model": model, "training": training})
    build(weights)
    write_weights(arguments.out, weights)
    print(arguments.out)


if __name__ == "__main__":
    main()
