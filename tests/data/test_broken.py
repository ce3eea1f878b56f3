"""What every loader must refuse: malformed annotations, and pictures and files that are broken."""

from __future__ import annotations

import shutil
import struct
import zlib

import layouts
import numpy as np
import pytest
from scipy.io import savemat

from semcorr.data.formats.coco import load_coco
from semcorr.data.pictures import BrokenPictureError, MissingPictureError
from semcorr.data.registry import load_dataset
from semcorr.errors import DataError

SPAIR = "PairAnnotation/test/000001-lion-cub:cat.json"
WILLOW = "test_pairs_pf.csv"
PASCAL = "image_pairs/test_pairs.csv"
AP10K = "annotations/ap10k-test-split1.json"

# Data set, file that is damaged, what is done to it, and what the error must say beside the file's name.
MALFORMED = [
    ("keypoints", "test.json", lambda c: c[1].pop("category"), "field 'category' is missing"),
    ("keypoints", "test.json", lambda c: c[1].pop("file"), "field 'file' is missing"),
    ("keypoints", "test.json", lambda c: c[1].update(keypoints={}), "field 'keypoints'"),
    ("keypoints", "test.json", lambda c: c[1].update(keypoints=[[1, 2]]), "field 'keypoints'"),
    ("keypoints", "test.json", lambda c: c[1]["keypoints"].update(nose=[float("nan"), 3]), "field 'keypoints.nose'"),
    ("keypoints", "test.json", lambda c: c[1]["keypoints"].update(nose=[float("inf"), 3]), "field 'keypoints.nose'"),
    ("keypoints", "test.json", lambda c: c[1]["keypoints"].update(nose=[10**400, 3]), "field 'keypoints.nose'"),
    ("keypoints", "test.json", lambda c: c[1]["keypoints"].update(nose=[5000, 3]), "far outside its picture"),
    ("keypoints", "test.json", lambda c: c[1]["keypoints"].update(nose=[5]), "field 'keypoints.nose'"),
    ("keypoints", "test.json", lambda c: c[1]["keypoints"].update(nose=["5", 3]), "field 'keypoints.nose'"),
    ("keypoints", "test.json", lambda c: c[1]["keypoints"].update(nose=[True, 3]), "field 'keypoints.nose'"),
    ("keypoints", "test.json", lambda c: c[1]["keypoints"].update(nose=None), "field 'keypoints.nose'"),
    ("keypoints", "test.json", lambda c: c[1].update(width=10**9), "field 'width'"),
    ("keypoints", "test.json", lambda c: c[1].update(width=0), "field 'width'"),
    ("keypoints", "test.json", lambda c: c[1].update(height="400"), "field 'height'"),
    ("keypoints", "test.json", lambda c: c[1].update(bbox=[10, 10, 5, 20]), "field 'bbox'"),
    ("keypoints", "test.json", lambda c: c[1].update(bbox=[1, 2, 3]), "field 'bbox'"),
    ("keypoints", "test.json", lambda c: c[1].update(file="../test.json"), "field 'file'"),
    ("keypoints", "test.json", lambda c: c[1].update(file="/etc/passwd"), "field 'file'"),
    ("keypoints", "test.json", lambda c: c.__setitem__(1, "cheetah.jpg"), "must be a JSON object"),
    ("keypoints", "test.json", lambda c: c[1].update(file="tabby.jpg"), "appears twice"),
    ("keypoints", "test_pairs.json", lambda c: c.__setitem__(1, ["lion.jpg"]), "[source file, target file]"),
    ("keypoints", "test_pairs.json", lambda c: c.__setitem__(1, ["lion.jpg", "ghost.jpg"]), "field 'target'"),
    ("keypoints", "test_pairs.json", lambda c: c.__setitem__(1, ["lion.jpg", 7]), "field 'target'"),
    ("spair-71k", SPAIR, lambda c: c.pop("trg_kps"), "field 'trg_kps' is missing"),
    ("spair-71k", SPAIR, lambda c: c["trg_kps"].pop(), "field 'trg_kps' must have 3 entries, got 2"),
    ("spair-71k", SPAIR, lambda c: c.update(kps_ids=[], src_kps=[], trg_kps=[]), "field 'kps_ids'"),
    ("spair-71k", SPAIR, lambda c: c.update(kps_ids=["1", "1", "2"]), "field 'kps_ids'"),
    ("spair-71k", SPAIR, lambda c: c.update(truncation=4), "field 'truncation'"),
    ("spair-71k", SPAIR, lambda c: c.update(viewpoint_variation="hard"), "field 'viewpoint_variation'"),
    ("spair-71k", SPAIR, lambda c: c["src_kps"].__setitem__(2, [float("nan"), 1]), "field 'src_kps[2]'"),
    ("spair-71k", SPAIR, lambda c: c.update(src_imsize=[320, 400]), "field 'src_imsize'"),
    ("spair-71k", SPAIR, lambda c: c.update(trg_bndbox=None), "field 'trg_bndbox'"),
    ("spair-71k", SPAIR, lambda c: c.update(category="../cat"), "field 'category'"),
    ("pf-willow", WILLOW, lambda rows: rows[1].update(XA3="nan"), "field 'XA3'"),
    ("pf-willow", WILLOW, lambda rows: rows[1].update(YB10="tail"), "field 'YB10'"),
    ("pf-willow", WILLOW, lambda rows: rows[1].update(XA1=""), "field 'XA1'"),
    ("pf-willow", WILLOW, lambda rows: rows[1].update(XB2="1e300"), "field 'XB2'"),
    ("pf-willow", WILLOW, lambda rows: rows[1].pop("YB10"), "field 'YB10' is missing"),
    ("pf-willow", WILLOW, lambda rows: rows[1].update(imageA="../../secret.png"), "field 'imageA'"),
    ("pf-pascal", PASCAL, lambda rows: rows[1].update(XB="1;2"), "field 'XB' holds 2 numbers, but 'XA' holds 3"),
    ("pf-pascal", PASCAL, lambda rows: rows[1].update(YA="1;nan;3"), "field 'YA'"),
    ("pf-pascal", PASCAL, lambda rows: rows[1].update(XA="", YA="", XB="", YB=""), "field 'XA'"),
    ("pf-pascal", PASCAL, lambda rows: rows[1].update({"class": "21"}), "field 'class'"),
    ("pf-pascal", PASCAL, lambda rows: rows[1].update({"class": "cat"}), "field 'class'"),
    ("ap-10k", AP10K, lambda c: c["annotations"][1].update(keypoints="none"), "field 'keypoints' must be a list"),
    ("ap-10k", AP10K, lambda c: c["annotations"][1]["keypoints"].pop(), "field 'keypoints' must have 12 entries"),
    ("ap-10k", AP10K, lambda c: c["annotations"][1]["keypoints"].__setitem__(0, None), "field 'keypoints[left_eye]'"),
    ("ap-10k", AP10K, lambda c: c["annotations"][1].update(category_id=99), "field 'category_id'"),
    ("ap-10k", AP10K, lambda c: c["annotations"][1].update(bbox=[0, 0, -5, 5]), "field 'bbox'"),
    ("ap-10k", AP10K, lambda c: c["images"][1].update(width=-3), "field 'width'"),
]


