"""How good are the labels, with one, three and five exemplars, and how much work is left?

Takes a folder of photographs with named keypoints (see ``semcorr.data.formats.keypoints``). Of each category, some
photographs serve as exemplars and all others are labelled. Exemplars are drawn from those with most points, as a person
would choose them. A label is right within a tenth of the photograph's longer side; one for a point that the photograph
lacks is wrong. The work that is left: points to move, which are more than 0.05 of that side away; to add, which the
photograph has and which got no label; and to remove, which it lacks.

    python benchmarks/annotation.py FOLDER --photos test --exemplars 1,3,5 --draws 3
    python benchmarks/annotation.py FOLDER --photos test --exemplars 1 --correct 10
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import semcorr
from semcorr.annotation.exemplars import choose, prepare
from semcorr.annotation.labeller import Labeller
from semcorr.annotation.pictures import Target
from semcorr.annotation.records import Annotation, Point
from semcorr.annotation.settings import Settings
from semcorr.data.formats.keypoints import load_photos
from semcorr.data.pairs import Photo

ALPHAS = (0.1, 0.05)


def draw_exemplars(photos: Sequence[Photo], count: int, seed: int) -> list[int]:
    """Choose photographs that have at least seven in ten of the most points that any has."""
    most = max(len(photo.keypoints) for photo in photos)
    good = [i for i, photo in enumerate(photos) if len(photo.keypoints) >= 0.7 * most]
    order = np.random.default_rng(seed).permutation(good)
    return [int(i) for i in order[:count]]


def label(
    model: semcorr.Matcher, photos: Sequence[Photo], chosen: Sequence[int], settings: Settings
) -> list[Annotation]:
    """Label all photographs but ``chosen[:5]`` with the exemplars ``chosen``."""
    exemplars = [
        prepare(
            Annotation(photos[i].path.name, photos[i].size, {n: Point(*p) for n, p in photos[i].keypoints.items()}),
            photos[i].path,
            None,
        )
        for i in chosen
    ]
    targets = [Target(str(i), photo.path) for i, photo in enumerate(photos)]
    return [one for _, one in Labeller(model, exemplars, settings).label(targets)]


def measure(photos: Sequence[Photo], labels: Sequence[Annotation]) -> dict[str, float]:
    """Compare labels with the truth; all values in per cent but the counts."""
    per_image, errors, confidence, given = [], [], [], []
    work = {"move": 0, "add": 0, "remove": 0, "from nothing": 0}
    for photo, annotation in zip(photos, labels, strict=True):
        side = max(photo.size)
        own = []
        for name, point in annotation.points.items():
            truth = photo.keypoints.get(name)
            error = np.hypot(point.x - truth[0], point.y - truth[1]) / side if truth and point.v else np.inf
            if truth:
                own.append(error)
                confidence.append(point.confidence)
            if point.v:
                given.append((point.v, error))
            work["move"] += bool(truth and point.v and error > 0.05)
            work["add"] += bool(truth and not point.v)
            work["remove"] += bool(point.v and not truth)
            work["from nothing"] += bool(truth)
        errors += own
        per_image.append([np.mean(np.array(own) <= alpha) for alpha in ALPHAS] if own else [np.nan] * 2)
    error, sure = np.array(errors), np.array([e for v, e in given if v == 2])
    half = np.array(confidence) >= np.median(confidence)
    return {
        "photographs": len(photos),
        **{f"PCK@{alpha:g}": 100 * value for alpha, value in zip(ALPHAS, np.nanmean(per_image, axis=0), strict=True)},
        **{f"surer half @{alpha:g}": 100 * np.mean(error[half] <= alpha) for alpha in ALPHAS},
        "labels": len(given),
        "v=2": len(sure),
        "v=2 right": 100 * np.mean(sure <= 0.1) if len(sure) else np.nan,
        **work,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", default="test", help="stem of the JSON file")
    parser.add_argument("--exemplars", default="1,3,5")
    parser.add_argument("--draws", type=int, default=3, help="how many sets of exemplars to average over")
    parser.add_argument("--leave-out", default="person,people", help="categories, with commas in between")
    parser.add_argument("--rotations", type=int, default=1)
    parser.add_argument("--min-visibility", type=float, help="as in semcorr annotate; by default its own")
    parser.add_argument("--model", default="pmnc")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--calibrate", action="store_true", help="print thresholds to choose `SURE` by")
    parser.add_argument("--correct", type=int, help="correct so many of the least certain, and label the others again")
    arguments = parser.parse_args()
    categories: dict[str, list[Photo]] = {}
    for photo in load_photos(arguments.folder, arguments.photos):
        if photo.category not in arguments.leave_out.split(","):
            categories.setdefault(photo.category, []).append(photo)
    model = semcorr.load(arguments.model, weights=arguments.weights)
    counts = [int(count) for count in arguments.exemplars.split(",")]
    free = Settings(rotations=arguments.rotations)
    if arguments.min_visibility is not None:
        free = replace(free, min_visibility=arguments.min_visibility)
    if arguments.calibrate:
        free = replace(free, min_confidence=0, min_visibility=0)
    if arguments.correct:
        correct(model, categories, counts[0], arguments.correct, free)
        return
    for count in counts:
        rows, photos, labels, begun = [], [], [], time.perf_counter()
        for draw in range(arguments.draws):
            for members in categories.values():
                chosen = draw_exemplars(members, max(counts), draw)
                found = label(model, members, chosen[:count], free)
                kept = [i for i in range(len(members)) if i not in chosen]  # the same photographs for all counts
                photos += [members[i] for i in kept]
                labels += [found[i] for i in kept]
        seconds = time.perf_counter() - begun
        rows.append(measure(photos, labels) | {"per second": len(labels) / seconds})
        if count == counts[0]:
            print("| exemplars | " + " | ".join(rows[0]) + " |\n|---|" + "---|" * len(rows[0]))
        print(f"| {count} | " + " | ".join(f"{value:.4g}" for value in rows[0].values()) + " |", flush=True)
        if arguments.calibrate:
            calibrate(photos, labels)


def correct(
    model: semcorr.Matcher, categories: dict[str, list[Photo]], count: int, most: int, settings: Settings
) -> None:
    """Label, correct the least certain photographs of each category, and label all others again."""
    before, after, rest = [], [], []
    for members in categories.values():
        chosen = draw_exemplars(members, count, seed=0)
        first = label(model, members, chosen, settings)
        others = sorted((i for i in range(len(members)) if i not in chosen), key=lambda i: first[i].score)
        worst = choose(count + most, count, settings.most_exemplars)
        second = label(model, members, [[*chosen, *others[:most]][i] for i in worst], settings)
        kept = others[most:]
        rest += [members[i] for i in kept]
        before += [first[i] for i in kept]
        after += [second[i] for i in kept]
    rows = {"before": measure(rest, before), f"{most} corrected": measure(rest, after)}
    print("| | " + " | ".join(rows["before"]) + " |\n|---|" + "---|" * len(rows["before"]))
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join(f"{value:.4g}" for value in row.values()) + " |")


def calibrate(photos: Sequence[Photo], labels: Sequence[Annotation]) -> None:
    """Print from which confidence times visibility on nine in ten labels are right, with absent points wrong."""
    pairs = []
    for photo, annotation in zip(photos, labels, strict=True):
        for name, point in annotation.points.items():
            truth = photo.keypoints.get(name)
            right = bool(truth) and np.hypot(point.x - truth[0], point.y - truth[1]) <= 0.1 * max(photo.size)
            pairs.append((point.confidence * point.visibility, right, bool(truth)))
    pairs.sort(reverse=True)
    confidence, right, there = np.array(pairs, dtype=float).T
    for name, keep in [("all points", np.ones(len(pairs), bool)), ("points that are there", there > 0)]:
        share = np.cumsum(right[keep]) / np.arange(1, keep.sum() + 1)
        reached = np.flatnonzero(share >= 0.9)
        last = reached.max() if len(reached) else 0
        percent = 100 * (last + 1) / keep.sum()
        print(f"{name}: from {confidence[keep][last]:.2f} on 90 % are right, {percent:.0f} % of them")


if __name__ == "__main__":
    main()
