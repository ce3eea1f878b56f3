"""What every loader must do: bring coordinates through unharmed."""

from __future__ import annotations

import shutil

import layouts
import numpy as np
import pytest
import torch
from PIL import Image

from semcorr.data.formats.keypoints import load_photos
from semcorr.data.pictures import BrokenPictureError
from semcorr.data.registry import DATASETS, load_dataset
from semcorr.errors import DataError
from semcorr.geometry import cells_to_pixels, pixels_to_cells
from semcorr.metrics.pck import pck_distances, score


def true_answer(name, pair, points):
    """Answer from the truth in `layouts`, found by where the points lie: not by anything that the loader says."""
    known = layouts.willow_points if name == "pf-willow" else layouts.TRUTH.__getitem__
    source, target = known(pair.source.path.stem), known(pair.target.path.stem)
    places = torch.tensor(list(source.values()))
    parts = torch.cdist(torch.as_tensor(points), places).min(dim=1)
    assert bool((parts.values < 1e-3).all()), "the loader moved the source's points"
    return np.array(list(target.values()), np.float64)[parts.indices.numpy()]


def protocol_pck(name, pairs, answer, alphas):
    dataset = DATASETS[name]
    errors = [pck_distances(answer(pair), pair, dataset.threshold, dataset.space) for pair in pairs]
    return score(errors, [pair.target.category for pair in pairs], alphas)


class TestCoordinatesSurvive:
    @pytest.mark.parametrize("name", layouts.ALL)
    def test_the_truth_gets_100(self, name, built):
        pairs = layouts.load(name, built[name])
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

        scores = protocol_pck(name, layouts.load(name, built[name]), half_a_cell_off, list(expected))
        assert scores.per_image == pytest.approx(expected)
        assert scores.per_point == pytest.approx(expected)

    @pytest.mark.parametrize("name", layouts.ALL)
    def test_sizes_boxes_and_categories(self, name, built):
        for pair in layouts.load(name, built[name]):
            for photo in (pair.source, pair.target):
                assert photo.size == layouts.SIZES[photo.path.stem]
                assert photo.category == ("duck(S)" if name == "pf-willow" else "cat")
                assert photo.bbox == (None if name == "pf-willow" else layouts.BOXES[photo.path.stem])
                assert photo.path.is_file()

    @pytest.mark.parametrize("name", layouts.ALL)
    def test_pairs_keep_the_order_of_the_list(self, name, built):
        found = [(pair.source.path.stem, pair.target.path.stem) for pair in layouts.load(name, built[name])]
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

        layouts.edit_csv(root / "test_pairs_pf.csv", pad)
        pair = layouts.load("pf-willow", root)[2]  # to tabby, whose points are 60 pixels apart
        assert pair.names == ("1", "2", "3")
        off = true_answer("pf-willow", pair, pair.points()[0]) + np.array([9.0, 0.0])
        scores = score([pck_distances(off, pair, "keypoints")], ["cat"], [0.1, 0.2])
        assert scores.per_image == {0.1: 0.0, 0.2: 100.0}  # 9 / 60 = 0.15; with padding 9 / 211 = 0.04

    def test_pf_pascal_list_is_in_resized_pixels_and_loads_as_native(self, built):
        pair = layouts.load("pf-pascal", built["pf-pascal"])[0]
        # the list says 200 · 300/500 = 120 for the cheetah's left eye
        row = (built["pf-pascal"] / "image_pairs" / "test_pairs.csv").read_text().splitlines()[1]
        assert row.split(",")[5].split(";")[0] == "120.0"
        assert pair.target.keypoints["0"] == pytest.approx((200.0, 50.0))

    def test_the_direction_is_source_to_target(self, built):
        """The first photograph of a row is the source; its points give nothing when taken for the answer."""
        pairs = layouts.load("spair-71k", built["spair-71k"])
        assert pairs[0].source.path.stem == "tabby"
        scores = protocol_pck("spair-71k", pairs, lambda pair: pair.points()[0], [0.1])
        assert scores.per_image[0.1] < 50.0
        swapped = [pair.swapped() for pair in pairs]
        scores = protocol_pck(
            "spair-71k", swapped, lambda pair: true_answer("spair-71k", pair, pair.points()[0]), [1e-6]
        )
        assert scores.per_image == {1e-6: 100.0}

    def test_pairs_seen_in_training_are_marked_in_either_order(self, built):
        overlap = [pair.nuisances["overlap"] for pair in layouts.load("pf-pascal", built["pf-pascal"])]
        assert overlap == ["clean", "in training", "clean"]  # the training list has (cub, lion)

    def test_coco_visibility_0_is_no_keypoint(self, built):
        for pair in layouts.load("ap-10k", built["ap-10k"]):
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
                layouts.load(name, root)

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
        layouts.edit_json(root / "test.json", lambda c: c[1].pop("category"))
        skipped: list[DataError] = []
        assert [photo.path.stem for photo in load_photos(root, "test", skipped)] == ["tabby", "lion", "cub"]
        assert len(skipped) == 1
