"""The run: match the pairs of a data set, and keep the predictions on disk as they come.

Pairs are matched in blocks that depend on the list alone, and a block is written whole: a run that was killed goes on
with the block that it stopped in and gives the very same predictions. Once all are there, nothing is matched any more,
and they can be scored as often as wanted.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from semcorr.data.pairs import Pair
from semcorr.errors import DataError, ImageError
from semcorr.evaluation.results import Prediction
from semcorr.image import load_image
from semcorr.models.matcher import Encoded, Matcher

FILE = "predictions.jsonl"

_KEYS = {"points", "confidence"}


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
        predictions: One for each pair that is not broken, in the order of the list.
        broken: Index of each pair that a picture could not be read for, and the reason.
    """

    predictions: list[Prediction]
    broken: dict[int, str] = field(default_factory=dict)


Features = OrderedDict[tuple[Path, Hashable], Encoded]
"""Pictures whose features are known, by what computed them; the one used longest ago comes first."""


def predict(
    load_model: Callable[[], Matcher],
    settings: dict[str, object],
    pairs: Sequence[Pair],
    out: Path,
    options: RunOptions = RunOptions(),
    fresh: bool = False,
    skip_broken: bool = False,
    known: Features | None = None,
) -> Predictions:
    """Match the pairs that have no prediction yet, and return all predictions.

    Args:
        load_model: Loads the model; called only if there is something to match, and before anything is written.
        settings: All that the predictions depend on, plain JSON values: the run is known by it and by its pairs.
        pairs: The pairs.
        out: The run's folder, for ``predictions.jsonl``.
        options: How it is done.
        fresh: Begin anew, though there are predictions.
        skip_broken: Leave out pairs of pictures that cannot be read, and say which: loaders look at a picture's header
            alone, so that a damaged one is found out here.
        known: Features that a run on the same device left, to be used and added to: models on the same features
            compute them once.

    Raises:
        DataError: If the folder holds another run's predictions, or no pair could be matched.
        ImageError: If a picture cannot be read, and ``skip_broken`` is not given.
        FileNotFoundError: Likewise, if it is gone.
    """
    path, name = out / FILE, fingerprint(settings, pairs)
    begun = path.exists() and not fresh
    lines = _whole_blocks(path, name, pairs, options.batch, skip_broken) if begun else []
    if len(lines) < len(pairs):
        model = load_model()
        if not begun:
            _begin(path, {"fingerprint": name, "settings": settings, "pairs": len(pairs)})
        with path.open("a", encoding="utf-8") as file:
            for block in _match_blocks(model, pairs, len(lines), options, skip_broken, known):
                file.write("".join(json.dumps(line) + "\n" for line in block))
                file.flush()
                lines += block
    matched = [line for line in lines if "broken" not in line]
    if not matched:
        raise DataError(f"no pair could be matched: {lines[0]['broken'] if lines else 'there are none'}")
    return Predictions(
        [Prediction([(x, y) for x, y in line["points"]], line["confidence"]) for line in matched],
        {index: line["broken"] for index, line in enumerate(lines) if "broken" in line},
    )


def fingerprint(settings: dict[str, object], pairs: Sequence[Pair]) -> str:
    """Name a run by what its predictions depend on: the settings, and the names, sizes and points of the pairs."""
    described = [
        [[photo.path.name, photo.size, sorted(photo.keypoints.items())] for photo in (pair.source, pair.target)]
        for pair in pairs
    ]
    return hashlib.sha256(json.dumps([settings, described], sort_keys=True).encode()).hexdigest()[:16]


