"""MP-100, the benchmark of category-agnostic pose estimation: objects of 100 categories, in five splits.

Its files are in COCO form, ``annotations/mp100_split{1…5}_{train,val,test}.json``; pictures lie in ``images``. A
picture may show several objects. A keypoint's name is its identity: objects of a category share names, not the places
of the visible ones among them.
"""

from __future__ import annotations

from pathlib import Path

from semcorr.data.formats.coco import load_coco_photos
from semcorr.data.pairs import Photo
from semcorr.data.records import first_existing
from semcorr.errors import DataError

SPLITS = ("1", "2", "3", "4", "5")


def load_mp100(
    root: Path | str,
    split: str = "1",
    part: str = "test",
    skipped: list[DataError] | None = None,
    *,
    check: bool = True,
) -> dict[str, list[Photo]]:
    """Load the objects of one split, by category.

    Args:
        root: The folder of ``annotations`` and ``images``, or of the files themselves.
        split: ``"1"`` to ``"5"``.
        part: ``"train"``, ``"val"`` or ``"test"``; their categories are different.
        skipped: With a list, broken entries are left out and their errors added to it; without, they raise.
        check: Make sure that each picture exists and has the annotated size.

    Returns:
        Category to its objects, each with a box and at least one visible keypoint.

    Raises:
        DataError: If there is no such split, or an entry is malformed.
    """
    if split not in SPLITS:
        raise DataError(f"MP-100 has the splits {', '.join(SPLITS)}; got {split!r}")
    root, name = Path(root), f"mp100_split{split}_{part}.json"
    annotations = first_existing(root / "annotations" / name, root / name, root / "annotation" / name)
    images = root / "images" if (root / "images").is_dir() else root
    categories: dict[str, list[Photo]] = {}
    for photo in load_coco_photos(annotations, images, skipped, several=True, check=check):
        if photo.bbox is None:
            raise DataError(f"{annotations}: an object in {photo.path.name} has no box, which the protocol crops it to")
        categories.setdefault(photo.category, []).append(photo)
    if not categories:
        raise DataError(f"{annotations} holds no object with a visible keypoint")
    return categories
