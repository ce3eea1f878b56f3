from dataclasses import replace

import numpy as np
import pytest

import semcorr
from semcorr.match.result import Match
from semcorr.match.types import Field
from semcorr.models.turning import Evidence, Turn, best_turn, crop_canvas, evidence_of, turn_back, turn_image, turns_of

PICTURE = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)


def test_a_quarter_turn_is_exact_and_counter_clockwise():
    assert (turn_image(PICTURE, Turn(90)).image == np.rot90(PICTURE)).all()
    assert (turn_image(PICTURE, Turn(180)).image == np.rot90(PICTURE, 2)).all()
    assert (turn_image(PICTURE, Turn(0, True)).image == PICTURE[:, ::-1]).all()


@pytest.mark.parametrize("turn", [Turn(), Turn(30), Turn(90, True), Turn(217.5), Turn(300, True)])
def test_points_go_there_and_come_back(turn):
    picture = turn_image(PICTURE, turn)
    points = np.array([[0, 0], [50, 30], [12.25, 7.5], [0, 30]], np.float32)
    there = picture.to_turned(points)
    height, width = picture.image.shape[:2]
    assert (there >= -1e-3).all()
    assert (there <= np.array([width, height]) + 1e-3).all()
    assert picture.to_original(there) == pytest.approx(points, abs=1e-4)


def test_a_point_shows_what_it_showed_before():
    smooth = np.zeros((60, 90, 3), np.uint8)
    smooth[20:30, 55:70] = (200, 30, 90)
    for turn in (Turn(45), Turn(110, True)):
        picture = turn_image(smooth, turn)
        x, y = picture.to_turned(np.array([62.5, 25.0], np.float32))
        assert picture.image[int(y), int(x)].tolist() == [200, 30, 90]


@pytest.mark.parametrize("turn", [Turn(), Turn(90), Turn(180, True)])
def test_an_image_without_margins_is_not_cut(turn):
    picture = turn_image(PICTURE, turn)
    assert np.array_equal(crop_canvas(picture, PICTURE).image, picture.image)


@pytest.mark.parametrize("turn", [Turn(45), Turn(30, True), Turn(300)])
def test_margins_are_cut_to_the_area_of_the_image_and_points_kept(turn):
    picture = turn_image(PICTURE, turn)
    part = crop_canvas(picture, PICTURE)
    assert part.image.shape[0] * part.image.shape[1] == pytest.approx(30 * 50, rel=0.12)  # whole pixels
    corner = np.array([[0.0, 0.0]], np.float32)
    for points in (np.array([[25.0, 15.0]], np.float32), corner):
        kept = crop_canvas(picture, PICTURE, points)
        (x, y), (column, row) = kept.to_turned(points)[0], picture.to_turned(points)[0]
        assert 0 <= x <= kept.image.shape[1]
        assert 0 <= y <= kept.image.shape[0]
        left, top = round(float(column - x)), round(float(row - y))  # the same pixels lie around the point
        same = picture.image[top : top + kept.image.shape[0], left : left + kept.image.shape[1]]
        assert np.array_equal(kept.image, same)


def test_turns_are_listed_upright_first():
    assert turns_of(1) == [Turn()]
    assert turns_of(2, mirror=True) == [Turn(), Turn(180), Turn(0, True), Turn(180, True)]


@pytest.mark.parametrize("rotations", [0, -1, 73, 2.5, True])
def test_impossible_rotations_are_refused(rotations):
    with pytest.raises(ValueError, match="whole number from 1 to 72"):
        turns_of(rotations)


@pytest.mark.parametrize("turn", [Turn(90), Turn(40), Turn(120, True)])
def test_a_match_of_the_turned_picture_is_told_of_the_original(turn):
    """Where the target is the turned picture itself, every original point goes to where the turn took it."""
    picture = turn_image(PICTURE, turn)
    height, width = picture.image.shape[:2]
    rows, columns = 24, 32
    y, x = np.indices((rows, columns), dtype=np.float32)
    centres = np.stack([(x + 0.5) * width / columns, (y + 0.5) * height / rows], axis=2)
    sure = np.full((rows, columns), 0.8, np.float32)
    same = Field(centres, sure, sure / 2)
    match = turn_back(Match(picture.image, picture.image, same, same, "m"), PICTURE, picture, turn)
    assert match.source is PICTURE
    assert match.turn == (turn.degrees, turn.mirrored)
    points = np.array([[25, 15], [10, 8], [40, 22]], np.float32)
    moved, confidence = match.transfer(points)
    assert moved == pytest.approx(picture.to_turned(points), abs=0.6)
    assert confidence == pytest.approx(np.full(3, 0.8), abs=1e-3)
    assert match.visible(points) == pytest.approx(np.full(3, 0.4), abs=1e-3)
    back = match.inverse().transfer(moved).points
    assert back == pytest.approx(points, abs=0.8)


@pytest.mark.slow
def test_a_turned_photograph_is_recognised(cat):
    model = semcorr.load("pmnc")
    photo = np.asarray(cat)
    side = np.ascontiguousarray(np.rot90(photo))
    match = model.match(side, photo, rotations=4)
    assert match.turn == (270.0, False)
    height, width = photo.shape[:2]
    upright = np.array([[0.4, 0.4], [0.5, 0.6], [0.6, 0.5]]) * (width, height)
    lying = np.stack([upright[:, 1], width - upright[:, 0]], axis=1)
    assert match.transfer(lying).points == pytest.approx(upright, abs=0.03 * width)


