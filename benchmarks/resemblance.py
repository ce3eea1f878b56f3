"""From which similarity on does a picture resemble an exemplar? What `semcorr.annotation.report.UNLIKE` is chosen by.

    python benchmarks/resemblance.py FOLDER --others PHOTOGRAPHS --categories faces,butterfly,chair+wheelchair

Each category's exemplars are matched with pictures of the same category and of all others, and each picture counts with
its most similar exemplar. FOLDER holds photographs with named keypoints (see ``semcorr.data.formats.keypoints``),
PHOTOGRAPHS further ones, category/*.jpg. The table says how many pictures each threshold would list as resembling no
exemplar: few of the same category, and most of the others. Categories of FOLDER are not compared with one another, nor
those joined by a plus: they do resemble each other.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

import semcorr
from semcorr.data.formats.keypoints import load_photos
from semcorr.metrics import auroc

THRESHOLDS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def collect(arguments: argparse.Namespace) -> dict[str, tuple[str, list[Path]]]:
    """Return for each category the group whose members are not compared with one another, and its pictures."""
    found: dict[str, tuple[str, list[Path]]] = {}
    for photo in load_photos(arguments.folder, arguments.photos):
        if photo.category not in arguments.leave_out.split(","):
            found.setdefault(photo.category, (arguments.folder.name, []))[1].append(photo.path)
    for group in filter(None, arguments.categories.split(",")):
        for name in group.split("+"):
            found[name] = group, sorted((arguments.others / name).glob("*.jpg"))
    draw = np.random.default_rng(0)
    return {
        name: (group, [files[i] for i in draw.permutation(len(files))[: arguments.each]])
        for name, (group, files) in found.items()
    }


def similarities(
    model: semcorr.Matcher, pictures: dict[str, tuple[str, list[Path]]], exemplars: int
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64]]:
    """Return each category's similarities within it ``(N,)``, and those of all pairs of unlike categories ``(M,)``."""
    encoded = {name: [model.encode(file) for file in files] for name, (_, files) in track(pictures.items(), "encoding")}
    alike, unlike = {}, []
    for name, (group, _) in track(pictures.items(), "matching"):
        chosen, own = encoded[name][:exemplars], encoded[name][exemplars:]
        foreign = [one for other in pictures if pictures[other][0] != group for one in encoded[other][exemplars:]]
        found = [[match.similarity for match in model.match_each(one, [*own, *foreign])] for one in chosen]
        most = np.array(found, dtype=float).max(axis=0)
        alike[name] = most[: len(own)]
        unlike.append(most[len(own) :])
    return alike, np.concatenate(unlike)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", default="val", help="stem of the JSON file")
    parser.add_argument("--others", type=Path, default=Path(), help="folder of further categories")
    parser.add_argument("--categories", default="", help="which of them, with commas in between")
    parser.add_argument("--leave-out", default="person,people", help="categories of FOLDER, with commas in between")
    parser.add_argument("--exemplars", type=int, default=1)
    parser.add_argument("--each", type=int, default=12, help="pictures of a category, exemplars included")
    arguments = parser.parse_args()
    alike, unlike = similarities(semcorr.load(), collect(arguments), arguments.exemplars)
    same = np.concatenate(list(alike.values()))
    print(f"{len(same)} pictures of the exemplars' category, {len(unlike)} of others, {arguments.exemplars} exemplars:")
    print(f"AUROC {auroc(torch.tensor(same), torch.tensor(unlike)):.3f}")
    print("| less than | of the same category | of others | balanced accuracy |\n|---|---|---|---|")
    for threshold in THRESHOLDS:
        listed, found = 100 * (same < threshold).mean(), 100 * (unlike < threshold).mean()
        print(f"| {threshold} | {listed:.1f} % | {found:.1f} % | {(100 - listed + found) / 2:.1f} % |")
    worst = sorted(alike, key=lambda name: float(np.quantile(alike[name], 0.1)))[:5]
    print("lowest tenth: " + ", ".join(f"{name} {np.quantile(alike[name], 0.1):.2f}" for name in worst))


if __name__ == "__main__":
    main()
