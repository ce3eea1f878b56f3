"""Weights files: those in the package, and safe reading and writing in general, as safetensors, never pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semcorr.errors import ModelError, SemcorrError
from semcorr.files import one_line, replacing, sha256_of

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = Path(__file__).parent


class Weights(NamedTuple):
    """Named tensors and their metadata.

    Attributes:
        tensors: The tensors by name: torch tensors from `read_weights`, NumPy arrays from `read_arrays`.
        metadata: Plain JSON values: ``model`` is the configuration, ``training`` describes how it was trained.
    """

    tensors: dict[str, Any]
    metadata: dict[str, Any]

    def trained(self) -> str:
        """Summarise in one line how the weights were trained, and their validation PCK per image, in percent.

        >>> Weights({}, {"training": {"seed": 0, "step": 10, "loss": "weak", "validation PCK@0.1": 51.2}}).trained()
        'trained: seed 0, step 10, loss weak; validation PCK@0.1 51.2'
        """
        training = {key: value for key, value in self.metadata.get("training", {}).items() if key != "fingerprint"}
        figures = {key: value for key, value in training.items() if key.startswith("validation")}
        settings = ", ".join(f"{key} {value}" for key, value in training.items() if key not in figures)
        coarsest = max(figures, default=None)
        return f"trained: {settings}" + (f"; {coarsest} {figures[coarsest]:.1f}" if coarsest else "")


def read_weights(path: Path, sha256: str | None = None) -> Weights:
    """Read a safetensors file as torch tensors; nothing in it is ever executed.

    Args:
        path: The file.
        sha256: Expected checksum, as hexadecimal digits; None skips the check.

    Returns:
        Its tensors on the CPU, and the JSON object in its metadata entry ``recipe``.

    Raises:
        ModelError: If the file is missing or broken, or has another checksum.
    """
    return Weights(*_read(path, sha256, "pt"))


def read_arrays(path: Path, sha256: str | None = None) -> Weights:
    """Read a safetensors file as NumPy arrays, without torch; arguments and errors are those of `read_weights`."""
    weights = Weights(*_read(path, sha256, "numpy"))
    short = [name for name, values in weights.tensors.items() if values is None]
    return weights if not short else weights._replace(tensors=weights.tensors | _bfloat16(path, short))


def _bfloat16(path: Path, names: list[str]) -> dict[str, NDArray[np.float32]]:
    """Read tensors in bfloat16, which NumPy lacks: the upper halves of float32 numbers."""
    from safetensors import deserialize

    stored = dict(deserialize(path.read_bytes()))  # type: ignore[no-untyped-call,unused-ignore]
    return {
        name: (np.frombuffer(stored[name]["data"], np.uint16).astype(np.uint32) << 16)
        .view(np.float32)
        .reshape(stored[name]["shape"])
        for name in names
    }


def _read(path: Path, sha256: str | None, framework: Literal["pt", "numpy"]) -> tuple[dict[str, Any], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        if sha256 is not None and (actual := sha256_of(path)) != sha256:
            raise ModelError(
                f"{path} is damaged: its sha256 is {actual[:12]}…, not {sha256[:12]}…; install semcorr again"
            )
        with safe_open(path, framework=framework) as file:
            metadata = json.loads((file.metadata() or {}).get("recipe", "{}"))
            if not isinstance(metadata, dict):
                raise ValueError("its metadata are not a JSON object")
            kinds = {key: file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118 - no mapping
            later = {key for key, kind in kinds.items() if kind == "BF16" and framework == "numpy"}
            return {key: None if key in later else file.get_tensor(key) for key in kinds}, metadata
    except AttributeError as error:  # safetensors asks NumPy for a type that it lacks, such as float8_e5m2
        raise ModelError(f"{path} holds numbers of a type that cannot be read: {one_line(error)}") from error
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path} is not a readable safetensors file: {one_line(error)}") from error


SCALE = ".int8_scale"
"""What the scales of a tensor kept as int8 are called, after its name."""


def reduced(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Round a tensor to int8, each first index with a scale of its own: a quarter of the bytes of float32.

    Returns:
        The int8 tensor and its scales, half precision, of the same number of dimensions.
    """
    import torch

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


def expanded_arrays(tensors: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    """NumPy version of `expanded`."""
    found = {key: np.asarray(value, np.float32) for key, value in tensors.items() if not key.endswith(SCALE)}
    for key in found:
        if key + SCALE in tensors:
            found[key] = found[key] * np.asarray(tensors[key + SCALE], np.float32)
    return found


def write_weights(path: Path, weights: Weights) -> None:
    """Write a safetensors file atomically: if writing fails, the old file is kept.

    Raises:
        SemcorrError: If it cannot be written, for example because the disk is full.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {key: value.detach().cpu().contiguous() for key, value in weights.tensors.items()}
    with replacing(path) as part:
        try:
            save_file(tensors, part, metadata={"recipe": json.dumps(weights.metadata, sort_keys=True)})
        except SafetensorError as error:
            raise SemcorrError(f"{path} cannot be written: {one_line(error)}") from error


@dataclass(frozen=True)
class Embedded:
    """A weights file in the package.

    Attributes:
        file: Its name in the folder `FOLDER`.
        sha256: Its checksum.
    """

    file: str
    sha256: str

    def load(self) -> Weights:
        """Read the file and check its checksum.

        Raises:
            ModelError: If it is missing or damaged.
        """
        return read_weights(FOLDER / self.file, self.sha256)

    def arrays(self) -> Weights:
        """Read the file as NumPy arrays, without torch; see `load`."""
        return read_arrays(FOLDER / self.file, self.sha256)


BACKBONES: dict[str, Embedded] = {
    "tf_efficientnet_lite0": Embedded(
        "tf_efficientnet_lite0.safetensors",
        "c3d877f454c952b131b2009222708a1b82b6eb20acc88b7968e705f667cec3b7",
    ),
}

MODELS: dict[str, Embedded] = {
    "pmnc": Embedded("pmnc.safetensors", "420f58f77d7497f562ef7bf877f34fc6fbd328bf60ff5bcc59262d05d5b96e3b"),
    "pmnc-universal": Embedded(
        "pmnc-universal.safetensors", "118cb8edd4a3e120ad32be40675dd9f1d3a2522c4f5aaa60d0d56bf67227339e"
    ),
    "ancnet": Embedded("ancnet.safetensors", "125ef746659e9ca8e87c7097c314606a334bae97322d92e353d60e27764ba0f8"),
    "ncnet": Embedded("ncnet.safetensors", "27dbf9ace02466c321ef1e73126222804c05eb44fb016f7811527837aaccd536"),
}
