"""Two pictures in, one `Match` out: the only file that sees every stage."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semcorr.features import FeatureExtractor, FeatureMap
from semcorr.geometry import cells_to_pixels
from semcorr.image import ImageLike, is_blank, load_image
from semcorr.match.refine import Refinement, refine
from semcorr.match.result import Match
from semcorr.match.types import Field
from semcorr.matchers.confidence import rescale
from semcorr.matchers.decode import decode
from semcorr.matchers.evidence import Decoded, Judge, gather_evidence
from semcorr.matchers.scores import CellMatches, ScoreCells
from semcorr.models.memory import bytes_per_pair, check_memory, within_memory
from semcorr.models.turning import Turn, TurnedPicture, best_of, evidence_of, turned, turned_back, turns_of


@dataclass(frozen=True, eq=False)
class Encoded:
    """A picture with its features: what `Matcher.match` needs of it, to be used as often as wanted.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        features: Its feature map, with ``B = 1``.
    """

    image: NDArray[np.uint8]
    features: FeatureMap


@dataclass(frozen=True, eq=False)
class EncodedTurns:
    """A picture turned in several ways, each with its features: what matching in any direction needs of it.

    Attributes:
        image: The picture as it is, ``(H, W, 3)`` uint8 RGB.
        turns: How it was turned; the first is not at all.
        pictures: What it then looks like.
        encoded: Their features.
    """

    image: NDArray[np.uint8]
    turns: list[Turn]
    pictures: list[TurnedPicture]
    encoded: list[Encoded]


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
        judge: Tells visibility, confidence and similarity from the evidence of a match; None leaves the confidence as
            it is decoded, and the others unknown.
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
        judge: Judge | None = None,
    ) -> None:
        self.judge = judge
        self.name, self.decode_radius, self.device = name, decode_radius, torch.device(device)
        self.plain_interpolation, self.rescaling = plain_interpolation, rescaling
        self.features = features.to(self.device)
        self.score = score.to(self.device) if isinstance(score, torch.nn.Module) else score

    def __repr__(self) -> str:
        return f"Matcher({self.name!r}, {self.features.options}, device={str(self.device)!r})"

    def encode(self, image: ImageLike) -> Encoded:
        """Read a picture and compute its features once, for matching it with many others.

        Args:
            image: A path, PIL picture, ``(H, W, 3)`` uint8 array or ``(3, H, W)`` tensor.

        Raises:
            ImageError: If it cannot be used; the message says why.
            FileNotFoundError: If there is no such file.
            SemcorrError: If the grid is too large to match it in the memory of the device.
        """
        return self.encode_many([image])[0]

    def encode_many(self, images: Sequence[ImageLike]) -> list[Encoded]:
        """Do as `encode`, with pictures of the same network size and grid together in one batch."""
        arrays = [load_image(image) for image in images]
        encoded: dict[int, Encoded] = {}
        sizes = [array.shape[:2] for array in arrays]
        for size in sizes:  # not even its features fit, if a match with a picture like it does not
            grid = self.features.grid(size)
            check_memory(math.prod(grid) ** 2, self.device, bytes_per_pair(self.score, grid, grid, self.device))
        for indices in _groups([(self.features.input_size(size), self.features.grid(size)) for size in sizes]):
            batch = self.features.encode([arrays[index] for index in indices])
            for row, index in enumerate(indices):
                encoded[index] = Encoded(arrays[index], batch.row(row))
        return [encoded[index] for index in range(len(arrays))]

    def encode_turns(self, image: ImageLike | Encoded, rotations: int, mirror: bool = False) -> EncodedTurns:
        """Compute the features of a picture turned in several ways, for matching it with things in any direction.

        Args:
            image: A picture as for `encode`, or what `encode` returned.
            rotations: How many turns there are, all equally far apart: 1 to 72; the picture as it is is the first.
            mirror: Whether each is tried mirrored, too.

        Raises:
            ValueError: If ``rotations`` is no such number.
            ImageError, FileNotFoundError, SemcorrError: As `encode`.
        """
        turns = turns_of(rotations, mirror)
        array = image.image if isinstance(image, Encoded) else load_image(image)
        pictures = [turned(array, turn) for turn in turns]
        return EncodedTurns(array, turns, pictures, [self.encode(picture.image) for picture in pictures])

    def match(
        self,
        source: ImageLike | Encoded | EncodedTurns,
        target: ImageLike | Encoded,
        rotations: int = 1,
        mirror: bool = False,
    ) -> Match:
        """Find for every point of the source the point of the target that means the same, and the reverse.

        Args:
            source: A picture as for `encode`, or what `encode` or `encode_turns` returned.
            target: A picture as for `encode`, or what `encode` returned.
            rotations: The source is tried turned so many ways, and the turn with the best evidence is kept: 12 for
                things photographed in any direction. Takes as many times as long.
            mirror: Whether each turn is tried mirrored, too.

        Returns:
            The match; its arrays are on the CPU. With a picture of a single colour, every confidence is zero.

        Raises:
            ImageError: If a picture cannot be used; the message says why.
            FileNotFoundError: If there is no such file.
            ValueError: If ``rotations`` is not a whole number from 1 to 72.
        """
        if isinstance(source, EncodedTurns) or rotations != 1 or mirror:
            turns = source if isinstance(source, EncodedTurns) else self.encode_turns(source, rotations, mirror)
            return self._match_turns(turns, target)
        return self.match_many([(source, target)])[0]

    def _match_turns(self, source: EncodedTurns, target: ImageLike | Encoded) -> Match:
        known = target if isinstance(target, Encoded) else self.encode(target)
        matches = [self.match_many([(encoded, known)])[0] for encoded in source.encoded]
        best = best_of([evidence_of(match) for match in matches])
        if best == 0:
            return matches[0]
        return turned_back(matches[best], source.image, source.pictures[best], source.turns[best])

    def match_each(
        self,
        source: ImageLike | Encoded | EncodedTurns,
        targets: Iterable[ImageLike | Encoded],
        rotations: int = 1,
        mirror: bool = False,
    ) -> Iterator[Match]:
        """Match one picture with each of many; few of them are in memory at a time.

        On a CPU as many targets are read and matched at once as torch has threads, each by one thread: more of them in
        a second than with all threads on one target after the other.

        Args:
            source: A picture as for `encode`, or what `encode` or `encode_turns` returned; its features are computed
                once.
            targets: Pictures as for `encode`, or what it returned, as many as wanted; taken as they are needed.
            rotations: As for `match`.
            mirror: As for `match`.

        Yields:
            The matches, in the order of the targets.

        Raises:
            ImageError: If a picture cannot be used; the message says why. The targets behind it are not matched.
            FileNotFoundError: If there is no such file.
        """
        encoded: Encoded | EncodedTurns
        if isinstance(source, EncodedTurns):
            encoded = source
        elif rotations != 1 or mirror:
            encoded = self.encode_turns(source, rotations, mirror)
        else:
            encoded = source if isinstance(source, Encoded) else self.encode(source)
        workers = torch.get_num_threads() if self.device.type == "cpu" else 1
        waiting: deque[Future[Match]] = deque()
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for target in targets:
                waiting.append(pool.submit(self.match, encoded, target))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    @torch.inference_mode()
    def match_many(self, pairs: Sequence[tuple[ImageLike | Encoded, ImageLike | Encoded]]) -> list[Match]:
        """Match several pairs; those whose grids are alike are computed together in one batch.

        Args:
            pairs: Sources and targets as for `match`. All of them are in memory at once.

        Returns:
            One match for each pair, in their order.

        Raises:
            SemcorrError: If they need more memory than the device has.
        """
        images = [image for pair in pairs for image in pair]
        new = iter(self.encode_many([image for image in images if not isinstance(image, Encoded)]))
        encoded = [image if isinstance(image, Encoded) else next(new) for image in images]
        sources, targets = encoded[::2], encoded[1::2]
        matches: dict[int, Match] = {}
        grids = [(a.features.grid, b.features.grid) for a, b in zip(sources, targets, strict=True)]
        for indices in _groups(grids):
            source, target = grids[indices[0]]
            per_pair = bytes_per_pair(self.score, source, target, self.device)
            with within_memory(len(indices) * math.prod(source) * math.prod(target), self.device, per_pair):
                batch = self._match_batch([sources[index] for index in indices], [targets[index] for index in indices])
            matches |= zip(indices, batch, strict=True)
        return [matches[index] for index in range(len(pairs))]

    def _match_batch(self, sources: list[Encoded], targets: list[Encoded]) -> list[Match]:
        forward, backward = decode(self.score(_stack(sources), _stack(targets)), self.decode_radius)
        return [
            self._finished(source, target, _row(forward, row), _row(backward, row))
            for row, (source, target) in enumerate(zip(sources, targets, strict=True))
        ]

    def _finished(self, source: Encoded, target: Encoded, there: CellMatches, back: CellMatches) -> Match:
        """Make a match of one pair's decoded cells: judge it, convert it to pixels, refine it."""
        judged, similarity = self._judged(source.features, target.features, there, back)
        blank = is_blank(source.image) or is_blank(target.image)
        match = Match(
            source.image,
            target.image,
            _field(there.cells, judged[0], target.features, blank),
            _field(back.cells, judged[1], source.features, blank),
            self.name,
            self.plain_interpolation,
            0.0 if blank and similarity is not None else similarity,
        )
        fine = source.features.fine, target.features.fine
        if self.features.fine is None or fine[0] is None or fine[1] is None:
            return match
        refinement = Refinement(*self.features.fine.comparison())
        return refine(match, fine[0][0].cpu().numpy(), fine[1][0].cpu().numpy(), refinement)

    def _judged(
        self, source: FeatureMap, target: FeatureMap, there: CellMatches, back: CellMatches
    ) -> tuple[tuple[Judged, Judged], float | None]:
        """Return how sure each match is, both ways, and how alike the pictures are."""
        if self.judge is None:
            factors = self.rescaling
            sure = [c if factors is None else rescale(c, factors) for c in (there.confidence, back.confidence)]
            return (Judged(sure[0].numpy()), Judged(sure[1].numpy())), None
        a, b = (features.tensor[0].float().cpu().numpy() for features in (source, target))
        ways = [Decoded(matches.cells.numpy(), matches.peak.numpy()) for matches in (there, back)]
        tuned = self.features.channels
        forward, backward = gather_evidence(a, b, tuned, *ways)
        judged = Judged(*self.judge.of_matches(forward)), Judged(*self.judge.of_matches(backward))
        return judged, self.judge.of_pair(forward, backward, a[tuned:], b[tuned:])


