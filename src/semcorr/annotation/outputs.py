"""Where labels go: one file or several, none of them written over without being asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from semcorr.annotation.formats import FORMATS, find_format, format_for_writing
from semcorr.annotation.records import Annotation, Point
from semcorr.errors import DataError
from semcorr.files import write_bytes


@dataclass(frozen=True)
class Output:
    """A file or folder of labels to write.

    Attributes:
        path: Where.
        name: The name of its format.
    """

    path: Path
    name: str

    @classmethod
    def parse(cls, path: Path, name: str | None) -> Output:
        """Return the output, its format named or taken from the path's ending.

        Raises:
            DataError: If there is no such format.
        """
        name = name or format_for_writing(path)
        find_format(name)
        return cls(path.with_suffix(".csv") if path.suffix == ".h5" else path, name)

    @property
    def exists(self) -> bool:
        """Whether something is there that writing would replace."""
        if FORMATS[self.name].ending:
            return self.path.exists()
        return self.path.is_dir() and any(self.path.iterdir())


def check_outputs(outputs: Sequence[Output], inputs: Sequence[Path], overwrite: bool, goes_on: bool) -> None:
    """Refuse to write over anything that the user did not ask to replace, and over inputs in any case.

    Args:
        outputs: What will be written.
        inputs: Files and folders that the run reads.
        overwrite: Whether the user asked to replace existing outputs.
        goes_on: Whether the run goes on with one that was interrupted, perhaps while it wrote them.

    Raises:
        DataError: If so.
    """
    read = {path.resolve() for path in inputs}
    for output in outputs:
        if output.path.resolve() in read:
            raise DataError(f"{output.path} is an input, which is never written over; choose another --out")
        if output.exists and not overwrite and not goes_on:
            raise DataError(f"{output.path} exists; choose another --out, or replace it with --overwrite")
        folder = output.path.parent
        if not folder.is_dir():
            raise DataError(f"{folder} is no folder; create it, or choose another --out")


def check_formats(
    outputs: Sequence[Output], pictures: Sequence[str], images: Path | None, inputs: Sequence[Path]
) -> None:
    """Refuse what a format cannot hold, such as two objects of a picture, before any work is done.

    Args:
        outputs: What will be written.
        pictures: The picture of each target.
        images: The folder of the pictures.
        inputs: Files that the run reads: none of the files of a folder may be one of them either.

    Raises:
        DataError: If so.
        SemcorrError: If a package is missing that a format is written with.
    """
    likely = [Annotation(picture, (1, 1), {"point": Point(0.5, 0.5)}) for picture in pictures]
    read = {path.resolve() for path in inputs}
    for output in outputs:
        for file in FORMATS[output.name].render(likely, output.path, images):
            if file.resolve() in read:
                raise DataError(f"{file} is an input, which is never written over; choose another --out")


def write_outputs(
    outputs: Sequence[Output],
    annotations: Sequence[Annotation],
    images: Path | None,
    overwrite: bool,
    others: Mapping[Path, bytes] | None = None,
) -> list[Path]:
    """Write every output; each file is replaced at once, when its content is complete.

    Args:
        outputs: What to write.
        annotations: The labels, in order.
        images: The folder of the pictures.
        overwrite: Whether existing files may be replaced by others; files that would not change may be there.
        others: Further files to write with them.

    Returns:
        The files.

    Raises:
        DataError: If a file is in the way, or a format cannot hold the labels; then nothing was written.
    """
    files: dict[Path, bytes] = {}
    for output in outputs:
        files |= FORMATS[output.name].render(annotations, output.path, images)
    files |= others or {}
    for path, content in files.items():
        if not overwrite and path.exists() and (not path.is_file() or path.read_bytes() != content):
            raise DataError(f"{path} exists and differs; move it, or replace it with --overwrite")
    for path, content in files.items():
        write_bytes(path, content)
    return list(files)
