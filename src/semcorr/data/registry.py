"""The data sets by name: how each is loaded, and the protocol by which it is scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from semcorr.data.formats.coco import load_coco, load_coco_photos
from semcorr.data.formats.keypoints import load_pairs, load_photos
from semcorr.data.formats.pf_pascal import load_pf_pascal
from semcorr.data.formats.pf_willow import load_pf_willow
from semcorr.data.formats.spair import load_spair
from semcorr.data.pairs import PairSet, Photo
from semcorr.data.records import first_existing
from semcorr.errors import DataError, did_you_mean
from semcorr.files import local_path


@dataclass(frozen=True)
class Dataset:
    """A known data set.

    Attributes:
        title: Its name in print.
        load: ``load(root, split, skip_broken=…)`` returns its pairs.
        splits: The splits that have pairs; papers report the last one.
        markers: File patterns that tell the data set from others; ``{split}`` stands for a split.
        threshold: What its protocol takes α as a fraction of: see `semcorr.metrics.pck`.
        space: ``"square"`` if its protocol squashes both pictures to a square, otherwise ``"native"``.
        training: The splits that can be trained on.
        photos: ``photos(root, split)`` returns the photographs of a split, where pairs are drawn and not listed.
    """

    title: str
    load: Callable[..., PairSet]
    splits: tuple[str, ...]
    markers: tuple[str, ...]
    threshold: Literal["image", "bbox", "keypoints"]
    space: Literal["native", "square"] = "native"
    training: tuple[str, ...] = ("train",)
    photos: Callable[..., list[Photo]] = load_photos


def _load_coco_2017(root: Path | str, split: str = "val", **options: Any) -> PairSet:
    """Load people from COCO's own layout, or any COCO file, given as ``annotations`` and ``images``."""
    root = Path(root)
    annotations = options.pop("annotations", root / "annotations" / f"person_keypoints_{split}2017.json")
    images = options.pop("images", root / f"{split}2017")
    return load_coco(annotations, images, **options)


def _load_ap10k(root: Path | str, split: str = "test", **options: Any) -> PairSet:
    """Load AP-10K from its own layout: ``annotations/ap10k-{split}-split1.json`` and ``data``."""
    root = first_existing(Path(root) / "ap-10k", Path(root))
    return load_coco(root / "annotations" / f"ap10k-{split}-split1.json", root / "data", **options)


def _coco_2017_photos(root: Path | str, split: str, **files: Path) -> list[Photo]:
    """Load the photographs of COCO's own layout, or of any COCO file, given as ``annotations`` and ``images``."""
    root = Path(root)
    annotations = files.get("annotations", root / "annotations" / f"person_keypoints_{split}2017.json")
    return load_coco_photos(annotations, files.get("images", root / f"{split}2017"))


def _ap10k_photos(root: Path | str, split: str) -> list[Photo]:
    """Load the photographs of AP-10K's own layout."""
    root = first_existing(Path(root) / "ap-10k", Path(root))
    return load_coco_photos(root / "annotations" / f"ap10k-{split}-split1.json", root / "data")


DATASETS: dict[str, Dataset] = {
    "pf-pascal": Dataset(
        title="PF-PASCAL",
        load=load_pf_pascal,
        splits=("train", "val", "test"),
        markers=("image_pairs/{split}_pairs.csv", "{split}_pairs.csv"),
        threshold="image",
        space="square",
    ),
    "pf-willow": Dataset(
        title="PF-WILLOW",
        load=load_pf_willow,
        splits=("test",),
        markers=("PF-dataset/*", "test_pairs_pf.csv"),
        threshold="keypoints",
        training=(),
    ),
    "spair-71k": Dataset(
        title="SPair-71k",
        load=load_spair,
        splits=("trn", "val", "test"),
        markers=("Layout/large/{split}.txt", "SPair-71k/Layout/large/{split}.txt"),
        threshold="bbox",
        training=("trn",),
    ),
    "ap-10k": Dataset(
        title="AP-10K",
        load=_load_ap10k,
        splits=("train", "val", "test"),
        markers=("annotations/ap10k-{split}-split1.json", "ap-10k/annotations/ap10k-{split}-split1.json"),
        threshold="bbox",
        photos=_ap10k_photos,
    ),
    "coco": Dataset(
        title="COCO keypoints",
        load=_load_coco_2017,
        splits=("train", "val"),
        markers=("annotations/person_keypoints_{split}2017.json",),
        threshold="bbox",
        photos=_coco_2017_photos,
    ),
    "keypoints": Dataset(
        title="photographs with named keypoints",
        load=load_pairs,
        splits=("val", "test"),
        markers=("{split}_pairs.json",),
        threshold="image",
    ),
}


def find_dataset(name: str) -> Dataset:
    """Return the data set of this name, ignoring case and hyphens.

    Raises:
        DataError: If there is none; the message suggests the nearest name.
    """
    known = {key.replace("-", ""): key for key in DATASETS}
    plain = name.lower().replace("-", "").replace("_", "").replace(" ", "")
    if plain in known:
        return DATASETS[known[plain]]
    raise DataError(
        f"unknown data set {name!r}{did_you_mean(name.lower(), DATASETS)}; choose one of {', '.join(DATASETS)}"
    )


def load_dataset(name: str, root: Path | str, split: str = "test", **options: Any) -> PairSet:
    """Load the pairs of a data set.

    Args:
        name: A name from `DATASETS`.
        root: The folder that holds it.
        split: One of its splits.
        **options: The options of its loader: ``skip_broken`` for all; ``annotations``, ``images``, ``pairs``,
            ``count``, ``seed`` and ``min_shared`` for COCO files.
    """
    return find_dataset(name).load(root, split, **options)


def splits_at(name: str, root: Path | str) -> tuple[str, ...]:
    """Return the splits of a data set that a folder holds."""
    dataset, root = find_dataset(name), Path(root)
    return tuple(
        split
        for split in dataset.splits
        if any(any(root.glob(marker.format(split=split))) for marker in dataset.markers)
    )


def recognise(root: Path | str) -> str:
    """Return the name of the data set that a folder holds.

    Raises:
        DataError: If it cannot be told from the files in the folder.
    """
    names = [name for name in DATASETS if splits_at(name, root)]
    if "pf-willow" in names:  # both have a list of pairs named test_pairs.csv
        names = [name for name in names if name != "pf-pascal"]
    if len(names) != 1:
        reason = f"could be {' or '.join(names)}" if names else f"holds none of {', '.join(DATASETS)}"
        raise DataError(f"{root} {reason}: give the data set's name")
    return names[0]


def locate_dataset(dataset: str, root: Path | None, files: dict[str, Path]) -> tuple[str, Path]:
    """Return a data set's name and folder, from its name and the root, or from the folder alone.

    Args:
        dataset: The name, or the folder.
        root: The folder, where the name is given.
        files: ``annotations`` and ``images`` of a COCO file, if given.

    Raises:
        DataError: If the two do not say which data set it is and where.
    """
    if root is None and local_path(dataset).is_dir():
        root = local_path(dataset)
        name = recognise(root)
    elif root is None and len(Path(dataset).parts) > 1:
        raise DataError(f"{dataset} is not a folder: give the data set's name and --root, or its folder")
    else:
        known = find_dataset(dataset)
        name = next(key for key, value in DATASETS.items() if value is known)
    if files and name != "coco":
        raise DataError(f"--{next(iter(files))} is for the data set coco; got {dataset!r}")
    if root is None and len(files) < 2:
        raise DataError(f"--root is missing: give the folder that holds {name}")
    return name, local_path(root or Path())
