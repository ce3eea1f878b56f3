"""Prefetching: worker processes read, warp and resize the images of the next steps in the background."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from semcorr.features import FeatureExtractor
from semcorr.features.options import FeatureOptions, network_size
from semcorr.image import to_tensor
from semcorr.training.sampling.draws import DrawGroup
from semcorr.training.sampling.views import KeypointView

_STEPS_AHEAD = 4  # of each process


class Read(NamedTuple):
    """A view and its image at the input size of the network, ``(3, h, w)`` float16 in 0…1."""

    seen: KeypointView
    image: Tensor


def read_ahead(
    draws: Sequence[DrawGroup], groups: Sequence[int], extractor: FeatureExtractor, steps: range, workers: int
) -> Iterator[dict[int, list[Read]]]:
    """Yield the groups of each step by their index.

    Args:
        draws: What draws each group of a step.
        groups: Indices of the groups to read.
        extractor: Determines the input size.
        steps: The steps.
        workers: Number of processes.
    """
    loader: DataLoader[dict[int, list[Read]]] = DataLoader(
        _Steps(draws, groups, extractor.options, extractor.stride),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        prefetch_factor=_STEPS_AHEAD,
        collate_fn=_as_it_is,
    )
    yield from loader


class _Steps(Dataset[dict[int, list[Read]]]):
    def __init__(self, draws: Sequence[DrawGroup], groups: Sequence[int], options: FeatureOptions, stride: int) -> None:
        self.draws, self.groups, self.options, self.stride = draws, groups, options, stride

    def __getitem__(self, step: int) -> dict[int, list[Read]]:
        return {index: [self._read(seen) for seen in self.draws[index](step, index)] for index in self.groups}

    def _read(self, seen: KeypointView) -> Read:
        size = network_size(seen.view.size, self.options.image_size, self.stride)
        return Read(seen, to_tensor(seen.view.picture(), size).to(torch.float16))


def _as_it_is(read: Any) -> Any:
    return read
