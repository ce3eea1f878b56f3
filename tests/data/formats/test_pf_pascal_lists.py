"""PF-PASCAL's own lists of pairs, over photographs of the same names."""

from __future__ import annotations

import csv
import shutil
from collections import Counter

import numpy as np
import pytest
from scipy.io import savemat

from semcorr.data.formats.pf_pascal import CATEGORIES
from semcorr.data.registry import load_dataset


@pytest.fixture(scope="module")
def true_pf_pascal(shared_keypoints, photographs, tmp_path_factory):
    root = tmp_path_factory.mktemp("true") / "pf-pascal"
    home = root / "PF-dataset-PASCAL"
    (home / "JPEGImages").mkdir(parents=True)
    (root / "image_pairs").mkdir()
    classes = {}
    for split in ("train", "val", "test"):
        source = shared_keypoints / "pf_pascal_pairs" / f"{split}.csv"
        shutil.copy(source, root / "image_pairs" / f"{split}_pairs.csv")
        with source.open(newline="") as file:
            for row in csv.DictReader(file):
                for field in ("source_image", "target_image"):
                    classes[root / row[field], CATEGORIES[int(row["class"]) - 1]] = None
    standin, annotation = root / "standin.jpg", root / "standin.mat"
    photographs["tabby"].resize((500, 500)).save(standin)
    savemat(annotation, {"kps": np.array([[10.0, 20.0], [np.nan, np.nan]]), "bbox": [[0, 0, 99, 99]]})
    for path, category in classes:
        if not path.exists():
            path.hardlink_to(standin)
        target = home / "Annotations" / category / f"{path.stem}.mat"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(annotation)
    return root


def pair_names(pair):
    return frozenset((pair.source.path.name, pair.target.path.name))


class TestTrueLists:
    """The lists that every paper uses, read by the loader over stand-ins for their pictures."""

    def test_299_pairs_of_which_95_were_seen_and_204_are_clean(self, true_pf_pascal):
        pairs = load_dataset("pf-pascal", true_pf_pascal, "test")
        assert len(pairs) == 299
        assert Counter(pair.nuisances["overlap"] for pair in pairs) == {"in training": 95, "clean": 204}
        validation = {pair_names(pair) for pair in load_dataset("pf-pascal", true_pf_pascal, "val")}
        assert sum(pair_names(pair) in validation for pair in pairs if pair.nuisances["overlap"] == "clean") == 35
        assert len({pair.source.category for pair in pairs}) == 20

    def test_the_first_true_pair(self, true_pf_pascal):
        pair = load_dataset("pf-pascal", true_pf_pascal, "test")[0]
        assert (pair.source.path.name, pair.target.path.name) == ("2011_001407.jpg", "2010_004184.jpg")
        assert len(pair.names) == 11
        assert pair.source.category == "aeroplane"
        # (253.631662222222, 58.1813333333333) in a picture 300 wide is this in one 500 wide
        assert pair.source.keypoints["0"] == pytest.approx((422.719437, 96.968889))

    def test_training_and_validation_lists(self, true_pf_pascal):
        assert len(load_dataset("pf-pascal", true_pf_pascal, "train")) == 1470
        assert len(load_dataset("pf-pascal", true_pf_pascal, "val")) == 308

    def test_1200_pairs_of_real_photographs(self, shared_keypoints):
        pairs = load_dataset("keypoints", shared_keypoints, "test")
        assert len(pairs) == 1200
        assert min(len(pair.names) for pair in pairs) >= 3
        assert not pairs.skipped
        assert all(pair.source.category == pair.target.category for pair in pairs)
        assert len(load_dataset("keypoints", shared_keypoints, "val")) == 600