@pytest.mark.slow
def test_the_match_of_an_oblique_turn_is_of_the_whole_photograph(cat):
    model = semcorr.load("pmnc")
    lying = turn_image(np.asarray(cat), Turn(45))
    turns = model.encode_turns(lying.image, 8)
    match = model.match(turns, cat)
    assert match.turn == (315.0, False)
    assert list(turns.whole) == [7]
    assert turns.whole[7][1].image.shape > turns.encoded[7].image.shape
    assert match.source_size == lying.image.shape[:2]
    nose = np.array([[265.0, 243.0]], np.float32)
    assert match.transfer(lying.to_turned(nose)).points == pytest.approx(nose, abs=0.05 * cat.shape[1])
    assert np.array_equal(model.match(turns, cat).forward.points, match.forward.points)


@pytest.mark.slow
def test_an_upright_photograph_stays_as_it_is(cat):
    model = semcorr.load("pmnc")
    turns = model.encode_turns(cat, 4, mirror=True)
    match = model.match(turns, cat)
    plain = model.match(cat, cat)
    assert match.turn == (0.0, False)
    assert match.forward.points == pytest.approx(
        plain.forward.points, abs=0.1
    )  # batches of other sizes, other roundings


def field_of(grid, confidence, visibility=None):
    return Field(np.full((*grid, 2), 10.0, np.float32), confidence, visibility)


def test_evidence_is_what_is_sure_of_the_points_and_of_the_target():
    confidence = np.tile(np.linspace(0, 1, 10, dtype=np.float32), (5, 1))
    forward = field_of((5, 10), confidence, np.full((5, 10), 0.5, np.float32))
    backward = field_of((5, 10), np.full((5, 10), 0.2, np.float32))
    match = Match(PICTURE, PICTURE, forward, backward, "m", similarity=0.25)
    found = evidence_of(match)
    assert (found.sure, found.similarity) == (pytest.approx((0.5 + 0.2 / 2) / 1.5, abs=1e-6), 0.25)
    assert evidence_of(replace(match, similarity=None)).similarity == 1
    left = evidence_of(match, np.array([[2.5, 15.0]], np.float32)).sure
    right = evidence_of(match, np.array([[47.5, 15.0]], np.float32)).sure
    assert (left, right) == (pytest.approx(0.1 / 1.5, abs=1e-3), pytest.approx(1.1 / 1.5, abs=1e-3))


def test_cells_count_by_their_visibility():
    confidence = np.tile(np.linspace(0, 1, 10, dtype=np.float32), (5, 1))
    seen = np.zeros((5, 10), np.float32)
    seen[:, -1] = 0.3
    field = field_of((5, 10), confidence, seen)
    assert evidence_of(Match(PICTURE, PICTURE, field, field, "m")).sure == pytest.approx(1, abs=1e-6)


def turns_with(sure, similarity=0.9, rotations=12):
    turns = turns_of(rotations)
    return turns, [Evidence(sure.get(turn.degrees, 0.3), similarity) for turn in turns]


def test_another_turn_is_chosen_only_where_it_is_better():
    assert best_turn(*turns_with({0: 0.5, 90: 0.515}, rotations=4)) == 0
    assert best_turn(*turns_with({0: 0.5, 90: 0.53}, rotations=4)) == 1


def test_similarity_counts_only_against_a_turn():
    turns = turns_of(4)
    sure = [0.5, 0.3, 0.56, 0.3]
    assert best_turn(turns, [Evidence(one, 0.3) for one in sure]) == 2
    assert best_turn(turns, [Evidence(one, 0.1) for one in sure]) == 0  # nothing is recognised
    gained = [Evidence(*both) for both in zip((0.5, 0.3, 0.5, 0.3), (0.2, 0.2, 0.9, 0.2), strict=True)]
    assert best_turn(turns, gained) == 0
    lost = [Evidence(*both) for both in zip(sure, (0.9, 0.9, 0.2, 0.9), strict=True)]
    assert best_turn(turns, lost) == 0


def test_turns_beside_the_right_one_are_nearly_right():
    alone = {0.0: 0.5, 60.0: 0.8}
    together = {150.0: 0.7, 180.0: 0.75, 210.0: 0.7}
    turns, evidence = turns_with(alone | together)
    assert turns[best_turn(turns, evidence)].degrees == 180
    across = {0.0: 0.5, 330.0: 0.75, 30.0: 0.4}  # the circle is closed
    turns, evidence = turns_with(across)
    assert turns[best_turn(turns, evidence)].degrees == 330


def test_mirrored_turns_share_no_evidence_with_others():
    turns = turns_of(12, mirror=True)
    evidence = [Evidence(0.8 if turn == Turn(60.0, True) else 0.5 - 0.4 * turn.mirrored, 0.9) for turn in turns]
    assert best_turn(turns, evidence) == 0
    evidence = [Evidence(0.8 if turn == Turn(60.0, True) else 0.5, 0.9) for turn in turns]
    assert turns[best_turn(turns, evidence)] == Turn(60.0, True)


@pytest.mark.slow
def test_points_outside_the_image_are_refused(cat):
    with pytest.raises(ValueError, match="outside the source"):
        semcorr.load("pmnc").match(cat, cat, rotations=2, points=[(5, 9999)])
