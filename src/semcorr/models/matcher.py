"""Two images in, one `Match` out: the only file that calls every stage."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from semcorr.errors import ModelError, SemcorrError
from semcorr.features import FeatureMap
from semcorr.features.batches import batches
from semcorr.features.feature_map import array_of
from semcorr.features.light.extractor import LightExtractor
from semcorr.geometry import cells_to_pixels
from semcorr.image import ImageLike, file_of, is_blank, load_image
from semcorr.match.correct import Correction, correct_match
from semcorr.match.result import Match, check_points
from semcorr.match.types import Field, Points
from semcorr.matchers.confidence import rescale
from semcorr.matchers.decode import CellMatches
from semcorr.matchers.evidence import Decoded, Judge
from semcorr.models.encoded import Encoded, EncodedTurns
from semcorr.models.engines import ArrayEngine, Engine, ScoreArrays
from semcorr.models.memory import bytes_per_pair, check_memory, within_memory
from semcorr.models.turning import best_turn, crop_canvas, turn_back, turn_image, turns_of
from semcorr.settings import default_errors

if TYPE_CHECKING:
    from semcorr.features import FeatureExtractor
    from semcorr.matchers.dense.scores import ScoreCells


class Judged(NamedTuple):
    """Confidence and visibility of the matches of one image's cells, ``(h, w)``, 0…1; visibility None if unknown."""

    confidence: NDArray[np.float32]
    visibility: NDArray[np.float32] | None = None


