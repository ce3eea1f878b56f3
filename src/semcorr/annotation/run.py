"""Label pictures: in Python as a stream of records, or durably into files as the command does."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeAlias

from semcorr.annotation.exemplars import Exemplar, choose, prepare, read_exemplars
from semcorr.annotation.formats import read_labels
from semcorr.annotation.journal import Journal
from semcorr.annotation.labeller import Labeller
from semcorr.annotation.outputs import Output, check_formats, check_outputs, write_outputs
from semcorr.annotation.pictures import Pictures, Target, find_pictures
from semcorr.annotation.records import Annotation, find_picture
from semcorr.annotation.report import check_report, render_report
from semcorr.annotation.settings import Settings
from semcorr.errors import DataError
from semcorr.geometry import Size
from semcorr.image import picture_size

if TYPE_CHECKING:
    from semcorr.models.matcher import Matcher

PathLike: TypeAlias = "str | os.PathLike[str]"
Engine: TypeAlias = "Callable[[Sequence[Exemplar], Settings, Iterator[Target]], Iterator[tuple[Target, Annotation]]]"
"""Labels targets, in any order."""


@dataclass(frozen=True, eq=False)
class Job:
    """What is to be labelled, and from what.

    Attributes:
        exemplars: Given exemplars, then confirmed pictures, as many as are used.
        pictures: The pictures to label.
        settings: What the user chose.
        kept: Picture to the annotations that a person made or confirmed: they are passed on as they are.
        inputs: Files that were read, besides the pictures; they are never written over.
    """

    exemplars: Sequence[Exemplar]
    pictures: Pictures
    settings: Settings
    kept: dict[str, list[Annotation]] = field(default_factory=dict)
    inputs: Sequence[Path] = ()

    def fingerprint(self, model: str) -> str:
        """Return a checksum of everything that the labels of a picture depend on, except the picture."""
        content = [model, asdict(self.settings), [one.fingerprint for one in self.exemplars]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def count(self) -> int | None:
        """How many targets there are; None if that is only known at the end."""
        return None if self.pictures.shards else sum(1 for _ in self.targets())

    def targets(self) -> Iterator[Target]:
        """What is left to label: all but the pictures that a person has labelled."""
        return (target for target in self.pictures if target.picture not in self.kept)


def plan(
    exemplars: Sequence[tuple[Annotation, Path]],
    pictures: Pictures,
    settings: Settings,
    confirmed: Sequence[Annotation] = (),
) -> Job:
    """Read the exemplars' pictures, and settle which pictures are left to label.

    Exemplars are cut to their object where the targets have boxes, or where their picture shows several objects.

    Args:
        exemplars: Labelled objects and their pictures' files.
        pictures: The pictures to label.
        settings: What the user chose.
        confirmed: Annotations of some of the pictures that a person has confirmed; they become exemplars, too.

    Raises:
        DataError: If an exemplar does not fit its picture.
        ImageError: If an exemplar's picture cannot be read.
    """
    names = {file.resolve(): name for name, file in pictures.files}
    confirmed = named_alike(confirmed, [name for name, _ in pictures.files])
    kept: dict[str, list[Annotation]] = {}
    for annotation in confirmed:
        kept.setdefault(annotation.picture, []).append(annotation)
    for annotation, path in exemplars:
        name = names.get(path.resolve())
        if name is not None and name not in {one.picture for one in confirmed}:
            kept.setdefault(name, []).append(replace(annotation, picture=name, confirmed=True))
    files = dict(pictures.files)
    again = {path.resolve() for _, path in exemplars}
    sources = [*exemplars]
    for annotation in confirmed:
        file = files.get(annotation.picture)
        if file is None and pictures.root is not None:
            file = find_picture(annotation.picture, pictures.root)
        if annotation.labelled and file is not None and file.resolve() not in again:
            sources.append((annotation, file))
    used = [sources[i] for i in choose(len(sources), len(exemplars), settings.most_exemplars)]
    several = {path for _, path in sources if sum(path == other for _, other in sources) > 1}
    ready = [prepare(one, path, settings.margin if pictures.boxes or path in several else None) for one, path in used]
    sized = {name: [replace(one, size=one.size or _size(name, files)) for one in ones] for name, ones in kept.items()}
    return Job(ready, pictures, settings, sized)


def named_alike(annotations: Sequence[Annotation], names: Sequence[str]) -> list[Annotation]:
    """Return annotations under the pictures' names, where their file names a picture by another path."""
    known = set(names)
    by_file: dict[str, list[str]] = {}
    for name in names:
        by_file.setdefault(PurePosixPath(name).name, []).append(name)
    renamed = []
    for one in annotations:
        same = by_file.get(PurePosixPath(one.picture).name, [])
        longest = [name for name in same if f"/{one.picture}".endswith(f"/{name}")] or same
        path = longest[0] if one.picture not in known and len(longest) == 1 else one.picture
        renamed.append(replace(one, picture=path))
    return renamed


def _size(picture: str, files: dict[str, Path]) -> Size | None:
    return picture_size(files[picture]) if picture in files else None


