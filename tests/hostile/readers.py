"""Mutations of good files: every reader gives an answer or one of the library's errors, soon and within bounded memory.

In the suite, a few hundred under fixed seeds. By itself, many more: ``python tests/hostile/readers.py --count 10000``
prints a table of what was read, what was refused, and what did neither.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import signal
import sys
import tarfile
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

from semcorr.cli.points import read_points
from semcorr.data.download.archive import unpack
from semcorr.data.download.download import _recorded
from semcorr.data.formats.coco import load_coco
from semcorr.data.formats.keypoints import load_pairs
from semcorr.data.formats.pf_pascal import load_pf_pascal
from semcorr.data.formats.pf_willow import COLUMNS, load_pf_willow
from semcorr.data.formats.spair import load_spair
from semcorr.errors import SemcorrError
from semcorr.evaluation.run import FILE, RunOptions, fingerprint, predict
from semcorr.profiling.cost import FILE as COST_FILE
from semcorr.profiling.cost import _stored
from semcorr.training.recipe import read_recipe

SECONDS = 20
"""Longest time for one file, on a machine that is busy with other things."""

MEGABYTES = 4096
"""Address space of the process, beyond what it has when it begins."""

TOKENS = (
    *("null", "true", "NaN", "Infinity", "-1", "0", "1e999", "1e400", "-0.0", "99999999999999999999", "9" * 5000),
    *(
        '""',
        "[]",
        "{}",
        '"\\ud800"',
        '"\\u0000"',
        '"../x"',
        "é",
        "\x00",
        ",",
        ";",
        "\t",
        "\n",
        '"',
        "'",
        "\\",
        "%",
        "&a *a",
    ),
    *("!!python/object/apply:os.system [ls]", "&a *a", "<<: *a", "? [1, 2]", "- - -", "[" * 3000, "{" * 300),
)
VALUES = (
    None,
    True,
    -1,
    0,
    1.5,
    float("nan"),
    float("inf"),
    10**400,
    "",
    "x",
    "../x",
    "\0",
    "\ud800",
    [],
    [1],
    {},
    {"a": 1},
)


def mutated(good: bytes, rng: random.Random) -> bytes:
    """Change a file in one to three places, or cut it; as bytes, as text tokens, or as a JSON value."""
    data = good
    for _ in range(rng.randint(1, 3)):
        way = rng.randrange(6) if rng.random() < 0.5 else 5
        at = rng.randrange(len(data) + 1)
        if way == 0:
            data = data[:at]
        elif way == 1:
            data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        elif way == 2:
            data = data[:at] + data[at + rng.randrange(1, 40) :]
        elif way == 3:
            other = rng.randrange(len(data) + 1)
            data = data[:at] + data[other : other + rng.randrange(60)] + data[at:]
        elif way == 4:
            token = rng.choice(TOKENS).encode(errors="surrogatepass")
            data = data[:at] + token + data[at + rng.choice((0, 1, len(token))) :]
        else:
            data = _with_another_value(data, rng)
    return data


def _with_another_value(data: bytes, rng: random.Random) -> bytes:
    try:
        node = root = json.loads(data)
        while isinstance(node, (dict, list)) and node:
            keys = list(node) if isinstance(node, dict) else range(len(node))
            key = rng.choice(list(keys))
            if not isinstance(node[key], (dict, list)) or not node[key] or rng.random() < 0.3:
                node[key] = rng.choice(VALUES)
                break
            node = node[key]
        return json.dumps(root).encode(errors="surrogatepass")
    except (ValueError, RecursionError):
        return data


def _pictures(folder: Path, names: str, suffix: str = ".png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)).save(
            folder / f"{name}{suffix}"
        )


def _coco(root: Path) -> Path:
    _pictures(root, "abc")
    images = [{"id": i, "file_name": f"{name}.png", "width": 30, "height": 20} for i, name in enumerate("abc")]
    categories = [{"id": 1, "name": "cat", "keypoints": ["nose", "ear", "eye", "tail"]}]
    points = [5, 6, 2, 7, 8, 1, 9, 9, 2, 0, 0, 0]
    objects = [{"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 9, 9], "keypoints": points} for i in range(3)]
    (root / "coco.json").write_text(json.dumps({"images": images, "categories": categories, "annotations": objects}))
    return root / "coco.json"


def _keypoints(root: Path) -> None:
    _pictures(root / "images", "abc")
    entry = {
        "category": "cat",
        "width": 30,
        "height": 20,
        "bbox": [1, 1, 9, 9],
        "keypoints": {"nose": [5, 6], "eye": [7, 8]},
    }
    (root / "test.json").write_text(json.dumps([{"file": f"{name}.png", **entry} for name in "abc"]))
    (root / "test_pairs.json").write_text(json.dumps([["a.png", "b.png"], ["b.png", "c.png"]]))


def _spair(root: Path) -> Path:
    _pictures(root / "JPEGImages" / "cat", "ab", ".jpg")
    (root / "Layout" / "large").mkdir(parents=True)
    (root / "Layout" / "large" / "test.txt").write_text("000001-a-b:cat\n")
    pair: dict[str, Any] = {"category": "cat", "kps_ids": ["0", "1"], "viewpoint_variation": 0, "scale_variation": 1}
    pair |= {"truncation": 0, "occlusion": 0}
    for side, name in (("src", "a"), ("trg", "b")):
        pair |= {f"{side}_imname": f"{name}.jpg", f"{side}_imsize": [30, 20, 3], f"{side}_bndbox": [1, 1, 9, 9]}
        pair[f"{side}_kps"] = [[5, 6], [7, 8]]
    path = root / "PairAnnotation" / "test" / "000001-a-b:cat.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(pair))
    return path


def _pf_pascal(root: Path) -> tuple[Path, Path]:
    _pictures(root / "PF-dataset-PASCAL" / "JPEGImages", "ab", ".jpg")
    lists = root / "image_pairs"
    lists.mkdir()
    names = ",".join(f"PF-dataset-PASCAL/JPEGImages/{name}.jpg" for name in "ab")
    (lists / "train_pairs.csv").write_text(f"source_image,target_image,class,flip\n{names},8,0\n")
    (lists / "val_pairs.csv").write_text(f"source_image,target_image,class\n{names},8\n")
    (lists / "test_pairs.csv").write_text(
        f"source_image,target_image,class,XA,YA,XB,YB\n{names},8,50;60,70;80,50;60,70;80\n{names},8,50,70,50,70\n"
    )
    annotations = root / "PF-dataset-PASCAL" / "Annotations" / "cat"
    annotations.mkdir(parents=True)
    for name in "ab":
        savemat(annotations / f"{name}.mat", {"kps": [[5.0, 6.0], [7.0, 8.0]], "bbox": [1.0, 1.0, 9.0, 9.0]})
    return lists / "test_pairs.csv", annotations / "a.mat"


def _pf_willow(root: Path) -> Path:
    _pictures(root / "PF-dataset" / "duck", "ab")
    path = root / "test_pairs_pf.csv"
    numbers = ",".join(str(number % 19) for number in range(40))
    path.write_text(f"{','.join(COLUMNS)}\nPF-dataset/duck/a.png,PF-dataset/duck/b.png,{numbers}\n")
    return path


RECIPE = """
model:
  features: {backbone: tf_efficientnet_lite0, image_size: 160, grid: 10}
  radius: 1
