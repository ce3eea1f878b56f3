"""SIGKILL at random moments: each command, started again, resumes and ends with the files of an undisturbed run.

``PYTHONPATH=tests python tests/hostile/kill_matrix.py --times 20`` prints a table. Every run is a forked process of its
own, so that most moments fall into the work and not into the import of libraries. With ``--command annotate --times 3
--pictures 2000 --one-run``, thousands of pictures are labelled, one in fifty of them corrupt, in a run that is killed
three times.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from file_server import Server
from PIL import Image

import semcorr.data.download.download
import semcorr.evaluation.comparison
import semcorr.profiling.plan
import semcorr.training.loop  # noqa: F401 - imported before the fork
from semcorr.cli import main as run_command
from semcorr.data.formats.pf_willow import COLUMNS
from semcorr.weights import read_weights

SMALL = ("--grid", "6", "--no-cost", "--batch", "2")

RECIPE = """
model:
  features: {backbone: tf_efficientnet_lite0, image_size: 96, grid: 6}
  radius: 1
  hidden: 4
steps: 24
pairs: 2
validate_every: 2
validation_pairs: 2
warmup: 2
"""


@dataclass(frozen=True)
class Case:
    """A command that writes to the folder ``out``, and what of it must be the same whenever it was killed."""

    arguments: tuple[str, ...]
    contents: Callable[[Path], dict[str, str]]


def files_of(folder: Path) -> dict[str, str]:
    """Return the checksum of every file; nothing else may be left."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def files_beside(folder: Path) -> dict[str, str]:
    """Return the same of a command that makes no folder ``out``."""
    return {name: digest for name, digest in files_of(folder.parent).items() if name != "log"}


def measured(folder: Path) -> dict[str, str]:
    """Return which figures a benchmark has: the figures themselves differ from run to run."""
    cases = json.loads((folder / "benchmark.json").read_text())["cases"]
    rows = {json.dumps(case.pop("case")): ", ".join(sorted(case)) for case in cases}
    return rows | dict.fromkeys(sorted(path.name for path in folder.iterdir()), "")


def learned(folder: Path) -> dict[str, str]:
    """Return the checksums of what training has learned: the files also say how long it took."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = {}
    for path in files:
        tensors = read_weights(path).tensors if path.suffix == ".safetensors" else {}
        digest = hashlib.sha256(b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors)))
        sums[str(path.relative_to(folder))] = digest.hexdigest()
    return sums


def build(folder: Path) -> Path:
    """Write twelve pairs of noise with keypoints."""
    (folder / "images").mkdir(parents=True)
    entries = []
    for name in range(4):
        pixels = np.random.default_rng(name).integers(0, 255, (12, 16, 3), np.uint8)
        Image.fromarray(pixels).resize((320, 240)).save(folder / "images" / f"{name}.png")
        points = {"nose": [50 + name, 60], "ear": [200, 100 + name], "tail": [120 - name, 180]}
        entries.append({"file": f"{name}.png", "category": "cat", "keypoints": points})
    names = [entry["file"] for entry in entries]
    for split in ("train", "val", "test"):
        (folder / f"{split}.json").write_text(json.dumps(entries))
        (folder / f"{split}_pairs.json").write_text(json.dumps([[a, b] for a in names for b in names if a != b]))
    return folder


def build_pictures(folder: Path, count: int) -> Path:
    """Write so many small pictures to label, one in fifty of them corrupt in one of four ways, and an exemplar."""
    (folder / "pictures").mkdir(parents=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 255, (6, 8, 3), np.uint8)
        data = io.BytesIO()
        Image.fromarray(pixels).resize((96, 72), Image.Resampling.BICUBIC).save(data, "JPEG")
        content = data.getvalue()
        if number % 50 == 7:
            content = [content[: len(content) // 2], b"", b"no picture", bytes(1000)][number // 50 % 4]
        (folder / "pictures" / f"{number:05}.jpg").write_bytes(content)
    shutil.copy(folder / "pictures" / "00000.jpg", folder / "exemplar.jpg")
    rows = [f"exemplar.jpg,{name},{x},{y}" for name, x, y in [("nose", 40, 30), ("ear", 70, 20), ("tail", 15, 60)]]
    (folder / "exemplar.csv").write_text("\n".join(["picture,point,x,y", *rows]) + "\n")
    return folder


def serve(server: Server, folder: Path) -> None:
    """Serve a data set in PF-WILLOW's layout, some megabytes in many files."""
    with zipfile.ZipFile(folder / "PF-dataset.zip", "w") as file:
        for number in range(400):
            file.writestr(f"PF-dataset/duck/{number}.png", np.random.default_rng(number).bytes(50_000))
    server.files["/PF-dataset.zip"] = (folder / "PF-dataset.zip").read_bytes()
    server.files["/test_pairs_pf.csv"] = (",".join(COLUMNS) + "\n").encode()


def cases(folder: Path, server: Server, pictures: int) -> dict[str, Case]:
    """Return every command that writes more than one file, or takes long."""
    pairs, labels = str(build(folder / "pairs")), build_pictures(folder / "labels", pictures)
    serve(server, folder)
    short = ("--methods", "nearest", "--grids", "6,8", "--runs", "1", "--figures", "cost")
    download = ("data", "download", "pf-willow", "--mirror", server.url, "--to", "out")
    outputs = ("--out", "labels.json", "--out", "labels.csv", "--report", "check.html")
    annotate = ("annotate", str(labels / "exemplar.csv"), str(labels / "pictures"), *outputs)
    export = ("export", "--model", "pmnc-universal", "--out", "out/model.onnx")
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE)
    train = ("train", str(recipe), "--data", pairs, "--out", "out")
    return {
        "train": Case(train, learned),
        "evaluate": Case(("evaluate", pairs, "--model", "pmnc", *SMALL, "--out", "out"), files_of),
        "compare": Case(("compare", pairs, "--models", "nearest,pmnc", *SMALL, "--out", "out"), files_of),
        "data download": Case(download, files_of),
        "export": Case(export, files_of),
        "annotate": Case(annotate, files_beside),
        "benchmark": Case(("benchmark", *short, "--out", "out"), measured),
    }


