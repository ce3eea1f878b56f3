"""Is a data set complete and sound? Counts, missing and broken pictures, keypoints outside their picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from semcorr.data.pairs import PairSet, Photo
from semcorr.data.records import BrokenPictureError, MissingPictureError, check_picture
from semcorr.data.registry import find_dataset, load_dataset, splits_at
from semcorr.errors import DataError


@dataclass(frozen=True)
class SplitReport:
    """What one split holds: pairs, different pictures, pairs by category, and by value of each nuisance."""

    pairs: int
    photos: int
    categories: dict[str, int]
    nuisances: dict[str, dict[str, int]]


@dataclass(frozen=True)
class Report:
    """What a data set holds, and what is wrong with it.

    Attributes:
        name: the data set.
        root: its folder.
        splits: split to its counts. Only what is sound is counted.
        missing: pictures that are named but not there.
        broken: pictures that cannot be decoded, or have another size than annotated, with the reason.
        outside: keypoints outside their picture, as ``"file: name at (x, y) in width×height"``. Annotators do
            click outside: such points are counted, not refused.
        malformed: annotations that cannot be used, each with its file, field and reason.
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
        """Return the report as text, with at most so many examples of each problem."""
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
    """Load every split of a data set, decode every picture, and report what is there and what is wrong.

    Args:
        name: one of the registry's names; `recognise` finds it from the folder.
        root: the data set's folder.
        splits: which splits to check; all that are there, if not given.
        progress: called with the pictures decoded so far and in all.

    Raises:
        DataError: a list or a whole annotation file is missing or cannot be read.
    """
    found = splits_at(name, root) if splits is None else tuple(splits)
    if not found:
        expected = " or ".join(find_dataset(name).markers)
        raise DataError(f"{root} does not hold {find_dataset(name).title}: expected {expected}")
    sets = {split: load_dataset(name, root, split, skip_broken=True) for split in found}
    photos = [photo for pairs in sets.values() for pair in pairs for photo in (pair.source, pair.target)]
    errors = [error for pairs in sets.values() for error in pairs.skipped]
    errors += _undecodable({photo.path for photo in photos}, progress)
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


def _undecodable(paths: Iterable[Path], progress: Callable[[int, int], None] | None) -> list[DataError]:
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
