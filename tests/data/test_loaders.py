"""What every loader must do: bring coordinates through unharmed, and refuse what is broken."""

from __future__ import annotations

import csv
import json
import shutil
import struct
import zlib

import layouts
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from semcorr.data.formats.coco import load_coco
from semcorr.data.formats.keypoints import load_photos
from semcorr.data.pictures import BrokenPictureError, MissingPictureError
from semcorr.data.registry import DATASETS, load_dataset
from semcorr.errors import DataError
from semcorr.geometry import cells_to_pixels, pixels_to_cells
from semcorr.metrics.pck import pck_distances, score

ALL = ["keypoints", "pf-pascal", "pf-willow", "spair-71k", "ap-10k"]


def load(name, root, **options):
    if name == "ap-10k":
        options["pairs"] = root / "pairs.json"
    return load_dataset(name, root, "test", **options)


def true_answer(name, pair, points):
    """Answer from the truth in `layouts`, found by where the points lie: not by anything that the loader says."""
    known = layouts.willow_points if name == "pf-willow" else layouts.TRUTH.__getitem__
    source, target = known(pair.source.path.stem), known(pair.target.path.stem)
    places = torch.tensor(list(source.values()))
    parts = torch.cdist(points, places).min(dim=1)
    assert bool((parts.values < 1e-3).all()), "the loader moved the source's points"
    return torch.tensor(list(target.values()), dtype=torch.float64)[parts.indices]


def protocol_pck(name, pairs, answer, alphas):
    dataset = DATASETS[name]
    errors = [pck_distances(answer(pair), pair, dataset.threshold, dataset.space) for pair in pairs]
    return score(errors, [pair.target.category for pair in pairs], alphas)


class TestCoordinatesSurvive:
    @pytest.mark.parametrize("name", ALL)
    def test_the_truth_gets_100(self, name, built):
        pairs = load(name, built[name])
        assert len(pairs) == 3
        scores = protocol_pck(name, pairs, lambda pair: true_answer(name, pair, pair.points()[0]), [1e-6, 0.1])
        for average in (scores.per_image, scores.per_point, scores.per_category):
            assert average == {1e-6: 100.0, 0.1: 100.0}
        assert scores.points == (30 if name == "pf-willow" else 9)

    # Half a cell of a 25×25 grid over cheetah (500 wide, 250 high), cub (200, 240) and tabby (450, 300) is (10, 5),
    # (4, 4.8) and (9, 6) pixels: 11.180, 6.248 and 10.817 long. Divided by the reference lengths of each protocol:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            # squashed to a square, half a cell is always √2/50 = 0.0283 of its side
            ("pf-pascal", {0.028: 0.0, 0.0283: 100.0}),
            # longest side: 500, 240, 450 → 0.0224, 0.0260, 0.0240
            ("keypoints", {0.02: 0.0, 0.0225: 100 / 3, 0.025: 200 / 3, 0.03: 100.0}),
            # extent of the keypoints: 100, 80, 60 → 0.1118, 0.0781, 0.1803
            ("pf-willow", {0.07: 0.0, 0.1: 100 / 3, 0.15: 200 / 3, 0.2: 100.0}),
            # box: 400, 200, 200 → 0.0280, 0.0312, 0.0541
            ("spair-71k", {0.02: 0.0, 0.03: 100 / 3, 0.05: 200 / 3, 0.1: 100.0}),
            ("ap-10k", {0.02: 0.0, 0.03: 100 / 3, 0.05: 200 / 3, 0.1: 100.0}),
        ],
    )
    def test_half_a_cell_off_gets_the_number_computed_by_hand(self, name, expected, built):
        def half_a_cell_off(pair):
            cells = pixels_to_cells(true_answer(name, pair, pair.points()[0]), pair.target.size, (25, 25))
            return cells_to_pixels(cells + 0.5, pair.target.size, (25, 25))

        scores = protocol_pck(name, load(name, built[name]), half_a_cell_off, list(expected))
        assert scores.per_image == pytest.approx(expected)
        assert scores.per_point == pytest.approx(expected)

    @pytest.mark.parametrize("name", ALL)
    def test_sizes_boxes_and_categories(self, name, built):
        for pair in load(name, built[name]):
            for photo in (pair.source, pair.target):
                assert photo.size == layouts.SIZES[photo.path.stem]
                assert photo.category == ("duck(S)" if name == "pf-willow" else "cat")
                assert photo.bbox == (None if name == "pf-willow" else layouts.BOXES[photo.path.stem])
                assert photo.path.is_file()

    @pytest.mark.parametrize("name", ALL)
    def test_pairs_keep_the_order_of_the_list(self, name, built):
        found = [(pair.source.path.stem, pair.target.path.stem) for pair in load(name, built[name])]
        assert found == layouts.PAIRS