def start(arguments: tuple[str, ...], folder: Path, limit: int | None = None) -> int:
    """Start a command in a forked process, in a folder; with a limit, no file there can grow beyond so many bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    if process := os.fork():
        return process
    os.setpgid(0, 0)  # the processes that it starts die with it
    os.chdir(folder)
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1), os.dup2(log, 2)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.argv = ["semcorr", *arguments]
    code = 1
    try:
        run_command()
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:  # a traceback: what must not be
        sys.excepthook(*sys.exc_info())
        code = 99
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


def finish(arguments: tuple[str, ...], folder: Path, limit: int | None = None) -> tuple[int, float]:
    """Run a command to its end; return the exit code and the seconds it took."""
    begun = time.perf_counter()
    _, status = os.waitpid(start(arguments, folder, limit), 0)
    return os.waitstatus_to_exitcode(status), time.perf_counter() - begun


def kill(arguments: tuple[str, ...], folder: Path, seconds: float) -> bool:
    """Run a command and kill it after so long; tell whether it was still running."""
    process = start(arguments, folder)
    time.sleep(seconds)
    running = os.waitpid(process, os.WNOHANG)[0] == 0
    if running:
        os.killpg(process, signal.SIGKILL)
        os.waitpid(process, 0)
    return running


class Verdict(NamedTuple):
    """How often a command was killed at work, how often the end was the same, what was wrong, and the true end."""

    killed: int
    same: int
    problems: list[str]
    expected: dict[str, str]


def check(case: Case, folder: Path, times: int, one_run: bool = False, seed: int = 0) -> Verdict:
    """Kill a command so many times: each time another run, resumed to its end, or one run that is resumed each time."""
    code, seconds = finish(case.arguments, folder / "whole")
    if code:
        return Verdict(0, 0, [(folder / "whole" / "log").read_text()[-2000:]], {})
    expected = case.contents(folder / "whole" / "out")
    rng, killed, same, problems = random.Random(seed), 0, 0, []
    kills = times if one_run else 1
    for number in range(times // kills):
        own = folder / f"killed-{number}"
        for _ in range(kills):
            killed += kill(case.arguments, own, rng.uniform(0, seconds / kills))
        code, _ = finish(case.arguments, own)
        found = case.contents(own / "out") if code == 0 else {}
        if found == expected:
            same += 1
        else:
            differing = {name for name in {*found, *expected} if found.get(name) != expected.get(name)}
            problems.append(f"exit code {code}, {sorted(differing)}: {(own / 'log').read_text()[-500:]}")
        shutil.rmtree(own)
    return Verdict(killed, same, problems, expected)


def check_full_disk(case: Case, folder: Path, limit: int, expected: dict[str, str]) -> list[str]:
    """Run a command where files cannot grow, and again where they can; return what was wrong."""
    code, _ = finish(case.arguments, folder / "full", limit)
    log = (folder / "full" / "log").read_text()
    problems = []
    if code != 2 or "Traceback" in log or not log.splitlines()[-1].startswith("semcorr: "):
        problems.append(f"exit code {code}: {(folder / 'full' / 'log').read_text()[-1500:]}")
    code, _ = finish(case.arguments, folder / "full")
    if code or case.contents(folder / "full" / "out") != expected:
        problems.append(f"not resumed, exit code {code}: {(folder / 'full' / 'log').read_text()[-500:]}")
    return problems


LIMITS = {
    "train": 2000,
    "evaluate": 2000,
    "compare": 2000,
    "data download": 3_000_000,
    "export": 50_000,
    "benchmark": 300,
    "annotate": 5000,
}
"""Bytes beyond which no file can grow in the check of a full disk: less than the largest file of each command."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--command", help="only this one")
    parser.add_argument("--one-run", action="store_true", help="kill the same run each time, not a new one")
    parser.add_argument("--pictures", type=int, default=100, help="how many annotate labels")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| command | killed at work | same end | full disk | minutes |\n|---|---:|---:|---|---:|")
    failed, server = False, Server()
    with TemporaryDirectory() as root:
        for name, case in cases(Path(root), server, arguments.pictures).items():
            if arguments.command in (None, name):
                begun = time.perf_counter()
                home = Path(root, name.replace(" ", "-"))
                verdict = check(case, home, arguments.times, arguments.one_run)
                full = check_full_disk(case, home, LIMITS[name], verdict.expected)
                minutes, disk = (time.perf_counter() - begun) / 60, "failed" if full else "one line, resumed"
                runs = 1 if arguments.one_run else arguments.times
                kills = f"{verdict.killed} of {arguments.times} | {verdict.same} of {runs}"
                print(f"| {name} | {kills} | {disk} | {minutes:.1f} |", flush=True)
                if name == "annotate":
                    print((home / "whole" / "log").read_text(), file=sys.stderr)
                for problem in (*verdict.problems[:3], *full):
                    print(problem, file=sys.stderr)
                failed |= verdict.same < runs or bool(full)
    server.close()
    sys.exit(failed)


if __name__ == "__main__":
    main()
