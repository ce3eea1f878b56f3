"""SPair-71k (Min et al., 2019): 70,958 pairs in 18 classes, with four nuisances.

Layout of the folder, as in the public archive (it may also be in a subfolder ``SPair-71k``)::

    Layout/large/{trn,val,test}.txt          one pair name per line
    PairAnnotation/{trn,val,test}/<name>.json
    JPEGImages/<category>/*.jpg

Sizes are ``[width, height, channels]``, boxes ``[left, top, right, bottom]``, all in native pixels.
"""

from __future__ import annotations

from pathlib import Path

from semcorr.data.pairs import Pair, PairSet, Photo, gather, make_pair
from semcorr.data.pictures import Sizes
from semcorr.data.records import MAX_SIDE, Record, read_record, read_text, shorten
from semcorr.errors import DataError

SPLITS = ("trn", "val", "test")

DEGREES = ("easy", "medium", "hard")
SIDES = ("none", "source", "target", "both")
NUISANCES = {
    "viewpoint": ("viewpoint_variation", DEGREES),
    "scale": ("scale_variation", DEGREES),
    "truncation": ("truncation", SIDES),
    "occlusion": ("occlusion", SIDES),
}
"""Nuisance to its field in the annotation, and the meaning of the field's values."""


def load_spair(root: Path | str, split: str = "test", skip_broken: bool = False) -> PairSet:
    """Load SPair-71k's pairs. In its protocol, α is a fraction of the longer side of the target's box.

    Args:
        root: The folder described above.
        split: ``"trn"`` (or ``"train"``), ``"val"`` or ``"test"``.
        skip_broken: Leave out and count broken entries, instead of raising.
    """
    split = "trn" if split == "train" else split
    if split not in SPLITS:
        raise ValueError(f"SPair-71k has the splits {', '.join(SPLITS)}, got {split!r}")
    root, sizes = Path(root), Sizes()
    skipped: list[DataError] | None = [] if skip_broken else None
    root = root / "SPair-71k" if (root / "SPair-71k").is_dir() else root
    layout = root / "Layout" / "large" / f"{split}.txt"
    names = [line.strip() for line in read_text(layout).splitlines() if line.strip()]

    def read(name: str) -> Pair:
        inside = Record({"name": name}, str(layout)).inside("name")
        path = root / "PairAnnotation" / split / f"{inside}.json"
        if not path.exists():  # Windows allows no colon in a file name
            path = path.with_name(path.name.replace(":", "_"))
        return _pair(read_record(path), root, sizes)

    return PairSet(f"spair-71k {split}", gather(names, read, skipped), skipped or [])


def _pair(record: Record, root: Path, sizes: Sizes) -> Pair:
    ids = [_identifier(record, value) for value in record.sequence("kps_ids")]
    if not ids or len(set(ids)) != len(ids):
        record.fail("kps_ids", f"must be a non-empty list of distinct keypoint ids, got {shorten(ids)}")
    nuisances = {
        nuisance: meanings[record.integer(field, 0, len(meanings) - 1)]
        for nuisance, (field, meanings) in NUISANCES.items()
    }
    source, target = (_photo(record, side, ids, root, sizes) for side in ("src", "trg"))
    return make_pair(source, target, nuisances, record.where)


def _identifier(record: Record, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        record.fail("kps_ids", f"must contain integers or strings, got {shorten(value)}")
    return str(value)


def _photo(record: Record, side: str, ids: list[str], root: Path, sizes: Sizes) -> Photo:
    field = f"{side}_imsize"
    width, height, _ = (record.check_integer(field, value, 1, MAX_SIDE) for value in record.sequence(field, 3))
    size = height, width
    category = record.text("category")
    folder = root / "JPEGImages" / record.inside("category")
    path = record.picture(f"{side}_imname", folder, size, sizes)
    points = record.sequence(f"{side}_kps", len(ids))
    keypoints = {
        name: record.point(f"{side}_kps[{index}]", point, size)
        for index, (name, point) in enumerate(zip(ids, points, strict=True))
    }
    record.sequence(f"{side}_bndbox", 4)
    bbox = record.box(f"{side}_bndbox", size)
    return Photo(path, size, keypoints, bbox, category)
