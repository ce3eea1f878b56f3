"""Check a data set: count its pairs, and list missing and broken pictures and misplaced keypoints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semcorr.data.formats.keypoints import load_photos
from semcorr.data.pairs import PairSet, Photo
from semcorr.data.pictures import BrokenPictureError, MissingPictureError, check_picture
from semcorr.data.registry import DATASETS, find_dataset, load_dataset, splits_at
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
        left_out: What is left out although it is not broken: description to number.
    """

    name: str
    root: Path
    splits: dict[str, SplitReport]
    missing: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    malformed: tuple[str, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)

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
        lines += [f"left out: {count} {what}" for what, count in self.left_out.items()]
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
    **options: Any,
) -> Report:
    """Load every split of a data set, read every picture, and report the contents and the problems.

    Args:
        name: A name from `semcorr.data.registry.DATASETS`; `recognise` finds it from the folder.
        root: The data set's folder.
        splits: Which splits to check; by default all that the folder holds.
        progress: Called with the number of pictures read so far and in total.
        **options: Options of the data set's loader, such as ``annotations`` and ``images`` of a COCO file.

    Raises:
        DataError: If a list or a whole annotation file is missing or cannot be read.
    """
    sets = _load(name, root, splits, options)
    errors = [error for pairs in sets.values() for error in pairs.skipped]
    training = _training_photos(name, root, errors) if splits is None else []
    photos = [photo for pairs in sets.values() for pair in pairs for photo in (pair.source, pair.target)] + training
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
        left_out=dict(sum((Counter(pairs.left_out) for pairs in sets.values()), Counter[str]())),
        splits={split: _count(pairs) for split, pairs in sets.items()}
        | ({"train": _count_photos(training)} if training else {}),
        missing=tuple(pictures[MissingPictureError].values()),
        broken=tuple(pictures[BrokenPictureError].values()),
        outside=tuple(dict.fromkeys(line for photo in photos for line in _outside(photo))),
        malformed=tuple(malformed),
    )


def _load(name: str, root: Path | str, splits: Sequence[str] | None, options: dict[str, Any]) -> dict[str, PairSet]:
    """Load the splits of a data set: all that are in the folder, or the one that a given annotation file is for."""
    dataset = find_dataset(name)
    chosen = tuple(splits or (dataset.splits[-1:] if options else splits_at(name, root)))
    if not chosen:
        raise DataError(f"{root} does not hold {dataset.title}: expected {' or '.join(dataset.markers)}")
    return {split: load_dataset(name, root, split, skip_broken=True, **options) for split in chosen}


def _training_photos(name: str, root: Path | str, errors: list[DataError]) -> list[Photo]:
    """Load the photographs of a split for training, which has no list of pairs."""
    if find_dataset(name) is not DATASETS["keypoints"] or not Path(root, "train.json").is_file():
        return []
    return load_photos(root, "train", errors)


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


def _count_photos(photos: list[Photo]) -> SplitReport:
    return SplitReport(0, len(photos), dict(sorted(Counter(photo.category for photo in photos).items())), {})


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
