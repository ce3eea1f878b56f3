"""Check up front that a match fits in memory; the system kills a process that runs out of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from semcorr.errors import SemcorrError
from semcorr.geometry import Size

DENSE = 16.0
"""Default peak memory in bytes per pair of a source cell and a target cell: one table of scores, and its decoding.
Nearest neighbours on a 50×50 grid were measured at 12.6."""

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def bytes_per_pair(score: object, source: Size, target: Size, device: str) -> float:
    """Return the peak memory in bytes per pair of cells when a matcher matches grids of these sizes on a device.

    A matcher that needs more or less than one table of scores has a method of this name that takes the last three
    arguments.
    """
    estimate: Callable[[Size, Size, str], float] | None = getattr(score, "bytes_per_pair", None)
    return DENSE if estimate is None else estimate(source, target, device)


def check_memory(pairs_of_cells: int, device: str, per_pair: float = DENSE) -> None:
    """Check that the device has enough memory in total to match that many cells.

    Args:
        pairs_of_cells: Source cells times target cells, summed over the image pairs of a batch.
        device: Device that the batch is matched on.
        per_pair: Bytes per pair of cells, from `bytes_per_pair`.

    Raises:
        SemcorrError: If the estimate exceeds the total memory of the device.
    """
    needed, total = pairs_of_cells * per_pair, memory_of(device)
    if total is not None and needed > total:
        largest_grid = int((total / per_pair) ** 0.25)
        raise SemcorrError(
            f"matching {pairs_of_cells:.1e} pairs of cells needs about {needed / 1e9:.0f} GB, and {device} has "
            f"{total / 1e9:.0f} GB: choose a smaller grid (a single image pair fits up to {largest_grid}), or match "
            "fewer pairs at once"
        )


@contextmanager
def within_memory(pairs_of_cells: int, device: str, per_pair: float = DENSE) -> Iterator[None]:
    """Run `check_memory`, then report failed allocations within the block as the same kind of error.

    The check knows only the total memory; other programs may have taken part of it.

    Args:
        pairs_of_cells: As for `check_memory`.
        device: As for `check_memory`.
        per_pair: As for `check_memory`.

    Raises:
        SemcorrError: If the estimate exceeds the total memory, or memory cannot be allocated.
    """
    check_memory(pairs_of_cells, device, per_pair)
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if "allocate" not in str(error).lower():  # PyTorch has no out-of-memory exception for the CPU
            raise
        needed = pairs_of_cells * per_pair / 1e9
        raise SemcorrError(
            f"out of memory on {device}: matching {pairs_of_cells:.1e} pairs of cells needs about {needed:.1f} GB; "
            "choose a smaller grid, or match fewer pairs at once"
        ) from error


def memory_of(device: str) -> int | None:
    """Return the total memory of a device in bytes, within the limits of this process; None if unknown."""
    if device.startswith("cuda"):
        import torch

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
