"""The run: match the pairs of a data set, and keep the predictions on disk as they come.

Pairs are matched in blocks that depend on the list alone, and a block is written whole: a run that was killed goes on
with the block that it stopped in and gives the very same predictions. Once all are there, nothing is matched any more,
and they can be scored as often as wanted.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from semcorr.data.pairs import Pair
from semcorr.errors import DataError
from semcorr.evaluation.results import Prediction
from semcorr.image import load_image
from semcorr.model import Encoded, Matcher

FILE = "predictions.jsonl"


@dataclass(frozen=True)
class RunOptions:
    """How a run is done; the predictions do not depend on it.

    Attributes:
        batch: Pairs in a block, matched together where their grids are alike.
        workers: Threads that read pictures ahead.
        cache_megabytes: Memory for pictures and features that are kept for later pairs.
    """

    batch: int = 8
    workers: int = 2
    cache_megabytes: int = 1024

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise ValueError(f"{name} must be 1 or more; got {value}")


@dataclass(frozen=True)
class Predictions:
    """What a run left on disk.

    Attributes:
        predictions: One for each pair, in the order of the list.
        seconds_per_pair: Medians: ``"matching"``, and ``"total"`` with the features of the pictures that were new.
        peak_megabytes: Most memory that the process of the run held.
    """

    predictions: list[Prediction]
    seconds_per_pair: dict[str, float]
    peak_megabytes: float


def predict(
    load_model: Callable[[], Matcher],
    settings: dict[str, object],
    pairs: Sequence[Pair],
    out: Path,
    options: RunOptions = RunOptions(),
    fresh: bool = False,
) -> Predictions:
    """Match the pairs that have no prediction yet, and return all predictions.

    Args:
        load_model: Loads the model; called only if there is something to match.
        settings: All that the predictions depend on, plain JSON values: the run is known by it and by its pairs.
        pairs: The pairs.
        out: The run's folder, for ``predictions.jsonl``.
        options: How it is done.
        fresh: Begin anew, though there are predictions.

    Raises:
        DataError: If the folder holds another run's predictions.
        ImageError: If a picture cannot be read.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / FILE
    header = {"fingerprint": fingerprint(settings, pairs), "settings": settings, "pairs": len(pairs)}
    if fresh or not path.exists():
        path.write_text(json.dumps(header) + "\n")
    lines = _whole_blocks(path, header["fingerprint"], len(pairs), options.batch)
    if len(lines) < len(pairs):
        with path.open("a") as file:
            for block in _match_blocks(load_model(), pairs, len(lines), options):
                file.write("".join(json.dumps(line) + "\n" for line in block))
                file.flush()
                lines += block
    predictions = [
        Prediction([(x, y) for x, y in line["points"]], line["confidence"], line["matching"]) for line in lines
    ]
    seconds = {key: statistics.median(line[key] for line in lines) for key in ("matching", "total")}
    return Predictions(predictions, seconds, max(line["megabytes"] for line in lines))


def fingerprint(settings: dict[str, object], pairs: Sequence[Pair]) -> str:
    """Name a run by what its predictions depend on: the settings, and the names, sizes and points of the pairs."""
    described = [
        [[photo.path.name, photo.size, sorted(photo.keypoints.items())] for photo in (pair.source, pair.target)]
        for pair in pairs
    ]
    return hashlib.sha256(json.dumps([settings, described], sort_keys=True).encode()).hexdigest()[:16]


def _whole_blocks(path: Path, expected: object, count: int, batch: int) -> list[dict[str, Any]]:
    """Read what an earlier run wrote, and cut the file behind its last whole block."""
    lines, end, ends = [], 0, [0]
    with path.open("rb") as file:
        for raw in file:
            try:
                lines.append(json.loads(raw))
            except ValueError:
                break  # the line that the run was killed in
            end += len(raw)
            ends.append(end)
    if not lines or lines[0].get("fingerprint") != expected:
        raise DataError(f"{path} holds predictions of other settings or pairs: give another --out, or --fresh")
    done = min(len(lines) - 1, count)
    if done < count:
        done -= done % batch
    os.truncate(path, ends[done + 1])
    return lines[1 : done + 1]


def _match_blocks(
    model: Matcher, pairs: Sequence[Pair], start: int, options: RunOptions
) -> Iterator[list[dict[str, Any]]]:
    """Match block after block, reading the pictures of the next one meanwhile."""
    known: OrderedDict[Path, Encoded] = OrderedDict()
    blocks = [pairs[i : i + options.batch] for i in range(start, len(pairs), options.batch)]
    console = Console(stderr=True)
    rate = TextColumn("{task.fields[rate]:.1f} pairs/s")
    columns = (BarColumn(), MofNCompleteColumn(), rate, TimeElapsedColumn(), TimeRemainingColumn())
    with (
        ThreadPoolExecutor(options.workers) as pool,
        Progress(TextColumn("{task.description}"), *columns, console=console) as bar,
    ):
        task = bar.add_task(f"matching with {model.name}", total=len(pairs), completed=start, rate=0.0)
        ahead = [_read_ahead(pool, block, known) for block in blocks[:1]]
        began = time.perf_counter()
        for number, block in enumerate(blocks):
            pictures = {path: future.result() for path, future in ahead.pop(0).items()}
            ahead += [_read_ahead(pool, later, known) for later in blocks[number + 1 : number + 2]]
            yield _match_block(model, block, pictures, known, options)
            done = number * options.batch + len(block)
            bar.update(task, advance=len(block), rate=done / (time.perf_counter() - began))


def _read_ahead(pool: ThreadPoolExecutor, block: Sequence[Pair], known: OrderedDict[Path, Encoded]) -> dict[Path, Any]:
    paths = dict.fromkeys(photo.path for pair in block for photo in (pair.source, pair.target))
    return {path: pool.submit(load_image, path) for path in paths if path not in known}


def _match_block(
    model: Matcher,
    block: Sequence[Pair],
    pictures: dict[Path, NDArray[np.uint8]],
    known: OrderedDict[Path, Encoded],
    options: RunOptions,
) -> list[dict[str, Any]]:
    start = time.perf_counter()
    paths = dict.fromkeys(photo.path for pair in block for photo in (pair.source, pair.target))
    for path in paths:  # one by one, so that a picture's features do not depend on its block
        if path not in known:
            known[path] = model.encode(pictures.get(path, path))
        known.move_to_end(path)
    encoded = time.perf_counter()
    matches = model.match_many([(known[pair.source.path], known[pair.target.path]) for pair in block])
    moved = [match.transfer(pair.points()[0].numpy()) for match, pair in zip(matches, block, strict=True)]
    matching = (time.perf_counter() - encoded) / len(block)
    total = (time.perf_counter() - start) / len(block)
    while sum(_bytes(one) for one in known.values()) > options.cache_megabytes * 1e6 and len(known) > 1:
        known.popitem(last=False)
    return [
        {
            "points": [[round(float(x), 3), round(float(y), 3)] for x, y in points],
            "confidence": [round(float(c), 5) for c in confidence],
            "matching": matching,
            "total": total,
            "megabytes": peak_megabytes(),
        }
        for points, confidence in moved
    ]


def _bytes(encoded: Encoded) -> int:
    tensor = encoded.features.tensor
    return encoded.image.nbytes + tensor.numel() * tensor.element_size()


def peak_megabytes() -> float:
    """Return the most memory that this process has held, in megabytes; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1024
