"""The pictures of a data set: their sizes, and whether they can be read. `semcorr.image` is what reads them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from semcorr.errors import DataError, ImageError
from semcorr.geometry import Size
from semcorr.image import RASTER_FORMATS, load_image, picture_size


class MissingPictureError(DataError):
    """An annotation refers to a picture that does not exist."""

    def __init__(self, where: str, path: Path) -> None:
        super().__init__(f"{where}: picture {path} is missing")
        self.path = path


class BrokenPictureError(DataError):
    """An annotation refers to a picture that cannot be read, or that has another size than annotated."""

    def __init__(self, where: str, path: Path, reason: str) -> None:
        super().__init__(f"{where}: picture {path} {reason}")
        self.path = path


def list_pictures(folder: Path) -> list[Path]:
    """List the pictures in the subfolders of a folder, ``category/*``, of every format that is read.

    Suffixes count in either case. Hidden files are left out, among them the ``._`` files that macOS writes beside
    pictures on foreign disks.
    """
    suffixes = {ending for ending, kind in Image.registered_extensions().items() if kind in RASTER_FORMATS}
    suffixes |= {".heic", ".heif", ".avif"}  # also where this Pillow does not know them: then they are refused by name
    return sorted(
        path
        for path in folder.glob("*/*")
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    )


class Sizes:
    """Heights and widths of picture files, as they are shown; each is read once, from the file's header."""

    def __init__(self) -> None:
        self._known: dict[Path, Size] = {}

    def __call__(self, path: Path, where: str) -> Size:
        """Return the height and width of a picture.

        Args:
            path: The picture.
            where: The annotation that refers to it, for errors.

        Raises:
            MissingPictureError: If there is no such file.
            BrokenPictureError: If `semcorr.image` does not read it.
        """
        if path not in self._known:
            try:
                self._known[path] = picture_size(path)
            except FileNotFoundError:
                raise MissingPictureError(where, path) from None
            except ImageError as error:
                raise _broken(where, path, error) from None
        return self._known[path]


def check_picture(path: Path, where: str) -> None:
    """Read a picture completely, as matching does.

    Raises:
        MissingPictureError: If there is no such file.
        BrokenPictureError: If it cannot be read.
    """
    try:
        load_image(path)
    except FileNotFoundError:
        raise MissingPictureError(where, path) from None
    except ImageError as error:
        raise _broken(where, path, error) from None


def _broken(where: str, path: Path, error: ImageError) -> BrokenPictureError:
    reason = str(error).removeprefix(repr(str(path))).strip()
    return BrokenPictureError(where, path, f"cannot be used: {reason}")
