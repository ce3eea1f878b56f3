"""Which images can share a batch."""

from __future__ import annotations

from collections.abc import Hashable, Sequence


def batches(keys: Sequence[Hashable]) -> list[list[int]]:
    """Group the indices of equal keys, such as image sizes, in order of first occurrence.

    >>> batches(["a", "b", "a"])
    [[0, 2], [1]]
    """
    groups: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    return list(groups.values())
