"""Objects of categories that no keypoints were trained on, labelled by eye for this project: a set to validate on.

python benchmarks/objects.py CATEGORIES runs/objects
semcorr compare runs/objects --models nearest,pmnc-universal,pmnc --no-cost

CATEGORIES holds photographs of Caltech-101, category/image_0001.jpg. objects.json has 28 of them, in five categories;
its points are in per cent of width and height, read off a grid of 5 %, so that α below 0.05 says little.
The photographs themselves, without their points, are among those that `pmnc` is trained on warps of.
"""

from __future__ import annotations

import argparse
import json
from itertools import permutations
from pathlib import Path

from PIL import Image

LABELS = Path(__file__).with_suffix(".json")


def main() -> None:
    """Write a folder as `semcorr.data.formats.keypoints` reads it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("categories", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    (arguments.out / "images").mkdir(parents=True, exist_ok=True)
    photographs = []
    for name, points in json.loads(LABELS.read_text()).items():
        with Image.open(arguments.categories / name) as image:
            width, height = image.size
            category, file = name.split("/")
            image.convert("RGB").save(arguments.out / "images" / f"{category}-{file}", quality=95)
        keypoints = {key: [x / 100 * width, y / 100 * height] for key, (x, y) in points.items()}
        photograph = {"file": f"{category}-{file}", "category": category, "width": width, "height": height}
        photographs.append(photograph | {"bbox": [0, 0, width, height], "keypoints": keypoints})
    pairs = [(a["file"], b["file"]) for a, b in permutations(photographs, 2) if a["category"] == b["category"]]
    (arguments.out / "test.json").write_text(json.dumps(photographs))
    (arguments.out / "test_pairs.json").write_text(json.dumps(pairs))
    print(f"{len(photographs)} photographs, {len(pairs)} pairs: {arguments.out}")


if __name__ == "__main__":
    main()
