"""Will a match fit into memory? Asked before, because a process that runs out of it is killed without a word."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from semcorr.errors import SemcorrError

BYTES_PER_PAIR = 45
"""Peak bytes for each pair of a source cell and a target cell: one match by pmnc at a grid of 70 raised the peak of its
process (ru_maxrss) by 43 each."""

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def check_memory(pairs_of_cells: int, device: torch.device) -> None:
    """Refuse to match more cells than the device has memory for.

    Args:
        pairs_of_cells: Source cells times target cells, of all pictures that are matched at once.
        device: Where they are matched.

    Raises:
        SemcorrError: If the estimate is more than all memory there is.
    """
    needed, there = pairs_of_cells * BYTES_PER_PAIR, memory_of(device)
    if there is not None and needed > there:
        fits = int((there / BYTES_PER_PAIR) ** 0.25)
        raise SemcorrError(
            f"matching {pairs_of_cells:.1e} pairs of cells needs about {needed / 1e9:.0f} GB, and {device} has "
            f"{there / 1e9:.0f} GB: choose a smaller grid (one pair of pictures fits up to {fits}), or fewer at once"
        )


@contextmanager
def within_memory(pairs_of_cells: int, device: torch.device) -> Iterator[None]:
    """Do as `check_memory`, and say the same when the memory that other programs leave turns out not to be enough.

    Args:
        pairs_of_cells: As for `check_memory`.
        device: As for `check_memory`.

    Raises:
        SemcorrError: If memory cannot be had.
    """
    check_memory(pairs_of_cells, device)
    try:
        yield
    except RuntimeError as error:
        if "allocate" not in str(error):  # PyTorch has no class of its own for this on a CPU
            raise
        needed = pairs_of_cells * BYTES_PER_PAIR / 1e9
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
