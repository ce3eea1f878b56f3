"""Pairs of photographs with named keypoints: what every data set provides and every metric takes."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from semcorr.errors import DataError

Box = tuple[float, float, float, float]
"""Left, top, right and bottom of a box, in pixels of the picture's file."""

Entry = TypeVar("Entry")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Photo:
    """A photograph of one object, with its annotation.

    Attributes:
        path: The picture's file.
        size: Height and width in pixels, as the picture is shown.
        keypoints: Name (or id) to ``(x, y)`` in native pixels: those of the picture as it is shown, whatever size a
            protocol resizes it to. Only annotated points, without padding or placeholders.
        bbox: The object's box in native pixels, if the data set has one.
        category: The object's category, in the data set's words.
    """

    path: Path
    size: tuple[int, int]
    keypoints: dict[str, tuple[float, float]]
    bbox: Box | None
    category: str


@dataclass(frozen=True)
class Pair:
    """Two photographs of the same category: points are transferred from ``source`` to ``target``.

    Attributes:
        source: The photograph that contains the points.
        target: The photograph to find them in. All errors and thresholds are measured here.
        nuisances: What makes the pair difficult, by kind: ``{"viewpoint": "easy", "truncation": "none"}``.
    """

    source: Photo
    target: Photo
    nuisances: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the shared keypoints, in the source's order."""
        return tuple(name for name in self.source.keypoints if name in self.target.keypoints)

    def swapped(self) -> Pair:
        """Return the pair in the other direction: some protocols transfer points from the target to the source."""
        return Pair(self.target, self.source, self.nuisances)

    def points(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the shared keypoints in source and target, each ``(K, 2)`` float32 in native pixels.

        >>> cat = Photo(Path("cat.jpg"), (300, 400), {"nose": (10, 20), "tail": (30, 40)}, None, "cat")
        >>> cub = Photo(Path("cub.jpg"), (300, 400), {"tail": (5, 6), "nose": (7, 8)}, None, "cat")
        >>> Pair(cat, cub).points()[1]
        array([[7., 8.],
               [5., 6.]], dtype=float32)
        """
        names = self.names
        source, target = (
            np.array([photo.keypoints[name] for name in names], np.float32).reshape(-1, 2)
            for photo in (self.source, self.target)
        )
        return source, target

    def points_inside(self) -> NDArray[np.float32]:
        """Return the shared keypoints in the source, ``(K, 2)``; those outside it are moved to its border.

        >>> tall = Photo(Path("cat.jpg"), (300, 200), {"nose": (10, 20), "tail": (201, -3)}, None, "cat")
        >>> Pair(tall, tall).points_inside()
        array([[ 10.,  20.],
               [200.,   0.]], dtype=float32)
        """
        height, width = self.source.size
        return np.clip(self.points()[0], np.float32(0), np.array([width, height], np.float32))


@dataclass(frozen=True)
class PairSet(Sequence[Pair]):
    """The pairs of one data set, as a sequence.

    Attributes:
        name: The data set's name and split, such as ``"spair-71k test"``.
        pairs: The pairs, in the order of the data set's list.
        skipped: The entries left out by ``skip_broken``, as errors whose messages name the file, the field and the
            reason.
        left_out: What was left out although it is not broken, such as objects without keypoints: description to
            number.
    """

    name: str
    pairs: list[Pair]
    skipped: list[DataError] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pairs)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> list[Pair]: ...
    def __getitem__(self, index: int | slice) -> Pair | list[Pair]:
        return self.pairs[index]

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)


def gather(
    entries: Iterable[Entry], read: Callable[[Entry], Item], skipped: list[DataError] | None = None
) -> list[Item]:
    """Read every entry of a data set. Errors are raised, or appended to ``skipped`` if a list is given."""
    items = []
    for entry in entries:
        try:
            items.append(read(entry))
        except DataError as error:  # noqa: PERF203 - the error belongs to one entry, not to the loop
            if skipped is None:
                raise
            skipped.append(error.with_traceback(None))
    return items


def make_pair(source: Photo, target: Photo, nuisances: dict[str, str], where: str) -> Pair:
    """Return a pair of photographs that share at least one keypoint; errors begin with ``where``."""
    pair = Pair(source, target, nuisances)
    if not pair.names:
        raise DataError(f"{where}: {source.path.name} and {target.path.name} share no annotated keypoint")
    return pair


def spread(pairs: Sequence[Item], count: int) -> list[Item]:
    """Return ``count`` items sampled evenly from a list, or all if there are fewer; the order is kept.

    >>> spread("abcdefgh", 3)
    ['a', 'c', 'f']
    """
    count = min(count, len(pairs))
    return [pairs[index * len(pairs) // count] for index in range(count)]


_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z]*|[a-z]+|[0-9]+|[^A-Za-z0-9]+")
_SIDES = {"left": "right", "right": "left", "l": "r", "r": "l"}


def mirrored_name(name: str) -> str:
    """Return what a keypoint is called once its picture is mirrored: left and right change places.

    The side may stand anywhere in the name, as a word or as a single letter, in any capitals.

    >>> mirrored_name("left_ear"), mirrored_name("rear_right_paw"), mirrored_name("nose")
    ('right_ear', 'rear_left_paw', 'nose')
    >>> mirrored_name("L_Eye"), mirrored_name("LEFT EAR"), mirrored_name("leftEar"), mirrored_name("knee-r")
    ('R_Eye', 'RIGHT EAR', 'rightEar', 'knee-l')
    """
    words = _WORD.findall(name)
    for index, word in enumerate(words):
        numbered = index + 1 < len(words) and words[index + 1].isdigit()  # "L4" is a vertebra
        other = _SIDES.get(word.lower())
        if other is not None and not (len(word) == 1 and numbered):
            words[index] = other.upper() if word.isupper() else other.title() if word[0].isupper() else other
    return "".join(words)


def draw_pairs(photos: Sequence[Photo], count: int, seed: int, min_shared: int = 3) -> list[Pair]:
    """Draw random pairs within categories: the same for the same photographs and seed, on any machine.

    Every category gets the same number of pairs, as far as its photographs allow. Within a category, ordered pairs of
    different pictures with at least ``min_shared`` shared keypoints are drawn uniformly, without replacement.

    Args:
        photos: The photographs to draw from, in any order.
        count: How many pairs to draw; fewer are returned if there are not enough.
        seed: The random seed.
        min_shared: How many keypoint names the two photographs must share.
    """
    if count < 0:
        raise ValueError(f"count must not be negative, got {count}")
    by_category: dict[str, list[Photo]] = {}
    for photo in sorted(photos, key=lambda p: (p.category, p.path.as_posix(), sorted(p.keypoints.items()))):
        by_category.setdefault(photo.category, []).append(photo)
    generator = random.Random(seed)
    streams = [_stream(group, generator, min_shared) for _, group in sorted(by_category.items())]
    drawn: list[Pair] = []
    while streams and len(drawn) < count:
        for stream in list(streams):
            pair = next(stream, None)
            if pair is None:
                streams.remove(stream)
            elif len(drawn) < count:
                drawn.append(pair)
    return drawn


def _stream(group: Sequence[Photo], generator: random.Random, min_shared: int) -> Iterator[Pair]:
    """Yield the eligible ordered pairs of one category, in random order."""
    usable = [photo for photo in group if len(photo.keypoints) >= min_shared]
    for code in _shuffled(len(usable) * len(usable), generator):
        source, target = usable[code // len(usable)], usable[code % len(usable)]
        if source.path == target.path:
            continue
        if len(source.keypoints.keys() & target.keypoints.keys()) >= max(1, min_shared):
            yield Pair(source, target)


def _shuffled(total: int, generator: random.Random) -> Iterator[int]:
    """Yield the numbers below ``total`` in random order, with memory only for those drawn so far."""
    moved: dict[int, int] = {}
    for index in range(total):
        chosen = generator.randrange(index, total)
        yield moved.get(chosen, chosen)
        moved[chosen] = moved.pop(index, index)
