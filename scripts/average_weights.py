"""Average the weights of models that were trained on from the same start: often better than each.

    python scripts/average_weights.py runs/average.safetensors runs/one/pmnc.safetensors runs/other/pmnc.safetensors
    python scripts/average_weights.py runs/average.safetensors A B --fine src/semcorr/weights/pmnc.safetensors

As in Wortsman et al., Model soups, ICML 2022. The files' recipes must be alike. ``--fine`` takes fine descriptors
from another file, for `semcorr train configs/pmnc-fine-2.yaml` to go on from.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from semcorr.models.configs import FINE, build
from semcorr.weights import Weights, read_weights, write_weights


def main() -> None:
    """Read, average, check, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--fine", type=Path)
    arguments = parser.parse_args()
    stored = [read_weights(file) for file in arguments.files]
    for one in stored:
        build(one)
    models = [one.metadata["model"] | {"fine": 0, "rescaling": None} for one in stored]
    if any(model != models[0] for model in models):
        parser.error("the files are of models of different recipes")
    keys = [key for key in stored[0].tensors if not key.startswith(FINE)]
    averaged = {key: torch.stack([one.tensors[key].float() for one in stored]).mean(0) for key in keys}
    model = models[0]
    if arguments.fine is not None:
        other = read_weights(arguments.fine)
        build(other)
        if not other.metadata["model"]["fine"]:
            parser.error(f"--fine: {arguments.fine} has no fine descriptors")
        averaged |= {key: value for key, value in other.tensors.items() if key.startswith(FINE)}
        model["fine"] = other.metadata["model"]["fine"]
    training = {"averaged": [one.metadata["training"] for one in stored]}
    weights = Weights(averaged, {"model": model, "training": training})
    build(weights)
    write_weights(arguments.out, weights)
    print(arguments.out)


if __name__ == "__main__":
    main()
