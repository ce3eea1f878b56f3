from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from semcorr.data.pairs import Pair, PairSet, Photo, draw_pairs, gather, mirrored_name, spread
from semcorr.errors import DataError


def photo(name: str, category: str = "cat", points: str = "abcd") -> Photo:
    return Photo(
        Path(f"{name}.jpg"), (100, 200), {p: (float(i), 2.0 * i) for i, p in enumerate(points)}, None, category
    )


def test_points_are_matched_by_name_in_the_sources_order():
    pair = Pair(photo("one", points="cab"), photo("two", points="xabc"))
    source, target = pair.points()
    assert pair.names == ("c", "a", "b")
    assert source.tolist() == [[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]]
    assert target.tolist() == [[3.0, 6.0], [1.0, 2.0], [2.0, 4.0]]
    assert source.dtype == target.dtype == np.float32


def test_points_of_strangers_are_empty_and_still_points():
    source, target = Pair(photo("one", points="ab"), photo("two", points="cd")).points()
    assert source.shape == target.shape == (0, 2)


def test_swapped_goes_the_other_way_and_keeps_the_nuisances():
    pair = Pair(photo("one"), photo("two", points="dcba"), {"viewpoint": "hard"})
    assert pair.swapped() == Pair(pair.target, pair.source, {"viewpoint": "hard"})
    assert pair.swapped().points()[0].tolist() == pair.points()[1][::-1].tolist()


@pytest.mark.parametrize(
    ("name", "mirrored"),
    [
        ("left_ear", "right_ear"),
        ("rear_right_paw", "rear_left_paw"),
        ("cleft", "cleft"),
        ("bright_spot", "bright_spot"),
    ],
)
def test_mirrored_name(name, mirrored):
    assert mirrored_name(name) == mirrored
    assert mirrored_name(mirrored) == name


def test_pair_set_is_a_sequence():
    pairs = [Pair(photo(str(i)), photo(str(i + 1))) for i in range(4)]
    found = PairSet("four", pairs)
    assert (len(found), list(found), found[1], found[-2:]) == (4, pairs, pairs[1], pairs[2:])


PHOTOS = [photo(f"{kind}{i}", kind) for kind in ("cat", "dog", "cow") for i in range(8)]


class TestDrawPairs:
    def test_same_seed_same_pairs_whatever_the_order(self):
        assert draw_pairs(PHOTOS, 30, seed=7) == draw_pairs(PHOTOS[::-1], 30, seed=7)
        assert draw_pairs(PHOTOS, 30, seed=7) != draw_pairs(PHOTOS, 30, seed=8)

    def test_known_draw(self):
        """The draw must not change between versions or machines: numbers are compared on it."""
        drawn = [(p.source.path.stem, p.target.path.stem) for p in draw_pairs(PHOTOS, 6, seed=0)]
        assert drawn == KNOWN

    def test_pairs_are_within_a_category_different_and_evenly_shared(self):
        drawn = draw_pairs(PHOTOS, 60, seed=1)
        names = [(p.source.path, p.target.path) for p in drawn]
        assert len(set(names)) == 60
        assert all(a != b for a, b in names)
        assert all(p.source.category == p.target.category for p in drawn)
        assert Counter(p.source.category for p in drawn) == {"cat": 20, "dog": 20, "cow": 20}

    def test_all_there_is_and_no_more(self):
        assert len(draw_pairs(PHOTOS, 10_000, seed=1)) == 3 * 8 * 7

    def test_a_category_that_runs_out_leaves_its_share_to_the_others(self):
        photos = [*PHOTOS[:8], photo("a", "hen"), photo("b", "hen")]
        assert Counter(p.source.category for p in draw_pairs(photos, 40, seed=3)) == {"cat": 38, "hen": 2}

    def test_enough_points_are_shared(self):
        photos = [photo("a", points="abc"), photo("b", points="bcd"), photo("c", points="cdea")]
        # a and b share two, b and c two, a and c two: none share three
        assert draw_pairs(photos, 10, seed=0) == []
        assert len(draw_pairs(photos, 10, seed=0, min_shared=2)) == 6

    def test_two_objects_of_one_picture_are_no_pair(self):
        assert draw_pairs([photo("same"), photo("same")], 5, seed=0) == []

    def test_nothing_to_draw_from(self):
        assert draw_pairs([], 5, seed=0) == []
        with pytest.raises(ValueError, match="count"):
            draw_pairs(PHOTOS, -1, seed=0)


KNOWN = [
    ("cat6", "cat1"),
    ("cow6", "cow5"),
    ("dog0", "dog5"),
    ("cat2", "cat1"),
    ("cow7", "cow6"),
    ("dog4", "dog1"),
]


def test_gather_raises_or_names_what_is_broken():
    def read(number: int) -> int:
        if number == 2:
            raise DataError("two is broken")
        return number * 10

    with pytest.raises(DataError, match="two is broken"):
        gather([1, 2, 3], read)
    skipped: list[DataError] = []
    assert gather([1, 2, 3], read, skipped) == [10, 30]
    assert [str(error) for error in skipped] == ["two is broken"]


def test_few_pairs_come_from_all_over_the_list():
    photos = [Photo(Path(f"{i}.jpg"), (10, 10), {"nose": (1, 1)}, None, "cat") for i in range(10)]
    pairs = [Pair(photo, photo) for photo in photos]
    assert spread(pairs, 4) == [pairs[i] for i in (0, 2, 5, 7)]
    assert spread(pairs, 10) == spread(pairs, 99) == pairs