def _begin(path: Path, header: dict[str, object]) -> None:
    """Write the first line in one step, so that a kill in between leaves no file that nobody knows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(header) + "\n", encoding="utf-8")
    part.replace(path)


def _whole_blocks(
    path: Path, expected: str, pairs: Sequence[Pair], batch: int, skip_broken: bool
) -> list[dict[str, Any]]:
    """Read what an earlier run wrote, and cut the file behind its last whole block."""
    with path.open("rb") as file:
        header = _parse(file.readline())
        if not isinstance(header, dict) or header.get("fingerprint") != expected:
            raise DataError(f"{path} holds predictions of other settings or pairs: give another --out, or --fresh")
        lines: list[dict[str, Any]] = []
        ends = [file.tell()]
        for raw in file:
            line, index = _parse(raw), len(lines)
            if index == len(pairs) or not _is_answer(line, index, pairs[index], skip_broken):
                break  # the line that the run was killed in, or what something else wrote
            lines.append(line)
            ends.append(ends[-1] + len(raw))
    done = len(lines) if len(lines) == len(pairs) else len(lines) - len(lines) % batch
    if ends[done] < path.stat().st_size:
        os.truncate(path, ends[done])
    return lines[:done]


def _parse(raw: bytes) -> Any:
    """Read a line, or return None where it is no JSON; one without its end is torn, whatever it holds."""
    try:
        return json.loads(raw) if raw.endswith(b"\n") else None
    except ValueError:
        return None


def _is_answer(line: Any, index: int, pair: Pair, skip_broken: bool) -> bool:
    if not isinstance(line, dict) or line.get("pair", index) != index:
        return False  # another place's: two runs wrote at the same time
    if "broken" in line:
        return skip_broken  # otherwise it is tried again
    return line.keys() >= _KEYS and len(line["points"]) == len(line["confidence"]) == len(pair.names)


def _match_blocks(
    model: Matcher,
    pairs: Sequence[Pair],
    start: int,
    options: RunOptions,
    skip_broken: bool,
    known: Features | None,
) -> Iterator[list[dict[str, Any]]]:
    """Match block after block, reading the pictures of the next one meanwhile."""
    known = OrderedDict() if known is None else known
    features = model.features.key
    blocks = [pairs[i : i + options.batch] for i in range(start, len(pairs), options.batch)]
    console = Console(stderr=True)
    rate = TextColumn("{task.fields[rate]:.1f} pairs/s")
    columns = (BarColumn(), MofNCompleteColumn(), rate, TimeElapsedColumn(), TimeRemainingColumn())
    with (
        ThreadPoolExecutor(options.workers) as pool,
        Progress(TextColumn("{task.description}"), *columns, console=console) as bar,
    ):
        task = bar.add_task(f"matching with {model.name}", total=len(pairs), completed=start, rate=0.0)
        ahead = [_read_ahead(pool, block, known, features) for block in blocks[:1]]
        began, done = time.perf_counter(), 0
        for number, block in enumerate(blocks):
            pictures = ahead.pop(0)
            ahead += [_read_ahead(pool, later, known, features) for later in blocks[number + 1 : number + 2]]
            lines = _match_block(model, block, pictures, known, skip_broken)
            _forget(known, options.cache_megabytes)
            yield [{"pair": start + done + index, **line} for index, line in enumerate(lines)]
            done += len(block)
            bar.update(task, advance=len(block), rate=done / (time.perf_counter() - began))


def _read_ahead(
    pool: ThreadPoolExecutor, block: Sequence[Pair], known: Features, features: Hashable
) -> dict[Path, Future[NDArray[np.uint8]]]:
    return {path: pool.submit(load_image, path) for path in _paths(block) if (path, features) not in known}


def _paths(block: Sequence[Pair]) -> list[Path]:
    return list(dict.fromkeys(photo.path for pair in block for photo in (pair.source, pair.target)))


def _match_block(
    model: Matcher,
    block: Sequence[Pair],
    pictures: dict[Path, Future[NDArray[np.uint8]]],
    known: Features,
    skip_broken: bool,
) -> list[dict[str, Any]]:
    features = model.features.key
    unread: dict[Path, str] = {}
    for path in _paths(block):  # one by one, so that a picture's features do not depend on its block
        try:
            if (path, features) not in known:
                known[path, features] = model.encode(pictures[path].result() if path in pictures else path)
            known.move_to_end((path, features))
        except (ImageError, FileNotFoundError) as error:  # noqa: PERF203 - it belongs to one picture
            if not skip_broken:
                raise
            unread[path] = str(error)
    reasons = [unread.get(pair.source.path) or unread.get(pair.target.path) for pair in block]
    whole = [pair for pair, reason in zip(block, reasons, strict=True) if reason is None]
    matches = model.match_many(
        [(known[pair.source.path, features], known[pair.target.path, features]) for pair in whole]
    )
    moved = iter([match.transfer(pair.points_inside().numpy()) for match, pair in zip(matches, whole, strict=True)])
    return [_answer(*next(moved)) if reason is None else {"broken": reason} for reason in reasons]


def _answer(points: NDArray[np.float32], confidence: NDArray[np.float32]) -> dict[str, Any]:
    return {
        "points": [[round(float(x), 3), round(float(y), 3)] for x, y in points],
        "confidence": [round(float(c), 5) for c in confidence],
    }


def _forget(known: Features, megabytes: int) -> None:
    """Let go of the pictures that were used longest ago, until the others fit."""
    held = sum(_bytes(encoded) for encoded in known.values())
    while held > megabytes * 1e6 and len(known) > 1:
        held -= _bytes(known.popitem(last=False)[1])


def _bytes(encoded: Encoded) -> int:
    tensor = encoded.features.tensor
    return encoded.image.nbytes + tensor.numel() * tensor.element_size()