@pytest.mark.parametrize(("name", "file", "change", "says"), MALFORMED, ids=lambda v: v if isinstance(v, str) else "")
class TestMalformed:
    def damage(self, dataset, name, file, change):
        root = dataset(name)
        (layouts.edit_csv if file.endswith(".csv") else layouts.edit_json)(root / file, change)
        return root

    def test_the_error_names_file_and_field_in_one_line(self, dataset, name, file, change, says):
        root = self.damage(dataset, name, file, change)
        with pytest.raises(DataError) as raised:
            layouts.load(name, root)
        message = str(raised.value)
        assert str(root / file) in message
        assert says in message
        assert "\n" not in message
        assert len(message) < 400

    def test_skip_broken_leaves_it_out_and_counts_it(self, dataset, name, file, change, says):
        root = self.damage(dataset, name, file, change)
        pairs = layouts.load(name, root, skip_broken=True)
        assert any(says in str(error) for error in pairs.skipped)
        kept = [(pair.source.path.stem, pair.target.path.stem) for pair in pairs]
        assert 1 <= len(kept) <= 2
        assert kept == [pair for pair in layouts.PAIRS if pair in kept]
        # one bad pair is one line; a bad photograph is one line and one for each of its pairs
        assert len(pairs.skipped) <= 1 + (3 - len(kept))


LION = {
    "keypoints": "images/lion.jpg",
    "pf-pascal": "PF-dataset-PASCAL/JPEGImages/lion.jpg",
    "pf-willow": "PF-dataset/duck(S)/lion.png",
    "spair-71k": "JPEGImages/cat/lion.jpg",
    "ap-10k": "data/lion.jpg",
}


@pytest.mark.parametrize("name", layouts.ALL)
class TestBrokenPictures:
    def test_absent(self, name, dataset):
        root = dataset(name)
        path = root / LION[name]
        path.unlink()
        with pytest.raises(MissingPictureError, match="is missing") as raised:
            layouts.load(name, root)
        assert str(path) in str(raised.value)
        pairs = layouts.load(name, root, skip_broken=True)
        assert [pair.source.path.stem for pair in pairs] == ["tabby", "cub"]

    @pytest.mark.parametrize("content", [b"", b"<html>moved</html>", b"\xff\xd8\xff\xe0 not really"])
    def test_not_a_picture(self, name, content, dataset):
        root = dataset(name)
        (root / LION[name]).write_bytes(content)
        with pytest.raises(BrokenPictureError, match="cannot be"):
            layouts.load(name, root)

    def test_a_decompression_bomb(self, name, dataset):
        root = dataset(name)
        header = struct.pack(">4sIIBBBBB", b"IHDR", 30_000, 30_000, 8, 2, 0, 0, 0)  # of a PNG: 900 megapixels
        checked = header + struct.pack(">I", zlib.crc32(header))
        (root / LION[name]).write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + checked + b"\0\0\0\0IDAT")
        with pytest.raises(BrokenPictureError, match=r"too large|at most"):
            layouts.load(name, root)