def annotate(
    exemplars: PathLike | Sequence[PathLike],
    pictures: PathLike,
    *,
    model: str | Matcher = "pmnc",
    settings: Settings | None = None,
    images: PathLike | None = None,
    boxes: PathLike | None = None,
    confirmed: PathLike | None = None,
) -> Iterator[Annotation]:
    """Label pictures like a few labelled ones: `semcorr annotate` as a stream of records.

    Args:
        exemplars: One or more annotation files: COCO, Labelme, DeepLabCut, Lightning Pose, TPS, Label Studio, YOLO …
        pictures: A folder, a picture, a list of paths, a COCO file, or WebDataset shards.
        model: A model's name, or a loaded model.
        settings: Thresholds, margin and the like.
        images: The folder of the exemplars' pictures, if they are not beside their file.
        boxes: A file of the objects' boxes; see `semcorr.annotation.pictures.find_pictures`.
        confirmed: An output that a person has corrected: what they confirmed is kept, and serves as exemplars.

    Yields:
        An annotation for each object, in the order of the pictures; one with an ``error`` for each that cannot be read.

    Raises:
        DataError: If a file is missing or broken; the message says where.

    >>> import semcorr
    >>> for annotation in semcorr.annotate("exemplar.json", "photographs"):    # doctest: +SKIP
    ...     print(annotation.picture, annotation.score, annotation.points["nose"])
    """
    import semcorr

    paths = [exemplars] if isinstance(exemplars, (str, os.PathLike)) else exemplars
    folder = None if images is None else Path(images)
    targets = find_pictures(Path(pictures), boxes=None if boxes is None else Path(boxes))
    known = [] if confirmed is None else read_confirmed(Path(confirmed), targets.root)
    chosen = settings or Settings()
    job = plan(read_exemplars([Path(path) for path in paths], folder), targets, chosen, known)
    matcher = semcorr.load(model) if isinstance(model, str) else model
    labelled = Labeller(matcher, job.exemplars, chosen).label(job.targets())
    passed: set[str] = set()
    following = next(labelled, None)
    for target in job.pictures:
        if target.picture in job.kept:
            if target.picture not in passed:
                passed.add(target.picture)
                yield from job.kept[target.picture]
        elif following is not None:
            yield following[1]
            following = next(labelled, None)


def read_confirmed(path: Path, images: Path | None, predicted: Path | None = None) -> list[Annotation]:
    """Return the annotations of a corrected output that a person has confirmed.

    Those are the ones marked so, those changed since they were written, and those that a person made. COCO, Labelme,
    tables and semcorr's JSON tell by themselves; Label Studio by having annotations besides predictions. For other
    formats ``predicted`` tells, and without it every picture of the file counts as confirmed.

    Args:
        path: The corrected file or folder.
        images: The folder of the pictures.
        predicted: The file as it was written.

    Raises:
        DataError: If one of them is broken.
    """
    annotations = read_labels(path, images)
    if predicted is not None:
        before = {(one.picture, one.digest) for one in read_labels(predicted, images)}
        annotations = [one for one in annotations if (one.picture, one.digest) not in before]
    # a picture without any point is one that tpsUtil has listed and nobody has digitised
    return [replace(one, confirmed=True) for one in annotations if one.confirmed and one.points]


def run(
    job: Job,
    outputs: Sequence[Output],
    model: str,
    engine: Engine,
    *,
    report: Path | None = None,
    overwrite: bool = False,
    fresh: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> list[Annotation]:
    """Label everything durably, and write the outputs.

    Args:
        job: What to label.
        outputs: Files to write; the journal lies beside the first.
        model: The model's name and whatever else tells it from others.
        engine: What labels.
        report: A page of what to check first, to write with them.
        overwrite: Replace existing outputs.
        fresh: Start over, ignoring the journal of an interrupted run.
        progress: Told how many targets are done, and how many there are, if that is known.

    Returns:
        All annotations in the order of the pictures.

    Raises:
        DataError: If an output exists, or a file of the run is broken.
        SemcorrError: If the disk is full: repeat the run to go on.
    """
    path = outputs[0].path.with_name(f"{outputs[0].path.name}.progress")
    sources = [*job.inputs, *job.pictures.shards, *(file for _, file in job.pictures.files)]
    goes_on = path.exists() and not fresh
    if report is not None:
        check_report(report, sources, overwrite, goes_on)
    check_outputs(outputs, sources, overwrite, goes_on)
    named = [] if job.pictures.shards else [one.picture for one in job.pictures]
    check_formats(outputs, named, job.pictures.root, sources)
    order: dict[str, str] = {}  # key of each target to its picture

    def unfinished() -> Iterator[Target]:
        for target in job.pictures:
            order[target.key] = target.picture
            if target.picture not in job.kept and target.key not in journal.done:
                yield target

    with Journal(path, job.fingerprint(model), fresh) as journal:
        count = job.count
        for target, annotation in engine(job.exemplars, job.settings, unfinished()):
            journal.add(target.key, annotation)
            if progress is not None:
                progress(len(journal.done), count)
    annotations = _in_order(order, journal.done, job.kept)
    if not annotations:
        raise DataError("there was no picture to label")
    page = {} if report is None else {report: render_report(annotations, job.pictures, len(job.exemplars))}
    write_outputs(outputs, annotations, job.pictures.root, overwrite, page)
    path.unlink()
    return annotations


def _in_order(
    order: dict[str, str], done: dict[str, Annotation], kept: dict[str, list[Annotation]]
) -> list[Annotation]:
    annotations: list[Annotation] = []
    passed: set[str] = set()
    for key, picture in order.items():
        if picture not in kept:
            annotations.append(done[key])
        elif picture not in passed:
            passed.add(picture)
            annotations += kept[picture]
    return annotations
