"""Files of labels that are uploaded and downloaded, in every format of ``semcorr annotate``."""

from __future__ import annotations

import io
import re
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from semcorr.annotation.formats import find_format, read_labels
from semcorr.annotation.records import Annotation
from semcorr.app.pictures import clean_name
from semcorr.errors import DataError

UNPACKED = 200 << 20
"""Bytes that an uploaded archive may hold."""

_FILES = 20_000  # that an archive may hold
_DATE = (1980, 1, 1, 0, 0, 0)  # the same labels give the same archive

_IMAGE = re.compile(rb"^(\s*IMAGE\s*=\s*)(.*[/\\])", re.IGNORECASE | re.MULTILINE)


def exported(labels: Sequence[Annotation], name: str, images: Path) -> tuple[str, bytes]:
    """Return a file of labels: its name and content.

    Formats of several files come as a zip archive.

    Args:
        labels: What to write.
        name: The format's name.
        images: The folder of the pictures.

    Raises:
        DataError: If there is no such format, or it cannot hold the labels.
        SemcorrError: If a package is missing that the format is written with.
    """
    kind = find_format(name)
    stem = "CollectedData_semcorr" if name == "deeplabcut" else "labels"
    path = images / f"{stem}{kind.ending}"  # names in the file are relative to it
    files = kind.render(labels, path, images)
    if len(files) == 1 and path in files:
        return path.name, files[path]
    base = path if not kind.ending else path.parent
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, content in files.items():
            archive.writestr(zipfile.ZipInfo(file.relative_to(base).as_posix(), _DATE), content)
    return f"{stem}-{name}.zip", stream.getvalue()


def imported(content: bytes, name: str, images: Path) -> list[Annotation]:
    """Return the labels of an uploaded file: one in any of the formats, or a zip archive of the files of one.

    Args:
        content: The file.
        name: Its name, whose ending tells the format.
        images: The folder of the pictures; no picture outside it is looked up.

    Raises:
        DataError: If it is broken, or in none of the formats.
    """
    name = clean_name(name)
    with tempfile.TemporaryDirectory(prefix="semcorr-import-") as folder:
        path = Path(folder, name)
        if name.lower().endswith(".zip"):
            path = _unpacked(content, Path(folder), name)
        else:
            path.write_bytes(_IMAGE.sub(_without_folder, content) if name.lower().endswith(".tps") else content)
        try:
            return read_labels(path, images)
        except DataError as error:
            raise DataError(
                str(error).replace(f"{path}", name).replace(f"{folder}/", "").replace(folder, name)
            ) from None


def _without_folder(line: re.Match[bytes]) -> bytes:
    """Drop the folder of a picture in a TPS file, which is looked up, if it leads out of the pictures' folder."""
    folder = line[2].replace(b"\\", b"/")
    outside = folder.startswith((b"/", b"~")) or b":" in folder or b".." in folder.split(b"/")
    return line[1] if outside else line[0]


def _unpacked(content: bytes, folder: Path, name: str) -> Path:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [one for one in archive.infolist() if not one.is_dir()]
            if len(members) > _FILES or sum(one.file_size for one in members) > UNPACKED:
                raise DataError(f"{name} holds more than {_FILES} files, or more than {UNPACKED >> 20} MB")
            for member in members:
                parts = PurePosixPath(member.filename.replace("\\", "/")).parts
                if not parts or any(part in ("..", "/") or ":" in part for part in parts):
                    raise DataError(f"{name}: {member.filename[:80]!r} leads out of the archive")
                file = folder.joinpath(*parts)
                file.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as stream:  # a header may lie about the size
                    data = stream.read(member.file_size + 1)
                if len(data) > member.file_size:
                    raise DataError(f"{name}: {member.filename[:80]!r} is larger than it says")
                if file.suffix.lower() == ".tps":
                    data = _IMAGE.sub(_without_folder, data)
                file.write_bytes(data)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{name} is not a zip archive that can be read") from None
    inside = sorted(folder.iterdir())
    if len(inside) == 1:
        return inside[0]
    tables = [one for one in inside if one.suffix.lower() in (".csv", ".tps", ".parquet", ".json")]
    return tables[0] if len(tables) == 1 and not (folder / "data.yaml").exists() else folder
