"""PF-PASCAL (Ham et al., TPAMI 2017), with the pair lists of SCNet and NC-Net that all papers use.

Layout of the folder, as ``semcorr data download pf-pascal`` creates it::

    PF-dataset-PASCAL/JPEGImages/<name>.jpg           from PF-dataset-PASCAL.zip
    PF-dataset-PASCAL/Annotations/<class>/<name>.mat  kps (K, 2), NaN where unseen; bbox
    image_pairs/{train,val,test}_pairs.csv

The test list contains the keypoints, ``XA``, ``YA``, ``XB`` and ``YB``, separated by semicolons, in pixels of the
photograph resized to a longest side of 300; they are converted to native pixels. The other lists only name photographs,
whose keypoints are in the annotations. The training list contains every pair twice, the second time (``flip`` 1) to be
mirrored: those entries are left out, because training mirrors pairs itself.

95 of the 299 test pairs are also training pairs: their nuisance ``overlap`` is ``"in training"``, that of the other 204
is ``"clean"``. (35 of these 204 are validation pairs, which a model may have been selected on.)
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from semcorr.data.formats.matlab import read_matlab
from semcorr.data.pairs import Box, Pair, PairSet, Photo, gather, make_pair
from semcorr.data.pictures import Sizes
from semcorr.data.records import Record, first_existing, parse_numbers, read_table
from semcorr.errors import DataError

SPLITS = ("train", "val", "test")

CATEGORIES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable"),
    *("dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The classes in the order of their numbers, which start at 1."""

LIST_SIDE = 300
"""The test list's coordinates are those of photographs resized to this longest side, in pixels."""

IMAGES = ("source_image", "target_image")


def load_pf_pascal(root: Path | str, split: str = "test", skip_broken: bool = False) -> PairSet:
    """Load PF-PASCAL's pairs, from the first photograph of a row (the source) to the second.

    Its protocol squashes both photographs to a square, and α is a fraction of the square's side. NC-Net's code
    transfers points from the second photograph to the first: `Pair.swapped` gives that direction.

    Args:
        root: The folder described above.
        split: ``"train"``, ``"val"`` or ``"test"``.
        skip_broken: Leave out and count broken entries, instead of raising.
    """
    if split not in SPLITS:
        raise ValueError(f"PF-PASCAL has the splits {', '.join(SPLITS)}, got {split!r}")
    root, sizes = Path(root), Sizes()
    skipped: list[DataError] | None = [] if skip_broken else None
    in_training = _training_pairs(root) if split == "test" else frozenset()

    def read(row: Record) -> Pair:
        if split != "test":
            source, target = (_annotated_photo(row, field, root, sizes) for field in IMAGES)
            return make_pair(source, target, {}, row.where)
        _check_counts(row)
        source, target = (
            _listed_photo(row, field, image, root, sizes) for field, image in zip(IMAGES, "AB", strict=True)
        )
        overlap = "in training" if _names(row) in in_training else "clean"
        return make_pair(source, target, {"overlap": overlap}, row.where)

    columns = (*IMAGES, "class", *(("XA", "YA", "XB", "YB") if split == "test" else ()))
    rows = read_table(_list_path(root, split), columns)
    pairs = gather([row for row in rows if row.values.get("flip", "0") != "1"], read, skipped)
    return PairSet(f"pf-pascal {split}", pairs, skipped or [])


def _list_path(root: Path, split: str) -> Path:
    return first_existing(root / "image_pairs" / f"{split}_pairs.csv", root / f"{split}_pairs.csv")


def _names(row: Record) -> frozenset[str]:
    return frozenset(PurePosixPath(row.text(field)).name for field in IMAGES)


def _training_pairs(root: Path) -> frozenset[frozenset[str]]:
    return frozenset(_names(row) for row in read_table(_list_path(root, "train"), IMAGES))


def _category(row: Record) -> str:
    text = row.text("class").strip()
    number = int(text) if text.isdecimal() and len(text) < 10 else None
    return CATEGORIES[row.check_integer("class", text if number is None else number, 1, len(CATEGORIES)) - 1]


def _check_counts(row: Record) -> None:
    counts = {field: row.text(field).count(";") + 1 for field in ("XA", "YA", "XB", "YB")}
    for field, count in counts.items():
        if count != counts["XA"]:
            row.fail(field, f"holds {count} numbers, but 'XA' holds {counts['XA']}")


def _listed_photo(row: Record, field: str, image: str, root: Path, sizes: Sizes) -> Photo:
    """Return a photograph with its keypoints from the test list, named by their index in the row."""
    path = row.picture(field, root, None, sizes)
    size, category = sizes(path, row.where), _category(row)
    scale = max(size) / LIST_SIDE
    x, y = (parse_numbers(row, f"{axis}{image}", row.text(f"{axis}{image}")) for axis in "XY")
    keypoints = {
        str(number): row.point(f"X{image}/Y{image}", [scale * point[0], scale * point[1]], size)
        for number, point in enumerate(zip(x, y, strict=True))
    }
    annotation = _annotation_path(root, category, path)
    bbox = _read_annotation(annotation, size)[1] if annotation.exists() else None
    return Photo(path, size, keypoints, bbox, category)


def _annotated_photo(row: Record, field: str, root: Path, sizes: Sizes) -> Photo:
    """Return a photograph with the keypoints from its annotation file."""
    path = row.picture(field, root, None, sizes)
    size, category = sizes(path, row.where), _category(row)
    keypoints, bbox = _read_annotation(_annotation_path(root, category, path), size)
    return Photo(path, size, keypoints, bbox, category)


def _annotation_path(root: Path, category: str, picture: Path) -> Path:
    return root / "PF-dataset-PASCAL" / "Annotations" / category / f"{picture.stem}.mat"


def _read_annotation(path: Path, size: tuple[int, int]) -> tuple[dict[str, tuple[float, float]], Box | None]:
    """Return the keypoints of a photograph, named by their row, and its box."""
    if not path.exists():
        raise DataError(f"{path} is missing: unpack PF-dataset-PASCAL.zip completely")
    arrays = read_matlab(path, ("kps", "bbox"))
    record = Record({name: array.tolist() for name, array in arrays.items()}, str(path))
    keypoints = {}
    for number, values in enumerate(record.sequence("kps")):
        if isinstance(values, list) and len(values) == 2 and any(value != value for value in values):
            continue  # NaN: not visible in this photograph
        keypoints[str(number)] = record.point(f"kps row {number}", values, size)
    if not keypoints:
        record.fail("kps", "has no annotated point")
    corners = record.sequence("bbox")
    box = corners[0] if len(corners) == 1 else corners
    return keypoints, Record({"bbox": box}, record.where).box("bbox", size)
