"""Reading ahead: other processes read, warp and resize the pictures of the next steps while a step is computed."""

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
    """A view that was read: what it shows, and its picture as the network takes it, ``(3, h, w)`` float16 in 0…1."""

    seen: KeypointView
    image: Tensor


def read_ahead(
    draws: Sequence[DrawGroup], groups: Sequence[int], extractor: FeatureExtractor, steps: range, workers: int
) -> Iterator[dict[int, list[Read]]]:
    """Yield, for each step, groups of pictures by their index.

    Args:
        draws: What draws each group of a step.
        groups: Indices of those that are read.
        extractor: Says how large the network takes a picture.
        steps: The steps.
        workers: Processes that read.
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
