"""PF-WILLOW (Ham et al., CVPR 2016): 900 pairs in ten classes, ten keypoints in every photograph.

Layout of the folder, as the public archive and list have it::

    PF-dataset/<class>/<name>.png         from PF-dataset.zip
    test_pairs_pf.csv                     imageA, imageB, XA1…XA10, YA1…YA10, XB1…XB10, YB1…YB10

All x coordinates of a photograph come before its y coordinates, in native pixels. The list may also be named
``test_pairs.csv``, and may be in ``PF-dataset``.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from semcorr.data.pairs import Pair, PairSet, Photo, gather, make_pair
from semcorr.data.pictures import Sizes
from semcorr.data.records import Record, first_existing, parse_numbers, read_table
from semcorr.errors import DataError

POINTS = 10
PADDING = (-1.0, -1.0)
"""Some re-exported lists contain this in place of a point that is not annotated: it is left out."""

COLUMNS = (
    "imageA",
    "imageB",
    *(f"{axis}{image}{i}" for image in "AB" for axis in "XY" for i in range(1, POINTS + 1)),
)


def load_pf_willow(root: Path | str, split: str = "test", skip_broken: bool = False) -> PairSet:
    """Load PF-WILLOW's pairs, from the first photograph of a row (A, the source) to the second.

    In its protocol, α is a fraction of the extent of the target's keypoints.

    Args:
        root: The folder described above.
        split: Only ``"test"`` exists.
        skip_broken: Leave out and count broken entries, instead of raising.
    """
    if split != "test":
        raise ValueError(f"PF-WILLOW has only the split 'test', got {split!r}")
    root, sizes = Path(root), Sizes()
    skipped: list[DataError] | None = [] if skip_broken else None
    names = ("test_pairs_pf.csv", "test_pairs.csv")
    path = first_existing(*(folder / name for folder in (root, root / "PF-dataset") for name in names))

    def read(row: Record) -> Pair:
        return make_pair(_photo(row, "A", root, sizes), _photo(row, "B", root, sizes), {}, row.where)

    return PairSet("pf-willow test", gather(read_table(path, COLUMNS), read, skipped), skipped or [])


def _photo(row: Record, image: str, root: Path, sizes: Sizes) -> Photo:
    field = f"image{image}"
    path = row.picture(field, root, None, sizes)
    size = sizes(path, row.where)
    keypoints = {}
    for number in range(1, POINTS + 1):
        columns = f"X{image}{number}", f"Y{image}{number}"
        x, y = (parse_numbers(row, column, row.text(column))[0] for column in columns)
        if (x, y) != PADDING:
            keypoints[str(number)] = row.point("/".join(columns), [x, y], size)
    parts = PurePosixPath(row.text(field)).parts
    if len(parts) < 2:
        row.fail(field, f"must name its class as a folder, got {parts[0]!r}")
    return Photo(path, size, keypoints, None, parts[-2])