class TestTraps:
    def test_padding_keypoints_do_not_enter_the_willow_extent(self, dataset):
        """A list padded with (-1, -1) to ten points: their corner would make the extent 2.6 times as long."""
        root = dataset("pf-willow")

        def pad(rows):
            for row in rows:
                for image in "AB":
                    for number in range(4, 11):
                        row[f"X{image}{number}"] = row[f"Y{image}{number}"] = "-1"

        edit_csv(root / "test_pairs_pf.csv", pad)
        pair = load("pf-willow", root)[2]  # to tabby, whose points are 60 pixels apart
        assert pair.names == ("1", "2", "3")
        off = true_answer("pf-willow", pair, pair.points()[0]) + torch.tensor([9.0, 0.0])
        scores = score([pck_distances(off, pair, "keypoints")], ["cat"], [0.1, 0.2])
        assert scores.per_image == {0.1: 0.0, 0.2: 100.0}  # 9 / 60 = 0.15; with padding 9 / 211 = 0.04

    def test_pf_pascal_list_is_in_resized_pixels_and_loads_as_native(self, built):
        pair = load("pf-pascal", built["pf-pascal"])[0]
        # the list says 200 · 300/500 = 120 for the cheetah's left eye
        row = (built["pf-pascal"] / "image_pairs" / "test_pairs.csv").read_text().splitlines()[1]
        assert row.split(",")[5].split(";")[0] == "120.0"
        assert pair.target.keypoints["0"] == pytest.approx((200.0, 50.0))

    def test_the_direction_is_source_to_target(self, built):
        """The first photograph of a row is the source; its points give nothing when taken for the answer."""
        pairs = load("spair-71k", built["spair-71k"])
        assert pairs[0].source.path.stem == "tabby"
        scores = protocol_pck("spair-71k", pairs, lambda pair: pair.points()[0], [0.1])
        assert scores.per_image[0.1] < 50.0
        swapped = [pair.swapped() for pair in pairs]
        scores = protocol_pck(
            "spair-71k", swapped, lambda pair: true_answer("spair-71k", pair, pair.points()[0]), [1e-6]
        )
        assert scores.per_image == {1e-6: 100.0}

    def test_pairs_seen_in_training_are_marked_in_either_order(self, built):
        overlap = [pair.nuisances["overlap"] for pair in load("pf-pascal", built["pf-pascal"])]
        assert overlap == ["clean", "in training", "clean"]  # the training list has (cub, lion)

    def test_coco_visibility_0_is_no_keypoint(self, built):
        for pair in load("ap-10k", built["ap-10k"]):
            assert "tail" not in pair.source.keypoints
            assert (0.0, 0.0) not in pair.source.keypoints.values()

    def test_a_coco_picture_of_two_animals_is_left_out(self, built):
        pairs = load_dataset("ap-10k", built["ap-10k"], "test", count=100)
        assert len(pairs) == 4 * 3
        assert "two" not in {pair.source.path.stem for pair in pairs}

    def test_unseen_points_of_pf_pascal_are_left_out(self, built):
        pair = load_dataset("pf-pascal", built["pf-pascal"], "val")[0]
        assert pair.names == ("0", "1", "3")  # row 2 is NaN
        assert pair.source.keypoints["3"] == layouts.TRUTH["lion"]["nose"]

    def test_mirrored_copies_of_the_training_list_are_left_out(self, built):
        pairs = load_dataset("pf-pascal", built["pf-pascal"], "train")
        found = [(pair.source.path.stem, pair.target.path.stem) for pair in pairs]
        assert found == [("cub", "lion"), ("tabby", "lion")]

    def test_a_picture_of_another_size_than_annotated_is_refused(self, dataset, photographs):
        """Otherwise keypoints in native pixels would meet a resized picture."""
        for name, folder in (("keypoints", "images"), ("spair-71k", "JPEGImages/cat"), ("ap-10k", "data")):
            root = dataset(name)
            photographs["lion"].resize((160, 200)).save(root / folder / "lion.jpg")
            with pytest.raises(BrokenPictureError, match=r"lion\.jpg is 160×200, but is annotated as 320×400"):
                load(name, root)

    def test_sizes_are_those_of_the_upright_picture(self, dataset, photographs):
        """Cameras store portraits lying down, with a note in EXIF; the matcher sees them upright."""
        root = dataset("keypoints")
        exif = Image.Exif()
        exif[0x0112] = 6
        lying = photographs["lion"].transpose(Image.Transpose.ROTATE_90)
        lying.save(root / "images" / "lion.jpg", exif=exif)
        assert lying.size == (400, 320)
        photo = next(p for p in load_photos(root, "test") if p.path.stem == "lion")
        assert photo.size == (400, 320)  # height, width


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def edit_csv(path, change):
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    header = list(rows[0])
    change(rows)
    layouts.write_rows(path, header, [[row[name] for name in header if name in row] for row in rows])


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
        (edit_csv if file.endswith(".csv") else edit_json)(root / file, change)
        return root

    def test_the_error_names_file_and_field_in_one_line(self, dataset, name, file, change, says):
        root = self.damage(dataset, name, file, change)
        with pytest.raises(DataError) as raised:
            load(name, root)
        message = str(raised.value)
        assert str(root / file) in message
        assert says in message
        assert "\n" not in message
        assert len(message) < 400

    def test_skip_broken_leaves_it_out_and_counts_it(self, dataset, name, file, change, says):
        root = self.damage(dataset, name, file, change)
        pairs = load(name, root, skip_broken=True)
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


