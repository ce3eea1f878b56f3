import json

import layouts
import pytest

from semcorr.data.check import check_dataset
from semcorr.data.registry import DATASETS, find_dataset, load_dataset, recognise, splits_at
from semcorr.errors import DataError


class TestRegistry:
    def test_recognises_every_layout(self, built):
        assert {name: recognise(folder) for name, folder in built.items()} == {name: name for name in built}

    def test_recognises_coco(self, dataset):
        root = dataset("ap-10k")
        (root / "annotations/ap10k-test-split1.json").rename(root / "annotations/person_keypoints_val2017.json")
        (root / "data").rename(root / "val2017")
        assert recognise(root) == "coco"
        assert len(load_dataset("coco", root, "val", count=5, seed=3)) == 5

    def test_a_folder_of_something_else(self, tmp_path):
        with pytest.raises(DataError, match="holds none of pf-pascal"):
            recognise(tmp_path)

    @pytest.mark.parametrize(
        ("given", "meant"),
        [("pf-pascl", "pf-pascal"), ("SPair", "spair-71k"), ("willow", "pf-willow"), ("ap10", "ap-10k")],
    )
    def test_an_unknown_name_gets_a_suggestion(self, given, meant, tmp_path):
        with pytest.raises(DataError, match=f"did you mean {meant}"):
            load_dataset(given, tmp_path)

    def test_a_name_like_nothing_gets_the_list(self):
        with pytest.raises(DataError, match="choose one of pf-pascal, pf-willow") as raised:
            find_dataset("xyzzy")
        assert "did you mean" not in str(raised.value)

    @pytest.mark.parametrize("given", ["PF-PASCAL", "pf_pascal", "PfPascal"])
    def test_spelling_does_not_matter(self, given):
        assert find_dataset(given) is DATASETS["pf-pascal"]

    def test_protocols(self):
        found = {name: (dataset.threshold, dataset.space) for name, dataset in DATASETS.items()}
        assert found["pf-pascal"] == ("image", "square")
        assert found["pf-willow"] == ("keypoints", "native")
        assert found["spair-71k"] == ("bbox", "native")

    def test_only_splits_that_are_there(self, built):
        assert splits_at("pf-pascal", built["pf-pascal"]) == ("train", "val", "test")
        assert splits_at("spair-71k", built["spair-71k"]) == ("test",)


class TestCheck:
    @pytest.mark.parametrize(
        ("name", "split", "pairs", "photos", "categories", "nuisances"),
        [
            ("keypoints", "test", 3, 4, {"cat": 3}, {}),
            ("pf-pascal", "test", 3, 4, {"cat": 3}, {"overlap": {"clean": 2, "in training": 1}}),
            ("pf-pascal", "train", 2, 3, {"cat": 2}, {}),
            ("pf-pascal", "val", 1, 2, {"cat": 1}, {}),
            ("pf-willow", "test", 3, 4, {"duck(S)": 3}, {}),
            (
                "spair-71k",
                "test",
                3,
                4,
                {"cat": 3},
                {
                    "viewpoint": {"easy": 1, "hard": 1, "medium": 1},
                    "scale": {"easy": 3},
                    "truncation": {"both": 1, "source": 1, "target": 1},
                    "occlusion": {"none": 3},
                },
            ),
            ("ap-10k", "test", 12, 4, {"cat": 12}, {}),
        ],
    )
    def test_counts(self, name, split, pairs, photos, categories, nuisances, built):
        report = check_dataset(name, built[name])
        found = report.splits[split]
        assert (found.pairs, found.photos, found.categories) == (pairs, photos, categories)
        assert found.nuisances == nuisances
        assert report.sound
        assert not report.outside

    def test_everything_that_is_wrong_is_named_once(self, dataset, photographs):
        root = dataset("spair-71k")
        (root / "JPEGImages/cat/cub.jpg").unlink()  # in two of three pairs
        path = root / "JPEGImages/cat/cheetah.jpg"
        path.write_bytes(path.read_bytes()[:3000])  # its header is whole, its pixels are not
        report = check_dataset("spair-71k", root)
        assert len(report.missing) == 1
        assert "cub.jpg" in report.missing[0]
        assert len(report.broken) == 1
        assert "cheetah.jpg" in report.broken[0]
        assert not report.sound
        assert report.splits["test"].pairs == 1

    def test_keypoints_outside_are_counted_and_allowed(self, dataset):
        root = dataset("keypoints")
        entries = json.loads((root / "test.json").read_text())
        entries[2]["keypoints"]["nose"] = [-4.5, 300]
        (root / "test.json").write_text(json.dumps(entries))
        report = check_dataset("keypoints", root)
        assert report.outside == (f"{root / 'images' / 'lion.jpg'}: nose at (-4.5, 300) in 320×400",)
        assert report.sound
        assert report.splits["test"].pairs == 3

    def test_malformed_annotations_are_listed_as_text(self, dataset):
        root = dataset("spair-71k")
        path = next((root / "PairAnnotation/test").glob("000002*"))
        path.write_text("{}")
        report = check_dataset("spair-71k", root)
        assert len(report.malformed) == 1
        assert str(path) in report.malformed[0]
        text = "\n".join(report.lines())
        assert "test: 2 pairs, 4 photographs, 1 categories" in text
        assert "viewpoint: easy 1, medium 1" in text
        assert "malformed annotations: 1" in text

    def test_long_lists_are_cut(self, dataset):
        root = dataset("keypoints")
        entries = json.loads((root / "test.json").read_text())
        for entry in entries:
            entry["keypoints"] = {name: [-1, -1] for name in layouts.NAMES}
        (root / "test.json").write_text(json.dumps(entries))
        report = check_dataset("keypoints", root)
        assert len(report.outside) == 12
        assert report.lines(most=5)[-1] == "  … and 7 more"

    def test_progress_counts_pictures(self, built):
        calls = []
        check_dataset("keypoints", built["keypoints"], progress=lambda done, total: calls.append((done, total)))
        assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]

    def test_a_folder_of_another_data_set(self, built):
        with pytest.raises(DataError, match=r"does not hold SPair-71k: expected Layout/large"):
            check_dataset("spair-71k", built["pf-pascal"])

    def test_the_real_photographs(self, shared_keypoints):
        report = check_dataset("keypoints", shared_keypoints, ["test"])
        assert report.sound
        assert report.splits["test"].pairs == 1200
        assert sum(report.splits["test"].categories.values()) == 1200
        assert set(report.splits["test"].categories) == {"cat", "cow", "dog", "horse", "person", "sheep"}
