"""How should several exemplars answer together? Rules compared on the same matches.

    python benchmarks/exemplar_votes.py FOLDER --photos val --exemplars 3

FOLDER and the exemplars are those of benchmarks/annotation.py; every point counts, without thresholds. A rule takes for
each point the answer of the exemplar that is most similar to the picture, or of the one that is most confident of the
point, or the median of all answers, or `semcorr.annotation.voting.vote`.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from annotation import ALPHAS, draw_exemplars

import semcorr
from semcorr.annotation.evidence import Evidence, gather_evidence
from semcorr.annotation.voting import vote
from semcorr.data.formats.keypoints import load_photos
from semcorr.data.pairs import Photo


def answer(members: list[Photo], chosen: list[int], evidence: list[Evidence], photo: Photo) -> dict[str, np.ndarray]:
    """Return the answer of each rule for the points of a photograph that any exemplar has, ``(N, 2)``."""
    own = [list(members[i].keypoints) for i in chosen]
    names = [name for name in photo.keypoints if any(name in one for one in own)]
    points = np.full((len(names), len(chosen), 2), np.nan)
    confidence, visibility = np.zeros(points.shape[:2]), np.zeros(points.shape[:2])
    for column, (one, found) in enumerate(zip(own, evidence, strict=True)):
        rows = [row for row, name in enumerate(names) if name in one]
        index = [one.index(names[row]) for row in rows]
        points[rows, column] = found.points[index]
        confidence[rows, column], visibility[rows, column] = found.confidence[index], found.visibility[index]
    has, rows = ~np.isnan(points[..., 0]), np.arange(len(names))
    similarity = np.where(has, [one.similarity for one in evidence], -1)
    return {
        "most similar exemplar": points[rows, similarity.argmax(1)],
        "most confident": points[rows, np.where(has, confidence * visibility, -1).argmax(1)],
        "median": np.nanmedian(points, axis=1),
        "vote": vote(points, confidence, visibility, max(photo.size)).points,
        "truth": np.array([photo.keypoints[name] for name in names]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", default="val", help="stem of the JSON file")
    parser.add_argument("--exemplars", type=int, default=3)
    parser.add_argument("--leave-out", default="person,people", help="categories, with commas in between")
    arguments = parser.parse_args()
    categories: dict[str, list[Photo]] = {}
    for photo in load_photos(arguments.folder, arguments.photos):
        if photo.category not in arguments.leave_out.split(","):
            categories.setdefault(photo.category, []).append(photo)
    model, scores = semcorr.load(), defaultdict(list)
    for members in categories.values():
        chosen = draw_exemplars(members, arguments.exemplars, seed=0)
        rest = [photo for i, photo in enumerate(members) if i not in chosen]
        encoded = [model.encode(members[i].path) for i in chosen]
        points = [np.clip(np.float32(list(members[i].keypoints.values())), 0, members[i].size[::-1]) for i in chosen]
        for photo, matches in zip(rest, model.match_all(encoded, (photo.path for photo in rest)), strict=True):
            evidence = [gather_evidence(match, own) for match, own in zip(matches, points, strict=True)]
            answers = answer(members, chosen, evidence, photo)
            truth = answers.pop("truth")
            for rule, found in answers.items():
                error = np.linalg.norm(found - truth, axis=1) / max(photo.size)
                scores[rule].append([np.mean(error <= alpha) for alpha in ALPHAS])
    print("| rule | " + " | ".join(f"PCK@{alpha:g}" for alpha in ALPHAS) + " |\n|---|" + "---|" * len(ALPHAS))
    for rule, values in scores.items():
        print(f"| {rule} | " + " | ".join(f"{100 * value:.1f}" for value in np.mean(values, axis=0)) + " |")


if __name__ == "__main__":
    main()
