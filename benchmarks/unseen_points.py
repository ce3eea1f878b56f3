"""Points that a model never saw, of categories that it was trained on: make the data sets of that experiment.

python benchmarks/unseen_points.py FOLDER runs/unseen-points
semcorr train configs/pmnc-unseen-points.yaml --data runs/unseen-points/seen --photographs PHOTOGRAPHS
semcorr compare runs/unseen-points/unseen --models nearest,pmnc --weights runs/pmnc-unseen-points/pmnc.safetensors

FOLDER is in the layout of `semcorr.data.formats.keypoints`. In ``seen``, photographs of all splits lack the keypoints
that are named; in ``unseen``, those of the validation and test lists have no others. Pictures are linked, not copied.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from semcorr.data.formats.keypoints import SPLITS

LEFT_OUT = "throat withers left_front_knee right_front_knee left_back_knee right_back_knee left_knee right_knee neck"


def main() -> None:
    """Write both folders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--points", nargs="+", default=LEFT_OUT.split(), metavar="NAME", help="keypoints to leave out")
    arguments = parser.parse_args()
    left_out = set(arguments.points)
    for part in ("seen", "unseen"):
        folder = arguments.out / part
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "images").exists():
            (folder / "images").symlink_to((arguments.folder / "images").resolve(), target_is_directory=True)
        for split in SPLITS:
            photographs = json.loads((arguments.folder / f"{split}.json").read_text())
            points = write(
                photographs, arguments.folder / f"{split}_pairs.json", folder, split, left_out, part == "unseen"
            )
            print(f"{folder} {split}: {points} points")


def write(
    photographs: list[dict[str, Any]], pairs: Path, folder: Path, split: str, left_out: set[str], unseen: bool
) -> int:
    """Write the photographs of a split with some of their keypoints, and the pairs that still share one.

    Returns:
        The number of keypoints.
    """
    kept = {}
    for photograph in photographs:
        points = {name: at for name, at in photograph["keypoints"].items() if (name in left_out) == unseen}
        if points:
            kept[photograph["file"]] = photograph | {"keypoints": points}
    (folder / f"{split}.json").write_text(json.dumps(list(kept.values())))
    if pairs.exists():
        listed = [
            [a, b]
            for a, b in json.loads(pairs.read_text())
            if a in kept and b in kept and kept[a]["keypoints"].keys() & kept[b]["keypoints"].keys()
        ]
        (folder / f"{split}_pairs.json").write_text(json.dumps(listed))
    return sum(len(photograph["keypoints"]) for photograph in kept.values())


if __name__ == "__main__":
    main()
