"""Will a match fit into memory? Asked before, because a process that runs out of it is killed without a word."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from semcorr.errors import SemcorrError
from semcorr.geometry import Size

DENSE = 16.0
"""Peak bytes for each pair of a source cell and a target cell where a matcher says nothing of its own: one table of
scores, decoded. Nearest neighbours at a grid of 50 took 12.6."""

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def bytes_per_pair(score: object, source: Size, target: Size, device: torch.device) -> float:
    """Return the peak bytes for each pair of cells when a matcher matches grids of these sizes on a device.

    A matcher that needs other than one table of scores has a method of this name, with the last three arguments.
    """
    own: Callable[[Size, Size, torch.device], float] | None = getattr(score, "bytes_per_pair", None)
    return DENSE if own is None else own(source, target, device)


def check_memory(pairs_of_cells: int, device: torch.device, per_pair: float = DENSE) -> None:
    """Refuse to match more cells than the device has memory for.

    Args:
        pairs_of_cells: Source cells times target cells, of all pictures that are matched at once.
        device: Where they are matched.
        per_pair: From `bytes_per_pair`.

    Raises:
        SemcorrError: If the estimate is more than all memory there is.
    """
    needed, there = pairs_of_cells * per_pair, memory_of(device)
    if there is not None and needed > there:
        fits = int((there / per_pair) ** 0.25)
        raise SemcorrError(
            f"matching {pairs_of_cells:.1e} pairs of cells needs about {needed / 1e9:.0f} GB, and {device} has "
            f"{there / 1e9:.0f} GB: choose a smaller grid (one pair of pictures fits up to {fits}), or fewer at once"
        )


@contextmanager
def within_memory(pairs_of_cells: int, device: torch.device, per_pair: float = DENSE) -> Iterator[None]:
    """Do as `check_memory`, and say the same when the memory that other programs leave turns out not to be enough.

    Args:
        pairs_of_cells: As for `check_memory`.
        device: As for `check_memory`.
        per_pair: As for `check_memory`.

    Raises:
        SemcorrError: If memory cannot be had.
    """
    check_memory(pairs_of_cells, device, per_pair)
    try:
        yield
    except RuntimeError as error:
        if "allocate" not in str(error):  # PyTorch has no class of its own for this on a CPU
            raise
        needed = pairs_of_cells * per_pair / 1e9
        raise SemcorrError(
            f"out of memory on {device}: matching {pairs_of_cells:.1e} pairs of cells needs about {needed:.1f} GB; "
            "choose a smaller grid, or fewer at once"
        ) from error


def memory_of(device: torch.device) -> int | None:
    """Return all memory of a device in bytes, as far as this process may have it; None where that is not known."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    limits = [int(text) for path in map(Path, _CGROUP_LIMITS) if path.is_file() and (text := _read(path)).isdigit()]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(limits, default=None)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
