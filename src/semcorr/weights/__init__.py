"""Weights that are part of the package, and the safe reading of any weights file: safetensors, never pickle."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from semcorr.errors import ModelError

FOLDER = Path(__file__).parent


class Weights(NamedTuple):
    """Named tensors and what is known about them: plain JSON values."""

    tensors: dict[str, Tensor]
    recipe: dict[str, Any]

    def trained(self) -> str:
        """Say in one line how they were trained, and their PCK per image on the validation pairs of that training.

        >>> Weights({}, {"training": {"seed": 0, "step": 10, "loss": "weak", "validation PCK@0.1": 51.2}}).trained()
        'trained: seed 0, step 10, loss weak; validation PCK@0.1 51.2'
        """
        known = {key: value for key, value in self.recipe.get("training", {}).items() if key != "fingerprint"}
        figures = {key: value for key, value in known.items() if key.startswith("validation")}
        said = ", ".join(f"{key} {value}" for key, value in known.items() if key not in figures)
        first = max(figures, default=None)
        return f"trained: {said}" + (f"; {first} {figures[first]:.1f}" if first else "")


def read_weights(path: Path, sha256: str | None = None) -> Weights:
    """Read a safetensors file; nothing in it is ever executed.

    Args:
        path: The file.
        sha256: The checksum that it must have, as hexadecimal digits; None takes any.

    Returns:
        Its tensors on the CPU, and the JSON object of its metadata entry ``recipe``.

    Raises:
        ModelError: If the file is missing, broken, or not the one that it should be.
    """
    from safetensors import SafetensorError, safe_open

    try:
        if sha256 is not None and (found := hashlib.sha256(path.read_bytes()).hexdigest()) != sha256:
            raise ModelError(
                f"{path} is damaged: its sha256 is {found[:12]}…, not {sha256[:12]}…; install semcorr again"
            )
        with safe_open(path, framework="pt") as file:
            recipe = json.loads((file.metadata() or {}).get("recipe", "{}"))
            return Weights({key: file.get_tensor(key) for key in file.keys()}, recipe)  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path} is not a readable safetensors file: {str(error).splitlines()[0][:200]}") from error


SCALE = ".int8_scale"
"""What the scales of a tensor kept as int8 are called, after its name."""


def reduced(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Round a tensor to int8, each first index with a scale of its own: a quarter of the bytes of float32.

    Returns:
        The int8 tensor and its scales, half precision, of the same number of dimensions.
    """
    highest = tensor.float().flatten(1).abs().amax(1).clamp(min=1e-6)
    scale = (highest / 127).half().view(-1, *[1] * (tensor.ndim - 1))
    return (tensor.float() / scale.float()).round().clamp(-127, 127).to(torch.int8), scale


def expanded(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a file in float32, those kept as int8 times their scales."""
    found = {key: value.float() for key, value in tensors.items() if not key.endswith(SCALE)}
    for key in found:
        if key + SCALE in tensors:
            found[key] = found[key] * tensors[key + SCALE].float()
    return found


def write_weights(path: Path, weights: Weights) -> None:
    """Write a safetensors file in one step: it is there whole, or the old one stays."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    tensors = {key: value.detach().cpu().contiguous() for key, value in weights.tensors.items()}
    save_file(tensors, part, metadata={"recipe": json.dumps(weights.recipe, sort_keys=True)})
    part.replace(path)


@dataclass(frozen=True)
class Embedded:
    """A weights file inside the package."""

    file: str
    sha256: str

    def load(self) -> Weights:
        """Read and check it."""
        return read_weights(FOLDER / self.file, self.sha256)


BACKBONES: dict[str, Embedded] = {
    "tf_efficientnet_lite0": Embedded(
        "tf_efficientnet_lite0.safetensors",
        "c3d877f454c952b131b2009222708a1b82b6eb20acc88b7968e705f667cec3b7",
    ),
}

MODELS: dict[str, Embedded] = {
    "pmnc": Embedded("pmnc.safetensors", "a698e6ec3e5fc70a5c4d6da52f86af9e524d0b8d5e4ccf082eb5ca6b521c0a14"),
    "pmnc-universal": Embedded(
        "pmnc-universal.safetensors", "118cb8edd4a3e120ad32be40675dd9f1d3a2522c4f5aaa60d0d56bf67227339e"
    ),
    "ancnet": Embedded("ancnet.safetensors", "125ef746659e9ca8e87c7097c314606a334bae97322d92e353d60e27764ba0f8"),
    "ncnet": Embedded("ncnet.safetensors", "27dbf9ace02466c321ef1e73126222804c05eb44fb016f7811527837aaccd536"),
}
