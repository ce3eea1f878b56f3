"""Check a data set: count its pairs, and list missing and broken pictures and misplaced keypoints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from semcorr.data.pairs import PairSet, Photo
from semcorr.data.pictures import BrokenPictureError, MissingPictureError, check_picture
from semcorr.data.registry import find_dataset, load_dataset, splits_at
from semcorr.errors import DataError


@dataclass(frozen=True)
class SplitReport:
    """The contents of a split: numbers of pairs, of distinct pictures, and of pairs by category and nuisance."""

    pairs: int
    photos: int
    categories: dict[str, int]
    nuisances: dict[str, dict[str, int]]


@dataclass(frozen=True)
class Report:
    """The contents of a data set, and its problems.

    Attributes:
        name: The data set.
        root: Its folder.
        splits: Split to its counts. Only usable pairs are counted.
        missing: Pictures that annotations refer to, but that do not exist.
        broken: Pictures that cannot be read, or have another size than annotated, with the reason.
        outside: Keypoints outside their picture, as ``"file: name at (x, y) in width×height"``.
        malformed: Annotations that cannot be used, each with its file, field and reason.
    """

    name: str
    root: Path
    splits: dict[str, SplitReport]
    missing: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    malformed: tuple[str, ...] = field(default=())

    @property
    def sound(self) -> bool:
        """Whether every pair can be used."""
        return not (self.missing or self.broken or self.malformed)

    def lines(self, most: int = 10) -> list[str]:
        """Return the report as lines of text, with at most ``most`` examples of each problem."""
        lines = [f"{find_dataset(self.name).title} in {self.root}"]
        for split, report in self.splits.items():
            counts = f"{report.pairs} pairs, {report.photos} photographs, {len(report.categories)} categories"
            lines.append(f"{split}: {counts}")
            lines.append(f"  categories: {_counts(report.categories)}")
            lines += [f"  {nuisance}: {_counts(values)}" for nuisance, values in report.nuisances.items()]
        problems = {
            "missing pictures": self.missing,
            "broken pictures": self.broken,
            "malformed annotations": self.malformed,
            "keypoints outside their picture": self.outside,
        }
        for title, examples in problems.items():
            lines.append(f"{title}: {len(examples)}")
            lines += [f"  {example}" for example in examples[:most]]
            if len(examples) > most:
                lines.append(f"  … and {len(examples) - most} more")
        return lines


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def check_dataset(
    name: str,
    root: Path | str,
    splits: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Load every split of a data set, read every picture, and report the contents and the problems.

    Args:
        name: A name from `semcorr.data.registry.DATASETS`; `recognise` finds it from the folder.
        root: The data set's folder.
        splits: Which splits to check; by default all that the folder holds.
        progress: Called with the number of pictures read so far and in total.

    Raises:
        DataError: If a list or a whole annotation file is missing or cannot be read.
    """
    chosen = splits_at(name, root) if splits is None else tuple(splits)
    if not chosen:
        expected = " or ".join(find_dataset(name).markers)
        raise DataError(f"{root} does not hold {find_dataset(name).title}: expected {expected}")
    sets = {split: load_dataset(name, root, split, skip_broken=True) for split in chosen}
    photos = [photo for pairs in sets.values() for pair in pairs for photo in (pair.source, pair.target)]
    errors = [error for pairs in sets.values() for error in pairs.skipped]
    errors += _unreadable({photo.path for photo in photos}, progress)
    pictures: dict[type, dict[Path, str]] = {MissingPictureError: {}, BrokenPictureError: {}}
    malformed = []
    for error in errors:
        if isinstance(error, (MissingPictureError, BrokenPictureError)):
            pictures[type(error)].setdefault(error.path, str(error))
        else:
            malformed.append(str(error))
    return Report(
        name=name,
        root=Path(root),
        splits={split: _count(pairs) for split, pairs in sets.items()},
        missing=tuple(pictures[MissingPictureError].values()),
        broken=tuple(pictures[BrokenPictureError].values()),
        outside=tuple(dict.fromkeys(line for photo in photos for line in _outside(photo))),
        malformed=tuple(malformed),
    )


def _unreadable(paths: Iterable[Path], progress: Callable[[int, int], None] | None) -> list[DataError]:
    errors: list[DataError] = []
    ordered = sorted(paths)
    for done, path in enumerate(ordered, start=1):
        try:
            check_picture(path, "pixels")
        except DataError as error:
            errors.append(error.with_traceback(None))
        if progress is not None:
            progress(done, len(ordered))
    return errors


def _outside(photo: Photo) -> list[str]:
    height, width = photo.size
    return [
        f"{photo.path}: {name} at ({x:g}, {y:g}) in {width}×{height}"
        for name, (x, y) in photo.keypoints.items()
        if not (0 <= x <= width and 0 <= y <= height)
    ]


def _count(pairs: PairSet) -> SplitReport:
    nuisances: dict[str, Counter[str]] = {}
    for pair in pairs:
        for nuisance, value in pair.nuisances.items():
            nuisances.setdefault(nuisance, Counter())[value] += 1
    return SplitReport(
        pairs=len(pairs),
        photos=len({photo.path for pair in pairs for photo in (pair.source, pair.target)}),
        categories=dict(sorted(Counter(pair.target.category for pair in pairs).items())),
        nuisances={nuisance: dict(sorted(counts.items())) for nuisance, counts in nuisances.items()},
    )