data: somewhere
out: somewhere/else
steps: 8
pairs: 2
leave_out: [horse]
together: [[cat, dog]]
"""

DEEPLABCUT = "scorer,me,me,me,me\nbodyparts,nose,nose,ear,ear\ncoords,x,y,x,y\na/img1.png,265,243,1,2\na/b.png,1,2,,\n"


def _predictions(root: Path) -> tuple[Path, Callable[[], object]]:
    """Write what a run leaves on disk, and return how it is read again."""
    _keypoints(root)
    pairs = load_pairs(root).pairs
    lines = [{"pair": i, "points": [[1.0, 2.0], [3.0, 4.0]], "confidence": [0.5, 0.5]} for i in range(len(pairs))]
    header = {"fingerprint": fingerprint({}, pairs), "settings": {}, "pairs": len(pairs)}
    path = root / FILE
    path.write_text("".join(json.dumps(line) + "\n" for line in (header, *lines)))

    def load() -> Any:
        raise SemcorrError("matched again")

    return path, lambda: predict(load, {}, pairs, root, RunOptions(1))


def kinds(folder: Path) -> dict[str, tuple[Path, Callable[[], object]]]:
    """Build a good file of every kind: its path, and how it is read."""
    roots = {name: folder / name for name in ("coco", "keypoints", "spair", "pascal", "willow", "run", "archives")}
    for root in roots.values():
        root.mkdir()
    coco = _coco(roots["coco"])
    _keypoints(roots["keypoints"])
    spair = _spair(roots["spair"])
    pascal, mat = _pf_pascal(roots["pascal"])
    willow = _pf_willow(roots["willow"])
    predictions, resume = _predictions(roots["run"])
    (cost := folder / COST_FILE).write_text('{"fingerprint": "a", "matching": 0.1, "total": 0.2, "megabytes": 3.5}')
    (checksums := folder / "checksums.json").write_text(json.dumps({"a.zip": {"sha256": "0" * 64}}))
    (recipe := folder / "recipe.yaml").write_text(RECIPE)
    (csv := folder / "points.csv").write_text("name,x,y\nnose,12.5,30\near,1,2\n,,\n")
    (deeplabcut := folder / "deeplabcut.csv").write_text(DEEPLABCUT)
    (points := folder / "points.json").write_text('[[1, 2], {"x": 3, "y": 4, "name": "nose"}, null]')
    with zipfile.ZipFile(archive := roots["archives"] / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("set/a.txt", "text" * 99)
    with tarfile.open(tarball := roots["archives"] / "a.tar.gz", "w:gz") as file:
        file.add(csv, "set/points.csv")

    def unpacked(path: Path) -> object:
        with TemporaryDirectory() as to:
            return unpack(path, Path(to), max_bytes=10_000_000)

    def known() -> object:
        if (stored := _stored(cost, "a")) is None:
            raise SemcorrError("measured again")
        return stored

    return {
        "COCO": (coco, lambda: load_coco(coco, roots["coco"], count=5)),
        "COCO, skipping": (coco, lambda: load_coco(coco, roots["coco"], count=5, skip_broken=True)),
        "keypoints": (roots["keypoints"] / "test.json", lambda: load_pairs(roots["keypoints"])),
        "pairs": (roots["keypoints"] / "test_pairs.json", lambda: load_pairs(roots["keypoints"], skip_broken=True)),
        "SPair-71k": (spair, lambda: load_spair(roots["spair"])),
        "PF-PASCAL": (pascal, lambda: load_pf_pascal(roots["pascal"])),
        "PF-PASCAL .mat": (mat, lambda: load_pf_pascal(roots["pascal"], "val")),
        "PF-WILLOW": (willow, lambda: load_pf_willow(roots["willow"])),
        "points .csv": (csv, lambda: read_points(csv)),
        "points .json": (points, lambda: read_points(points)),
        "points, DeepLabCut": (deeplabcut, lambda: read_points(deeplabcut, "b.png")),
        "recipe": (recipe, lambda: read_recipe(recipe)),
        "predictions": (predictions, resume),
        "cost": (cost, known),
        "checksums": (checksums, lambda: _recorded(folder)),
        "archive .zip": (archive, lambda: unpacked(archive)),
        "archive .tar.gz": (tarball, lambda: unpacked(tarball)),
    }


@dataclass
class Outcome:
    """What became of the mutations of one kind; a failure is neither an answer nor an error of the library."""

    read: int = 0
    refused: int = 0
    slowest: float = 0.0
    failures: list[str] = field(default_factory=list)


def fuzz(path: Path, read: Callable[[], object], count: int, seed: int, seconds: float = SECONDS) -> Outcome:
    """Read so many mutations of a file; the good one is put back."""
    good, rng, outcome = path.read_bytes(), random.Random(f"{path.name} {seed}"), Outcome()
    try:
        for _ in range(count):
            path.write_bytes(data := mutated(good, rng))
            start = time.perf_counter()
            try:
                with _limited(seconds):
                    read()
                outcome.read += 1
            except (SemcorrError, FileNotFoundError, ValueError) as error:
                if type(error) not in (FileNotFoundError, ValueError) and not isinstance(error, SemcorrError):
                    outcome.failures.append(_described(data))  # such as a UnicodeDecodeError
                elif len(str(error).splitlines()) != 1 or len(str(error)) > 2000:
                    outcome.failures.append(f"not one line: {str(error)[:500]!r}")
                else:
                    outcome.refused += 1
            except BaseException:
                outcome.failures.append(_described(data))
            outcome.slowest = max(outcome.slowest, time.perf_counter() - start)
    finally:
        path.write_bytes(good)
    return outcome


def _described(data: bytes) -> str:
    return f"{''.join(traceback.format_exc()[-900:])}\n{data[:300]!r}"


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"took more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="mutations of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", help="only this kind")
    arguments = parser.parse_args()
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + (MEGABYTES << 20),) * 2)
    failed = 0
    print(f"{arguments.count} mutations a kind, seed {arguments.seed}; at most {SECONDS} s and {MEGABYTES} MB each\n")
    print("| kind | read | refused | neither | slowest | minutes |\n|---|---:|---:|---:|---:|---:|")
    with TemporaryDirectory() as folder:
        for name, (path, read) in kinds(Path(folder)).items():
            if arguments.kind in (None, name):
                start = time.perf_counter()
                outcome = fuzz(path, read, arguments.count, arguments.seed)
                minutes = (time.perf_counter() - start) / 60
                counts = f"{outcome.read} | {outcome.refused} | {len(outcome.failures)}"
                print(f"| {name} | {counts} | {outcome.slowest:.2f} s | {minutes:.1f} |", flush=True)
                failed += len(outcome.failures)
                for failure in outcome.failures[:3]:
                    print(failure, file=sys.stderr)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
