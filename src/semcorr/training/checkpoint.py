"""Checkpoints of a training run: one safetensors file, written atomically; never a pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from semcorr.weights import Weights, read_weights, write_weights


def save_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: dict[str, Any]) -> None:
    """Write the model, the optimiser's state, and the progress.

    Args:
        path: The file.
        model: The model.
        optimizer: Its optimiser.
        progress: JSON values.
    """
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": torch.as_tensor(value) for key, value in state.items()}
    write_weights(path, Weights(tensors, progress))


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Restore what `save_checkpoint` wrote, and return the progress.

    Raises:
        ModelError: If the file is broken.
        RuntimeError: If it belongs to another model.
    """
    tensors, progress = read_weights(path)
    prefix = "model."
    model.load_state_dict({key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)})
    states: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            states.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    return progress