LISTS = {"keypoints": "test.json", "pf-pascal": PASCAL, "pf-willow": WILLOW, "ap-10k": AP10K}


class TestBrokenFiles:
    @pytest.mark.parametrize("name", ["keypoints", "ap-10k"])
    @pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "nul", '"text"', "12345"])
    def test_not_json_or_not_what_json_should_hold(self, name, content, dataset):
        root = dataset(name)
        (root / LISTS[name]).write_text(content)
        with pytest.raises(DataError) as raised:
            layouts.load(name, root)
        assert str(root / LISTS[name]) in str(raised.value)

    @pytest.mark.parametrize("name", list(LISTS))
    def test_absent(self, name, dataset):
        root = dataset(name)
        (root / LISTS[name]).unlink()
        with pytest.raises(DataError, match="is missing"):
            layouts.load(name, root)

    @pytest.mark.parametrize("name", list(LISTS))
    def test_binary(self, name, dataset):
        root = dataset(name)
        (root / LISTS[name]).write_bytes(b"\x89PNG\r\n\xff\xfe\x00" * 50)
        with pytest.raises(DataError, match="UTF-8"):
            layouts.load(name, root)

    @pytest.mark.parametrize("name", ["pf-pascal", "pf-willow"])
    @pytest.mark.parametrize("content", ["", "a,b,c\n1,2,3\n", "source_image;target_image\n"])
    def test_another_table(self, name, content, dataset):
        root = dataset(name)
        (root / LISTS[name]).write_text(content)
        with pytest.raises(DataError, match=r"column '(source_image|imageA)' is missing"):
            layouts.load(name, root)

    def test_a_spair_annotation_that_is_no_object(self, dataset):
        root = dataset("spair-71k")
        (root / SPAIR).write_text("[1, 2]")
        with pytest.raises(DataError, match="must hold a JSON object"):
            layouts.load("spair-71k", root)

    def test_spair_name_that_leaves_the_folder(self, dataset):
        root = dataset("spair-71k")
        (root / "Layout/large/test.txt").write_text("../../../etc/passwd\n")
        with pytest.raises(DataError, match="inside the data set"):
            layouts.load("spair-71k", root)

    @pytest.mark.parametrize(
        ("damage", "says"),
        [
            (lambda path: path.write_bytes(b"not a MATLAB file"), "not a readable MATLAB 5 file"),
            (lambda path: path.unlink(), "missing"),
            (lambda path: savemat(path, {"bbox": [[0, 0, 9, 9]]}), "field 'kps' is missing"),
            (lambda path: savemat(path, {"kps": np.zeros((3, 2))}), "field 'bbox' is missing"),
            (
                lambda path: savemat(path, {"kps": np.full((3, 2), np.nan), "bbox": [[0, 0, 9, 9]]}),
                "no annotated point",
            ),
            (lambda path: savemat(path, {"kps": np.zeros((3, 3)), "bbox": [[0, 0, 9, 9]]}), "field 'kps row 0'"),
            (lambda path: savemat(path, {"kps": np.full((1, 2), 1e9), "bbox": [[0, 0, 9, 9]]}), "field 'kps row 0'"),
            (lambda path: savemat(path, {"kps": "text", "bbox": [[0, 0, 9, 9]]}), "field 'kps' is missing"),
        ],
    )
    def test_pf_pascal_annotation(self, damage, says, dataset):
        root = dataset("pf-pascal")
        path = root / "PF-dataset-PASCAL/Annotations/cat/lion.mat"
        damage(path)
        with pytest.raises(DataError) as raised:
            load_dataset("pf-pascal", root, "val")
        assert str(path) in str(raised.value)
        assert says in str(raised.value)
        assert "\n" not in str(raised.value)

    def test_pf_pascal_without_annotations_has_points_but_no_boxes(self, dataset):
        root = dataset("pf-pascal")
        shutil.rmtree(root / "PF-dataset-PASCAL/Annotations")
        pairs = layouts.load("pf-pascal", root)
        assert (len(pairs), pairs[0].target.bbox) == (3, None)

    def test_a_coco_category_without_names(self, dataset):
        root = dataset("ap-10k")
        layouts.edit_json(root / AP10K, lambda c: c["categories"][0].pop("keypoints"))
        with pytest.raises(DataError, match=r"categories\[0\]: field 'keypoints' is missing"):
            load_coco(root / AP10K, root / "data")
