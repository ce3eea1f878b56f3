"""Two images in, one `Match` out: the only file that calls every stage."""

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
from semcorr.match.correct import Correction, correct_match
from semcorr.match.result import Match
from semcorr.match.types import Field
from semcorr.matchers.dense.confidence import rescale
from semcorr.matchers.dense.decode import decode
from semcorr.matchers.dense.scores import CellMatches, ScoreCells
from semcorr.models.memory import bytes_per_pair, check_memory, within_memory
from semcorr.models.settings import default_settings, use_one_thread
from semcorr.settings import default_errors


@dataclass(frozen=True, eq=False)
class Encoded:
    """An image and its features, computed once to be matched many times.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        features: Its feature map, with a batch size of one.
        model: Description of the model that computed them.
        key: The `semcorr.features.FeatureExtractor.key` of that model.
        file: The file that the image was read from, if any.
    """

    image: NDArray[np.uint8]
    features: FeatureMap
    model: str = "an unknown model"
    key: Hashable = None
    file: Path | None = None


class Matcher:
    """A model: a feature extractor, a matcher, and the decoding of its scores.

    Args:
        name: The model's name.
        features: Computes feature maps from images.
        score: Scores the pairs of cells of two feature maps.
        decode_radius: Radius, in cells, of the window of scores that a match is decoded from; 0 gives cell centres.
        device: Device to compute on.
        plain_interpolation: Whether points are transferred by plain bilinear interpolation of the matches; see `Match`.
        rescaling: Coefficients that calibrate the confidence; see `semcorr.matchers.dense.confidence.rescale`.
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
        """Load an image and compute its features once, to match it with many others.

        Args:
            image: A path or the bytes of a file, rotated according to its EXIF orientation; a PIL image, whose pixels
                are used as they are; an ``(H, W, 3)`` uint8 array or ``(3, H, W)`` tensor, RGB. See
                `semcorr.image.load_image`.

        Raises:
            ImageError: If the image cannot be used; the message says why.
            FileNotFoundError: If the file does not exist.
            SemcorrError: If the grid is too large to be matched in the memory of the device.
        """
        return self.encode_many([image])[0]

    @default_errors
    def encode_many(self, images: Sequence[ImageLike]) -> list[Encoded]:
        """Encode several images; those of the same network input size and grid share a batch. See `encode`."""
        arrays = [load_image(image) for image in images]
        encoded: dict[int, Encoded] = {}
        sizes = [array.shape[:2] for array in arrays]
        for size in sizes:  # before any features are computed: fail early if a match of this size cannot fit
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
        """Find the corresponding target point of every source point, and the reverse.

        Args:
            source: An image as for `encode`, or a result of `encode`.
            target: Likewise.

        Returns:
            The match, as NumPy arrays. If either image has a single colour, every confidence is zero.

        Raises:
            ImageError: If an image cannot be used; the message says why.
            FileNotFoundError: If a file does not exist.
            ModelError: If features were computed by another model.
            SemcorrError: If the match needs more memory than the device has.
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
        """Match one image with each of many, holding only a few of them in memory.

        On a CPU, torch's threads each match a target of their own: this gives a higher throughput than all threads
        working on one target after another.

        Args:
            source: An image as for `encode`, or a result of `encode`; its features are computed once.
            targets: Likewise, any number; read as they are needed.
            errors: What to do with a target that cannot be matched, such as a broken photograph. ``"raise"`` stops with
                the error; ``"return"`` yields the error in place of the match and continues.

        Yields:
            The matches, in the order of the targets.

        Raises:
            ImageError: If an image cannot be used; the message says why. Later targets are not matched.
            FileNotFoundError: If a file does not exist.
            SemcorrError: If a match needs more memory than the device has.
            ValueError: If ``errors`` is unknown.
        """
        if errors not in ("raise", "return"):
            raise ValueError(f"errors must be 'raise' or 'return'; got {errors!r}")
        encoded = source if isinstance(source, Encoded) else self.encode(source)

        def match(target: ImageLike | Encoded) -> Match | SemcorrError | OSError:
            try:
                return self.match(encoded, target)
            except (SemcorrError, OSError) as error:
                if errors == "raise":
                    raise
                return error.with_traceback(None)  # which would hold the image

        return self._run_each(match, targets)

    def match_all(
        self, sources: Sequence[ImageLike | Encoded], targets: Iterable[ImageLike | Encoded]
    ) -> Iterator[list[Match]]:
        """Match several images with each of many, as `match_each` does; the features of a target are computed once.

        Args:
            sources: Images as for `encode`, or what `encode` returned.
            targets: Likewise, as many as wanted; taken as they are needed.

        Yields:
            For each target, in their order, its matches with all sources, in theirs.

        Raises:
            ImageError: If an image cannot be used; the message says why. Later targets are not matched.
            FileNotFoundError: If a file does not exist.
            SemcorrError: If a match needs more memory than the device has.
        """
        encoded = [source if isinstance(source, Encoded) else self.encode(source) for source in sources]

        def match(target: ImageLike | Encoded) -> list[Match]:
            target = target if isinstance(target, Encoded) else self.encode(target)
            return [self.match(source, target) for source in encoded]

        return self._run_each(match, targets)

    def _run_each(
        self, run: Callable[[ImageLike | Encoded], Any], targets: Iterable[ImageLike | Encoded]
    ) -> Iterator[Any]:
        """Call a function for each target, one thread per target, and yield the results in order."""
        workers = torch.get_num_threads() if self.device.type == "cpu" else 1
        pending: deque[Future[Any]] = deque()
        with ThreadPoolExecutor(workers, initializer=use_one_thread) as pool:
            try:
                for target in targets:
                    pending.append(pool.submit(run, target))
                    if len(pending) > 2 * workers:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:  # the caller wants no more
                for future in pending:
                    future.cancel()

    @default_errors
    @torch.inference_mode()
    def match_many(self, pairs: Sequence[tuple[ImageLike | Encoded, ImageLike | Encoded]]) -> list[Match]:
        """Match several pairs; those with the same grids are computed in one batch.

        Args:
            pairs: Sources and targets as for `match`; all are held in memory at once.

        Returns:
            One match per pair, in the order of the pairs.

        Raises:
            ImageError: If an image cannot be used; the message says why.
            FileNotFoundError: If a file does not exist.
            ModelError: If features were computed by another model.
            SemcorrError: If a batch needs more memory than the device has.
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
        """Reject features that another model computed: they would be matched silently, and incorrectly."""
        if isinstance(image, Encoded) and image.key != self.features.key:
            other = "" if image.model != repr(self) else ", with other weights or another precision"
            raise ModelError(
                f"these features were computed by {image.model}{other}, but are given to {self!r}: encode the image "
                "with the model that matches it"
            )

    def _match_batch(self, sources: list[Encoded], targets: list[Encoded]) -> list[Match]:
        scores = self.score(_stack(sources), _stack(targets))
        forward, backward = (self._finish(matches) for matches in decode(scores, self.decode_radius))
        return [
            self._corrected(
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

    def _corrected(self, match: Match, source: Tensor | None, target: Tensor | None) -> Match:
        if self.features.fine is None or source is None or target is None:
            return match
        correction = Correction(*self.features.fine.comparison())
        return correct_match(match, source[0].cpu().numpy(), target[0].cpu().numpy(), correction)

    def _finish(self, matches: CellMatches) -> CellMatches:
        confidence = matches.confidence.cpu()
        if self.rescaling is not None:
            confidence = rescale(confidence, self.rescaling)
        return CellMatches(matches.cells.cpu(), confidence)


def _groups(keys: Sequence[Hashable]) -> list[list[int]]:
    """Group the indices of equal keys; the groups are in order of first occurrence."""
    groups: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def _stack(encoded: list[Encoded]) -> FeatureMap:
    features = [image.features for image in encoded]
    return FeatureMap(torch.cat([each.tensor for each in features]), tuple(each.image_sizes[0] for each in features))


def _field(matches: CellMatches, row: int, other: FeatureMap, blank: bool) -> Field:
    """Convert one pair's matches from cells to pixels inside the other image; a blank image has confidence zero."""
    height, width = other.image_sizes[0]
    points = cells_to_pixels(matches.cells[row], (height, width), other.grid)
    clipped = points.clamp(points.new_zeros(2), torch.tensor([width, height], dtype=points.dtype))
    confidence = matches.confidence[row]
    return Field(clipped.numpy(), (torch.zeros_like(confidence) if blank else confidence).numpy())