class Judged(NamedTuple):
    """What is said of the matches of one picture's cells, ``(h, w)`` each, 0…1; visibility None where it is unknown."""

    confidence: NDArray[np.float32]
    visibility: NDArray[np.float32] | None = None


def _groups(keys: Sequence[Hashable]) -> list[list[int]]:
    """List the indices of equal keys together, in the order of their first."""
    groups: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def _stack(encoded: list[Encoded]) -> FeatureMap:
    tensor = torch.cat([one.features.tensor for one in encoded])
    return FeatureMap(tensor, tuple(one.features.image_sizes[0] for one in encoded))


def _row(matches: CellMatches, row: int) -> CellMatches:
    """Return one pair's matches, without the batch dimension, on the CPU."""
    return CellMatches(*(part[row].cpu() for part in matches))


def _field(cells: Tensor, judged: Judged, other: FeatureMap, blank: bool) -> Field:
    """Convert one pair's matches from cells to pixels of the other picture, inside it; none is sure if one is blank."""
    height, width = other.image_sizes[0]
    points = cells_to_pixels(cells, (height, width), other.grid)
    inside = points.clamp(torch.zeros(2), torch.tensor([width, height], dtype=points.dtype))
    confidence, visibility = judged
    if blank:
        confidence = np.zeros_like(confidence)
        visibility = None if visibility is None else np.zeros_like(visibility)
    return Field(inside.numpy(), confidence, visibility)
