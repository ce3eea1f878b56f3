"""Checkpoints of a training run as one safetensors file, written in one step: never a pickle, never half a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from semcorr.weights import Weights, read_weights, write_weights


def save_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: dict[str, Any]) -> None:
    """Write the model, the optimiser's state, and plain JSON values about the progress."""
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": torch.as_tensor(value) for key, value in state.items()}
    write_weights(path, Weights(tensors, progress))


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Put back what `save_checkpoint` wrote, and return the progress.

    Raises:
        ModelError: If the file is broken.
        RuntimeError: If it is the checkpoint of another model.
    """
    tensors, progress = read_weights(path)
    model.load_state_dict({key[6:]: value for key, value in tensors.items() if key.startswith("model.")})
    states: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            states.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    return progress