@pytest.mark.parametrize("name", ALL)
class TestBrokenPictures:
    def test_absent(self, name, dataset):
        root = dataset(name)
        path = root / LION[name]
        path.unlink()
        with pytest.raises(MissingPictureError, match="is missing") as raised:
            load(name, root)
        assert str(path) in str(raised.value)
        pairs = load(name, root, skip_broken=True)
        assert [pair.source.path.stem for pair in pairs] == ["tabby", "cub"]

    @pytest.mark.parametrize("content", [b"", b"<html>moved</html>", b"\xff\xd8\xff\xe0 not really"])
    def test_not_a_picture(self, name, content, dataset):
        root = dataset(name)
        (root / LION[name]).write_bytes(content)
        with pytest.raises(BrokenPictureError, match="cannot be"):
            load(name, root)

    def test_a_decompression_bomb(self, name, dataset):
        root = dataset(name)
        header = struct.pack(">4sIIBBBBB", b"IHDR", 30_000, 30_000, 8, 2, 0, 0, 0)  # of a PNG: 900 megapixels
        checked = header + struct.pack(">I", zlib.crc32(header))
        (root / LION[name]).write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + checked + b"\0\0\0\0IDAT")
        with pytest.raises(BrokenPictureError, match=r"too large|at most"):
            load(name, root)


LISTS = {"keypoints": "test.json", "pf-pascal": PASCAL, "pf-willow": WILLOW, "ap-10k": AP10K}


class TestBrokenFiles:
    @pytest.mark.parametrize("name", ["keypoints", "ap-10k"])
    @pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "nul", '"text"', "12345"])
    def test_not_json_or_not_what_json_should_hold(self, name, content, dataset):
        root = dataset(name)
        (root / LISTS[name]).write_text(content)
        with pytest.raises(DataError) as raised:
            load(name, root)
        assert str(root / LISTS[name]) in str(raised.value)

    @pytest.mark.parametrize("name", list(LISTS))
    def test_absent(self, name, dataset):
        root = dataset(name)
        (root / LISTS[name]).unlink()
        with pytest.raises(DataError, match="is missing"):
            load(name, root)

    @pytest.mark.parametrize("name", list(LISTS))
    def test_binary(self, name, dataset):
        root = dataset(name)
        (root / LISTS[name]).write_bytes(b"\x89PNG\r\n\xff\xfe\x00" * 50)
        with pytest.raises(DataError, match="UTF-8"):
            load(name, root)

    @pytest.mark.parametrize("name", ["pf-pascal", "pf-willow"])
    @pytest.mark.parametrize("content", ["", "a,b,c\n1,2,3\n", "source_image;target_image\n"])
    def test_another_table(self, name, content, dataset):
        root = dataset(name)
        (root / LISTS[name]).write_text(content)
        with pytest.raises(DataError, match=r"column '(source_image|imageA)' is missing"):
            load(name, root)

    def test_a_spair_annotation_that_is_no_object(self, dataset):
        root = dataset("spair-71k")
        (root / SPAIR).write_text("[1, 2]")
        with pytest.raises(DataError, match="must hold a JSON object"):
            load("spair-71k", root)

    def test_spair_name_that_leaves_the_folder(self, dataset):
        root = dataset("spair-71k")
        (root / "Layout/large/test.txt").write_text("../../../etc/passwd\n")
        with pytest.raises(DataError, match="inside the data set"):
            load("spair-71k", root)

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
        pairs = load("pf-pascal", root)
        assert (len(pairs), pairs[0].target.bbox) == (3, None)

    def test_a_coco_category_without_names(self, dataset):
        root = dataset("ap-10k")
        edit_json(root / AP10K, lambda c: c["categories"][0].pop("keypoints"))
        with pytest.raises(DataError, match=r"categories\[0\]: field 'keypoints' is missing"):
            load_coco(root / AP10K, root / "data")


class TestSplits:
    @pytest.mark.parametrize("name", ["pf-pascal", "pf-willow", "spair-71k"])
    def test_unknown(self, name, built):
        with pytest.raises(ValueError, match="'nonsense'"):
            load_dataset(name, built[name], "nonsense")

    def test_a_split_of_keypoints_without_pairs(self, dataset):
        root = dataset("keypoints")
        shutil.copy(root / "test.json", root / "train.json")
        assert len(load_photos(root, "train")) == 4
        with pytest.raises(DataError, match="draw_pairs"):
            load_dataset("keypoints", root, "train")

    def test_broken_photographs_can_be_skipped_too(self, dataset):
        root = dataset("keypoints")
        edit_json(root / "test.json", lambda c: c[1].pop("category"))
        skipped: list[DataError] = []
        assert [photo.path.stem for photo in load_photos(root, "test", skipped)] == ["tabby", "lion", "cub"]
        assert len(skipped) == 1