class Matcher:
    """A model: a feature extractor, a matcher, and the decoding of its scores.

    Args:
        name: The model's name.
        features: Computes feature maps from images.
        method: Scores the pairs of cells of two images, in NumPy for a `LightExtractor` and in torch for a
            `FeatureExtractor`.
        decode_radius: Radius, in cells, of the window of scores that a match is decoded from; 0 gives cell centres.
        device: Torch device to compute on; a `LightExtractor` computes on the CPU.
        plain_interpolation: Whether points are transferred by plain bilinear interpolation of the matches; see `Match`.
        rescaling: Coefficients that calibrate the confidence; see `semcorr.matchers.dense.confidence.rescale`.
        judge: Estimates visibility, confidence and similarity from the evidence of a match; None leaves the confidence
            as it is decoded, and the others unknown.
    """

    def __init__(
        self,
        name: str,
        features: LightExtractor | FeatureExtractor,
        method: ScoreArrays | ScoreCells,
        decode_radius: int = 2,
        device: str = "cpu",
        plain_interpolation: bool = False,
        rescaling: tuple[float, ...] | None = None,
        judge: Judge | None = None,
    ) -> None:
        self.judge = judge
        self.name, self.decode_radius = name, decode_radius
        self.method: Any = method
        self.plain_interpolation, self.rescaling = plain_interpolation, rescaling
        self._engine = _engine(features, method, device)
        self.features: Any = self._engine.features
        self.device = self._engine.device

    def __repr__(self) -> str:
        return f"Matcher({self.name!r}, {self.features.options}, device={self.device!r})"

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
        return self._encode(self.features, images)

    def _encode(self, extractor: Any, images: Sequence[ImageLike]) -> list[Encoded]:
        arrays = [load_image(image) for image in images]
        encoded: dict[int, Encoded] = {}
        sizes = [array.shape[:2] for array in arrays]
        for size in sizes:  # before any features are computed: fail early if a match of this size cannot fit
            grid = extractor.grid(size)
            check_memory(math.prod(grid) ** 2, self.device, bytes_per_pair(self.method, grid, grid, self.device))
        for indices in batches([(extractor.input_size(size), extractor.grid(size)) for size in sizes]):
            with self._engine.settings():
                maps = self._engine.encode(extractor, [arrays[index] for index in indices])
            for index, features in zip(indices, maps, strict=True):
                file = file_of(images[index])
                encoded[index] = Encoded(arrays[index], features, repr(self), self.features.key, file)
        return [encoded[index] for index in range(len(arrays))]

    def _encode_larger(self, image: NDArray[np.uint8], factor: float) -> Encoded:
        """Encode an image at a network input enlarged by a factor, or at the usual size if memory does not allow it."""
        try:
            return self._encode(self.features.scaled(factor), [image])[0]
        except SemcorrError:
            return self.encode(image)

    def encode_turns(
        self, image: ImageLike | Encoded, rotations: int, mirror: bool = False, points: Points | None = None
    ) -> EncodedTurns:
        """Compute the features of an image turned in several ways, to match it with things in any direction.

        Args:
            image: An image as for `encode`, or a result of `encode`.
            rotations: Number of turns, 1 to 72, at equal angles; the first is the image as it is.
            mirror: Whether each turn is also tried mirrored.
            points: The points that matter, ``(N, 2)`` (x, y) in pixels of the image, such as those to be transferred.

        Raises:
            ValueError: If ``rotations`` is not such a number, or the points are not in the image.
            ImageError: If the image cannot be used; the message says why.
            FileNotFoundError: If the file does not exist.
        """
        turns = turns_of(rotations, mirror)
        array = image.image if isinstance(image, Encoded) else load_image(image)
        known = None if points is None else check_points(points, (array.shape[0], array.shape[1]))
        pictures = [crop_canvas(turn_image(array, turn), array, known) for turn in turns]
        return EncodedTurns(array, turns, pictures, [self.encode(picture.image) for picture in pictures], known)

    def match(
        self,
        source: ImageLike | Encoded | EncodedTurns,
        target: ImageLike | Encoded,
        rotations: int = 1,
        mirror: bool = False,
        points: Points | None = None,
    ) -> Match:
        """Find the corresponding target point of every source point, and the reverse.

        Args:
            source: An image as for `encode`, or a result of `encode` or of `encode_turns`.
            target: An image as for `encode`, or a result of `encode`.
            rotations: Number of turns of the source that are tried, 1 to 72; the one with the best evidence is kept.
                12 suits things photographed in any direction. The time grows with it.
            mirror: Whether each turn is also tried mirrored.
            points: The source points that matter when a turn is chosen, ``(N, 2)`` as for `Match.transfer`; None takes
                the whole source. The match is of the whole source either way.

        Returns:
            The match, as NumPy arrays. If either image has a single colour, every confidence is zero.

        Raises:
            ImageError: If an image cannot be used; the message says why.
            FileNotFoundError: If a file does not exist.
            ModelError: If features were computed by another model.
            SemcorrError: If the match needs more memory than the device has.
            ValueError: If ``rotations`` is not such a number.
        """
        if rotations != 1 or mirror:
            source = (
                source if isinstance(source, EncodedTurns) else self.encode_turns(source, rotations, mirror, points)
            )
        if not isinstance(source, EncodedTurns):
            return self.match_many([(source, target)])[0]
        encoded = target if isinstance(target, Encoded) else self.encode(target)
        matches = [self.match_many([(turn, encoded)])[0] for turn in source.encoded]
        best = best_turn(source.turns, [source.evidence(index, match) for index, match in enumerate(matches)])
        if best == 0:
            return matches[0]
        if best not in source.whole:
            picture, turned = turn_image(source.image, source.turns[best]), source.encoded[best]
            growth = math.sqrt(picture.image.size / source.image.size)
            source.whole[best] = picture, self._encode_larger(picture.image, growth) if growth > 1 else turned
        picture, turned = source.whole[best]
        match = matches[best] if turned is source.encoded[best] else self.match_many([(turned, encoded)])[0]
        return turn_back(match, source.image, picture, source.turns[best])

    @overload
    def match_each(
        self,
        source: ImageLike | Encoded | EncodedTurns,
        targets: Iterable[ImageLike | Encoded],
        *,
        errors: Literal["raise"] = "raise",
    ) -> Iterator[Match]: ...

    @overload
    def match_each(
        self,
        source: ImageLike | Encoded | EncodedTurns,
        targets: Iterable[ImageLike | Encoded],
        *,
        errors: Literal["return"],
    ) -> Iterator[Match | SemcorrError | OSError]: ...

    def match_each(
        self,
        source: ImageLike | Encoded | EncodedTurns,
        targets: Iterable[ImageLike | Encoded],
        *,
        errors: Literal["raise", "return"] = "raise",
    ) -> Iterator[Match] | Iterator[Match | SemcorrError | OSError]:
        """Match one image with each of many, holding only a few of them in memory.

        On a CPU, each thread matches a target of its own: this gives a higher throughput than all threads working on
        one target after another.

        Args:
            source: An image as for `encode`, or a result of `encode` or of `encode_turns`; its features are computed
                once.
            targets: Images as for `encode`, or results of `encode`, any number; read as they are needed.
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
        encoded = source if isinstance(source, Encoded | EncodedTurns) else self.encode(source)

        def match(target: ImageLike | Encoded) -> Match | SemcorrError | OSError:
            try:
                return self.match(encoded, target)
            except (SemcorrError, OSError) as error:
                if errors == "raise":
                    raise
                return error.with_traceback(None)  # which would hold the image

        return self._run_each(match, targets)

    def match_all(
        self, sources: Sequence[ImageLike | Encoded | EncodedTurns], targets: Iterable[ImageLike | Encoded]
    ) -> Iterator[list[Match]]:
        """Match several images with each of many, as `match_each` does; the features of a target are computed once.

        Args:
            sources: Images as for `encode`, or results of `encode` or of `encode_turns`.
            targets: Images as for `encode`, or results of `encode`, any number; read as they are needed.

        Yields:
            For each target, in their order, its matches with all sources, in theirs.

        Raises:
            ImageError: If an image cannot be used; the message says why. Later targets are not matched.
            FileNotFoundError: If a file does not exist.
            SemcorrError: If a match needs more memory than the device has.
        """
        encoded = [source if isinstance(source, Encoded | EncodedTurns) else self.encode(source) for source in sources]

        def match(target: ImageLike | Encoded) -> list[Match]:
            target = target if isinstance(target, Encoded) else self.encode(target)
            return [self.match(source, target) for source in encoded]

        return self._run_each(match, targets)

    def _run_each(
        self, run: Callable[[ImageLike | Encoded], Any], targets: Iterable[ImageLike | Encoded]
    ) -> Iterator[Any]:
        """Call a function for each target, one thread per target, and yield the results in order."""
        workers = self._engine.workers()
        pending: deque[Future[Any]] = deque()
        with ThreadPoolExecutor(workers, initializer=self._engine.compute_alone) as pool:
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
        for indices in batches(grids):
            source, target = grids[indices[0]]
            per_pair = bytes_per_pair(self.method, source, target, self.device)
            cells = math.prod(source) * math.prod(target)
            together = len(indices) if self._engine.batches else 1
            with self._engine.settings(), within_memory(together * cells, self.device, per_pair):
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
        maps = [[image.features for image in images] for images in (sources, targets)]
        decoded = self._engine.match(self.method, maps[0], maps[1], self.decode_radius)
        return [self._match_of(a, b, *ways) for a, b, ways in zip(sources, targets, decoded, strict=True)]

    def _match_of(self, source: Encoded, target: Encoded, forward: CellMatches, backward: CellMatches) -> Match:
        """Make the match of one pair from its decoded cells: judge them, convert them to pixels, correct them."""
        judged, similarity = self._judge(source.features, target.features, forward, backward)
        blank = is_blank(source.image) or is_blank(target.image)
        match = Match(
            source.image,
            target.image,
            _field(forward.cells, judged[0], target.features, blank),
            _field(backward.cells, judged[1], source.features, blank),
            self.name,
            self.plain_interpolation,
            0.0 if blank and similarity is not None else similarity,
        )
        fine = source.features.fine, target.features.fine
        comparison = self.features.comparison()
        if comparison is None or fine[0] is None or fine[1] is None:
            return match
        return correct_match(match, array_of(fine[0])[0], array_of(fine[1])[0], Correction(*comparison))

    def _judge(
        self, source: FeatureMap, target: FeatureMap, forward: CellMatches, backward: CellMatches
    ) -> tuple[tuple[Judged, Judged], float | None]:
        """Return confidence and visibility of the matches of both images, and the similarity of the pair."""
        if self.judge is None:
            factors = self.rescaling
            sure = [c if factors is None else rescale(c, factors) for c in (forward.confidence, backward.confidence)]
            return (Judged(sure[0]), Judged(sure[1])), None
        a, b = (array_of(features.tensor)[0] for features in (source, target))
        decoded = [Decoded(matches.cells, matches.peak) for matches in (forward, backward)]
        verdict = self.judge.of(a, b, self.features.channels, *decoded)
        judged = [Judged(*both) for both in zip(verdict.confidence, verdict.visibility, strict=True)]
        return (judged[0], judged[1]), verdict.similarity


def _engine(features: LightExtractor | FeatureExtractor, method: Any, device: str) -> Engine:
    if isinstance(features, LightExtractor):
        return ArrayEngine(features)
    from semcorr.models.tensors import TensorEngine

    return TensorEngine(features, method, device)


def _field(cells: NDArray[np.float32], judged: Judged, other: FeatureMap, blank: bool) -> Field:
    """Convert one pair's matches from cells to pixels inside the other image; a blank image has confidence zero."""
    height, width = other.image_sizes[0]
    points = cells_to_pixels(cells, (height, width), other.grid)
    clipped = np.clip(points, np.float32(0), np.array([width, height], np.float32))
    confidence, visibility = judged
    if blank:
        confidence = np.zeros_like(confidence)
        visibility = None if visibility is None else np.zeros_like(visibility)
    return Field(clipped, confidence, visibility)
