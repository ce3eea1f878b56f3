"""Two pictures in, one `Match` out: the only file that sees every stage."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semcorr.errors import ModelError, SemcorrError
from semcorr.features import FeatureExtractor, FeatureMap
from semcorr.geometry import cells_to_pixels
from semcorr.image import ImageLike, file_of, is_blank, load_image
from semcorr.match.refine import Refinement, refine
from semcorr.match.result import Match
from semcorr.match.types import Field
from semcorr.matchers.confidence import rescale
from semcorr.matchers.decode import decode
from semcorr.matchers.scores import CellMatches, ScoreCells
from semcorr.models.memory import bytes_per_pair, check_memory, within_memory
from semcorr.models.settings import default_settings, use_one_thread
from semcorr.settings import default_errors


@dataclass(frozen=True, eq=False)
class Encoded:
    """A picture with its features: what `Matcher.match` needs of it, to be used as often as wanted.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        features: Its feature map, with ``B = 1``.
        model: What computed them, in words.
        key: `semcorr.features.FeatureExtractor.key` of what computed them.
        file: Where the picture was read from, if it was a file.
    """

    image: NDArray[np.uint8]
    features: FeatureMap
    model: str = "an unknown model"
    key: Hashable = None
    file: Path | None = None


class Matcher:
    """A model: features, a matcher, and the decoding of its scores.

    Args:
        name: The model's name.
        features: Turns pictures into feature maps.
        score: Turns two feature maps into a table of scores.
        decode_radius: Radius in cells of the scores that a match is decoded from; 0 gives whole cells.
        device: Where it computes.
        plain_interpolation: Points go through plain bilinear interpolation of the matches; see `Match`.
        rescaling: Coefficients that make the confidence honest; see `semcorr.matchers.confidence.rescale`.
    """

    def __init__(
        self,
        name: str,
        features: FeatureExtractor,
        score: ScoreCells,
        decode_radius: int = 2,
        device: torch.device | str = "cpu",
        plain_interpolation: bool = False,
        rescaling: tuple[float, ...] | None = None,
    ) -> None:
        self.name, self.decode_radius, self.device = name, decode_radius, torch.device(device)
        self.plain_interpolation, self.rescaling = plain_interpolation, rescaling
        self.features = features.to(self.device)
        self.score = score.to(self.device) if isinstance(score, torch.nn.Module) else score

    def __repr__(self) -> str:
        return f"Matcher({self.name!r}, {self.features.options}, device={str(self.device)!r})"

    def encode(self, image: ImageLike) -> Encoded:
        """Read a picture and compute its features once, for matching it with many others.

        Args:
            image: A path (``~`` is the home folder) or the bytes of a file, turned upright by its EXIF orientation; a
                PIL picture, its pixels as they are; an ``(H, W, 3)`` uint8 array or ``(3, H, W)`` tensor, RGB. See
                `semcorr.image.load_image`.

        Raises:
            ImageError: If it cannot be used; the message says why.
            FileNotFoundError: If there is no such file.
            SemcorrError: If the grid is too large to match it in the memory of the device.
        """
        return self.encode_many([image])[0]

    @default_errors
    def encode_many(self, images: Sequence[ImageLike]) -> list[Encoded]:
        """Do as `encode`, with pictures of the same network size and grid together in one batch."""
        arrays = [load_image(image) for image in images]
        encoded: dict[int, Encoded] = {}
        sizes = [array.shape[:2] for array in arrays]
        for size in sizes:  # not even its features fit, if a match with a picture like it does not
            grid = self.features.grid(size)
            check_memory(math.prod(grid) ** 2, self.device, bytes_per_pair(self.score, grid, grid, self.device))
        for indices in _groups([(self.features.input_size(size), self.features.grid(size)) for size in sizes]):
            with default_settings(self.device):
                batch = self.features.encode([arrays[index] for index in indices])
            for row, index in enumerate(indices):
                features, file = batch.row(row), file_of(images[index])
                encoded[index] = Encoded(arrays[index], features, repr(self), self.features.key, file)
        return [encoded[index] for index in range(len(arrays))]

    def match(self, source: ImageLike | Encoded, target: ImageLike | Encoded) -> Match:
        """Find for every point of the source the point of the target that means the same, and the reverse.

        Args:
            source: A picture as for `encode`, or what `encode` returned.
            target: Likewise.

        Returns:
            The match; its arrays are on the CPU. With a picture of a single colour, every confidence is zero.

        Raises:
            ImageError: If a picture cannot be used; the message says why.
            FileNotFoundError: If there is no such file.
            ModelError: If features were computed by another model.
        """
        return self.match_many([(source, target)])[0]

    @overload
    def match_each(
        self, source: ImageLike | Encoded, targets: Iterable[ImageLike | Encoded], *, errors: Literal["raise"] = "raise"
    ) -> Iterator[Match]: ...

    @overload
    def match_each(
        self, source: ImageLike | Encoded, targets: Iterable[ImageLike | Encoded], *, errors: Literal["return"]
    ) -> Iterator[Match | SemcorrError | OSError]: ...

    def match_each(
        self,
        source: ImageLike | Encoded,
        targets: Iterable[ImageLike | Encoded],
        *,
        errors: Literal["raise", "return"] = "raise",
    ) -> Iterator[Match] | Iterator[Match | SemcorrError | OSError]:
        """Match one picture with each of many; few of them are in memory at a time.

        On a CPU as many targets are read and matched at once as torch has threads, each by one thread: more of them in
        a second than with all threads on one target after the other.

        Args:
            source: A picture as for `encode`, or what `encode` returned; its features are computed once.
            targets: Likewise, as many as wanted; taken as they are needed.
            errors: What happens to a target that cannot be matched, such as a broken photograph. ``"raise"`` ends with
                its error; ``"return"`` yields the error in its place and goes on.

        Yields:
            The matches, in the order of the targets.

        Raises:
            ImageError: If a picture cannot be used; the message says why. The targets behind it are not matched.
            FileNotFoundError: If there is no such file.
            ValueError: If ``errors`` is no such word.
        """
        if errors not in ("raise", "return"):
            raise ValueError(f"errors must be 'raise' or 'return'; got {errors!r}")
        run: Callable[..., Match | SemcorrError | OSError] = self.match if errors == "raise" else self._try_to_match
        return self._run_each(run, source, targets)

    def _run_each(
        self,
        run: Callable[..., Match | SemcorrError | OSError],
        source: ImageLike | Encoded,
        targets: Iterable[ImageLike | Encoded],
    ) -> Iterator[Any]:
        encoded = source if isinstance(source, Encoded) else self.encode(source)
        workers = torch.get_num_threads() if self.device.type == "cpu" else 1
        waiting: deque[Future[Match | SemcorrError | OSError]] = deque()
        with ThreadPoolExecutor(workers, initializer=use_one_thread) as pool:
            try:
                for target in targets:
                    waiting.append(pool.submit(run, encoded, target))
                    if len(waiting) > 2 * workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:  # nobody wants the rest
                for future in waiting:
                    future.cancel()

    def _try_to_match(self, source: Encoded, target: ImageLike | Encoded) -> Match | SemcorrError | OSError:
        try:
            return self.match(source, target)
        except (SemcorrError, OSError) as error:
            return error.with_traceback(None)  # which holds the picture

    @default_errors
    @torch.inference_mode()
    def match_many(self, pairs: Sequence[tuple[ImageLike | Encoded, ImageLike | Encoded]]) -> list[Match]:
        """Match several pairs; those whose grids are alike are computed together in one batch.

        Args:
            pairs: Sources and targets as for `match`. All of them are in memory at once.

        Returns:
            One match for each pair, in their order.

        Raises:
            ModelError: If features were computed by another model.
            SemcorrError: If they need more memory than the device has.
        """
        images = [image for pair in pairs for image in pair]
        for image in images:
            self._check_own(image)
        new = iter(self.encode_many([image for image in images if not isinstance(image, Encoded)]))
        encoded = [image if isinstance(image, Encoded) else next(new) for image in images]
        sources, targets = encoded[::2], encoded[1::2]
        matches: dict[int, Match] = {}
        grids = [(a.features.grid, b.features.grid) for a, b in zip(sources, targets, strict=True)]
        for indices in _groups(grids):
            source, target = grids[indices[0]]
            per_pair = bytes_per_pair(self.score, source, target, self.device)
            cells = math.prod(source) * math.prod(target)
            with default_settings(self.device), within_memory(len(indices) * cells, self.device, per_pair):
                batch = self._match_batch([sources[index] for index in indices], [targets[index] for index in indices])
            matches |= zip(indices, batch, strict=True)
        files = [tuple(one.file for one in both if one.file is not None) for both in zip(sources, targets, strict=True)]
        return [replace(matches[index], files=files[index]) for index in range(len(pairs))]

    def _check_own(self, image: ImageLike | Encoded) -> None:
        """Refuse features that another model computed: they would be matched without a word, and wrongly."""
        if isinstance(image, Encoded) and image.key != self.features.key:
            other = "" if image.model != repr(self) else ", with other weights or another precision"
            raise ModelError(
                f"these features were computed by {image.model}{other}, and are given to {self!r}: encode the picture "
                "with the model that matches it"
            )

    def _match_batch(self, sources: list[Encoded], targets: list[Encoded]) -> list[Match]:
        scores = self.score(_stack(sources), _stack(targets))
        forward, backward = (self._finish(matches) for matches in decode(scores, self.decode_radius))
        return [
            self._refined(
                Match(
                    source.image,
                    target.image,
                    _field(forward, row, target.features, blank),
                    _field(backward, row, source.features, blank),
                    self.name,
                    self.plain_interpolation,
                ),
                source.features.fine,
                target.features.fine,
            )
            for row, (source, target) in enumerate(zip(sources, targets, strict=True))
            for blank in (is_blank(source.image) or is_blank(target.image),)
        ]

    def _refined(self, match: Match, source: Tensor | None, target: Tensor | None) -> Match:
        if self.features.fine is None or source is None or target is None:
            return match
        return refine(
            match, source[0].cpu().numpy(), target[0].cpu().numpy(), Refinement(*self.features.fine.comparison())
        )

    def _finish(self, matches: CellMatches) -> CellMatches:
        confidence = matches.confidence.cpu()
        if self.rescaling is not None:
            confidence = rescale(confidence, self.rescaling)
        return CellMatches(matches.cells.cpu(), confidence)


def _groups(keys: Sequence[Hashable]) -> list[list[int]]:
    """List the indices of equal keys together, in the order of their first."""
    groups: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def _stack(encoded: list[Encoded]) -> FeatureMap:
    tensor = torch.cat([one.features.tensor for one in encoded])
    return FeatureMap(tensor, tuple(one.features.image_sizes[0] for one in encoded))


def _field(matches: CellMatches, row: int, other: FeatureMap, blank: bool) -> Field:
    """Convert one pair's matches from cells to pixels of the other picture, inside it; none is sure if one is blank."""
    height, width = other.image_sizes[0]
    points = cells_to_pixels(matches.cells[row], (height, width), other.grid)
    inside = points.clamp(points.new_zeros(2), torch.tensor([width, height], dtype=points.dtype))
    confidence = matches.confidence[row]
    return Field(inside.numpy(), (torch.zeros_like(confidence) if blank else confidence).numpy())
