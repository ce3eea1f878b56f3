import numpy as np
import pytest

from semcorr.matchers.evidence import NAMES, Decoded, Judge, gather_evidence, summarise

RNG = np.random.default_rng(0)


def features(rows, columns, channels=8, seed=0):
    values = np.random.default_rng(seed).standard_normal((channels, rows, columns)).astype(np.float32)
    return values / np.linalg.norm(values, axis=0)


def still(rows, columns):
    y, x = np.indices((rows, columns), dtype=np.float32)
    return np.stack([x, y], axis=2)


def column(evidence, name):
    return evidence[..., NAMES.index(name)]


def test_a_picture_matched_with_itself_has_the_best_evidence_there_is():
    picture, cells = features(5, 7), still(5, 7)
    for found in gather_evidence(picture, picture, 5, *[Decoded(cells, np.full((5, 7), 0.9, np.float32))] * 2):
        assert found.shape == (5, 7, len(NAMES))
        assert found.dtype == np.float32
        for name in ("cosine", "tuned cosine", "untouched cosine"):
            assert column(found, name) == pytest.approx(np.ones((5, 7)), abs=1e-5)
        for name in ("round trip", "roughness", "rival"):
            assert column(found, name) == pytest.approx(np.zeros((5, 7)), abs=1e-5)
        assert column(found, "peak") == pytest.approx(np.full((5, 7), np.log(9)), abs=1e-5)


def nearest(place, shape):
    return int(np.clip(np.rint(place[1]), 0, shape[1] - 1)), int(np.clip(np.rint(place[0]), 0, shape[2] - 1))


def slowly(source, target, tuned, there, back):
    """The same cell by cell, as the definitions read."""
    hs, ws = source.shape[1:]
    rows = np.zeros((hs, ws, len(NAMES)))
    for i, j in np.ndindex(hs, ws):
        x, y = there.cells[i, j]
        q = nearest(there.cells[i, j], target.shape)
        a, b = source[:, i, j], target[:, q[0], q[1]]
        for k, part in enumerate((slice(None), slice(0, tuned), slice(tuned, None))):
            norm = 1 if k == 0 else np.linalg.norm(a[part]) * np.linalg.norm(b[part])
            rows[i, j, k] = a[part] @ b[part] / norm
        peak = np.clip(there.peak[i, j], 1e-4, 1 - 1e-4)
        rows[i, j, 3] = np.log(peak / (1 - peak))
        home = back.cells[q] + (x - q[1], y - q[0])
        rows[i, j, 4] = min(np.linalg.norm(home - (j, i)), 6)
        apart = [
            min(np.linalg.norm(there.cells[i + dy, j + dx] - there.cells[i, j] - (dx, dy)), 6)
            for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))
            if 0 <= i + dy < hs and 0 <= j + dx < ws
        ]
        rows[i, j, 5] = np.mean(apart)
        own = nearest(back.cells[q], source.shape)
        rows[i, j, 6] = b @ source[:, own[0], own[1]] - a @ b
    return rows


def test_it_is_what_the_definitions_say():
    source, target = features(5, 6, seed=1), features(4, 7, seed=2)
    there = Decoded((RNG.random((5, 6, 2)) * (7, 4) - 0.4).astype(np.float32), RNG.random((5, 6)).astype(np.float32))
    back = Decoded((RNG.random((4, 7, 2)) * (6, 5) - 0.4).astype(np.float32), RNG.random((4, 7)).astype(np.float32))
    forward, backward = gather_evidence(source, target, 5, there, back)
    assert forward == pytest.approx(slowly(source, target, 5, there, back), abs=1e-4)
    assert backward == pytest.approx(slowly(target, source, 5, back, there), abs=1e-4)


def test_features_of_one_part_take_the_columns_of_both():
    source, target = features(3, 3, seed=3), features(3, 3, seed=4)
    decoded = Decoded(still(3, 3), np.full((3, 3), 0.5, np.float32))
    found, _ = gather_evidence(source, target, 8, decoded, decoded)
    assert (column(found, "tuned cosine") == column(found, "untouched cosine")).all()


def judge(hidden=3, channels=8, tuned=6):
    count = len(NAMES)
    shapes = {"enter_evidence": (count, hidden), "enter_cell": (tuned, hidden), "enter_match": (tuned, hidden)}
    shapes |= {"enter_bias": (hidden,), "leave": (hidden, 2), "leave_bias": (2,)}
    shapes |= {"kind_mean": (channels,), "kind": (channels, 4), "pair": (2 * count + 2,)}
    arrays = {name: RNG.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return Judge(np.zeros(count, np.float32), np.ones(count, np.float32), **arrays)


def test_probabilities_are_what_the_networks_give():
    one = judge()
    one.check(3)
    source, target = features(3, 4, channels=14, seed=5), features(2, 5, channels=14, seed=6)
    ways = [
        Decoded(RNG.uniform(0, 1, (*grid, 2)).astype(np.float32), RNG.uniform(0, 1, grid).astype(np.float32))
        for grid in ((3, 4), (2, 5))
    ]
    verdict = one.of(source, target, 6, *ways)
    evidence = gather_evidence(source, target, 6, *ways)
    y, x = 2, 1
    column, row = np.rint(ways[0].cells[y, x]).astype(int)
    own, other = (part / np.linalg.norm(part) for part in (source[:6, y, x], target[:6, row, column]))
    entered = evidence[0][y, x] @ one.enter_evidence + own @ one.enter_cell + other @ one.enter_match + one.enter_bias
    seen, right = 1 / (1 + np.exp(-(np.maximum(entered, 0) @ one.leave + one.leave_bias)))
    assert verdict.visibility[0][y, x] == pytest.approx(seen, abs=1e-5)
    assert verdict.confidence[0][y, x] == pytest.approx(right, abs=1e-5)
    assert [field.shape for field in (*verdict.confidence, *verdict.visibility)] == [(3, 4), (2, 5)] * 2
    back = one.of(target, source, 6, *ways[::-1])
    assert back.visibility[1] == pytest.approx(verdict.visibility[0], abs=1e-6)
    assert back.similarity == pytest.approx(verdict.similarity, abs=1e-6)


def test_a_pair_is_judged_alike_in_both_orders():
    one = judge()
    a, b = (RNG.standard_normal((4, 5, len(NAMES))).astype(np.float32) for _ in range(2))
    source, target = features(3, 4, seed=5), features(2, 5, seed=6)
    found = one.of_pair(a, b, source, target)
    assert 0 < found < 1
    assert found == pytest.approx(one.of_pair(b, a, target, source), abs=1e-6)


def test_a_kind_does_not_depend_on_the_norm_of_the_features():
    one, picture = judge(), features(3, 4)
    assert np.linalg.norm(one.kind_of(picture)) == pytest.approx(1, abs=1e-5)
    assert one.kind_of(0.1 * picture) == pytest.approx(one.kind_of(picture), abs=1e-5)


def test_a_summary_has_means_and_upper_quantiles():
    evidence = np.arange(22, dtype=np.float32).reshape(11, 1, 2)
    assert summarise(evidence).tolist() == pytest.approx([10, 11, 16, 17])


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="enter_evidence has shape"):
        judge().check(4)
