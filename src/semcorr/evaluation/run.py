"""Match the pairs of a data set, and keep the predictions on disk.

Pairs are matched in blocks that depend on the list alone, and a block is written as a whole: an interrupted run resumes
with the block it stopped in and gives the same predictions. Once all are on disk, nothing is matched any more, and they
can be scored as often as needed.
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
from typing import Any, TypeGuard

from rich.progress import MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from semcorr.data.pairs import Pair
from semcorr.errors import DataError, ImageError
from semcorr.evaluation.results import Prediction
from semcorr.files import write_text
from semcorr.image import load_image
from semcorr.match.types import Bytes, Transferred
from semcorr.models.encoded import Encoded
from semcorr.models.matcher import Matcher
from semcorr.progress import progress_bar

FILE = "predictions.jsonl"


@dataclass(frozen=True)
class RunOptions:
    """How pairs are matched; the predictions do not depend on it.

    Attributes:
        batch: Pairs in a block; those with equal grids are matched together.
        workers: Threads that read pictures ahead.
        cache_megabytes: Memory for pictures and features kept for later pairs.
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
    """The predictions of a run.

    Attributes:
        predictions: One for each pair that could be matched, in the order of the list.
        broken: Index of each pair with a picture that cannot be read, to the reason.
    """

    predictions: list[Prediction]
    broken: dict[int, str] = field(default_factory=dict)


Features = OrderedDict[tuple[Path, Hashable], Encoded]
"""Features by picture and by what computed them; the least recently used come first."""


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
    """Match the pairs that have no prediction yet, and return the predictions of all.

    Args:
        load_model: Loads the model; called only if a pair has to be matched, and before anything is written.
        settings: Everything that the predictions depend on besides the pairs, as plain JSON values.
        pairs: The pairs.
        out: The run's folder, for ``predictions.jsonl``.
        options: How pairs are matched.
        fresh: Start over, ignoring existing predictions.
        skip_broken: Leave out pairs with pictures that cannot be read, and report them. (Loaders read only a
            picture's header, so that damaged pixels are noticed here.)
        known: Features from earlier runs on the same device, which are used and added to: models that share a
            backbone compute them once.

    Raises:
        DataError: If the folder holds another run's predictions, or no pair could be matched.
        ImageError: If a picture cannot be read, and ``skip_broken`` is not set.
        FileNotFoundError: If a picture is missing, and ``skip_broken`` is not set.
    """
    path, run = out / FILE, fingerprint(settings, pairs)
    resumed = path.exists() and not fresh
    lines = _whole_blocks(path, run, pairs, options.batch, skip_broken) if resumed else []
    if len(lines) < len(pairs):
        model = load_model()
        if not resumed:
            header = {"fingerprint": run, "settings": settings, "pairs": len(pairs)}
            write_text(path, json.dumps(header) + "\n")
        for block in _match_blocks(model, pairs, len(lines), options, skip_broken, known):
            _append(path, block)
            lines += block
    matched = [line for line in lines if "broken" not in line]
    if not matched:
        raise DataError(f"no pair could be matched: {lines[0]['broken'] if lines else 'the list is empty'}")
    return Predictions(
        [Prediction([(x, y) for x, y in line["points"]], line["confidence"]) for line in matched],
        {index: line["broken"] for index, line in enumerate(lines) if "broken" in line},
    )


def _append(path: Path, block: list[dict[str, Any]]) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(line) + "\n" for line in block))
    except OSError as error:  # such as a full disk: the system names no file
        raise OSError(error.errno, error.strerror, str(path)) from error


def fingerprint(settings: dict[str, object], pairs: Sequence[Pair]) -> str:
    """Return a hash of what predictions depend on: the settings, and the names, sizes and points of the pairs."""
    described = [
        [[photo.path.name, photo.size, sorted(photo.keypoints.items())] for photo in (pair.source, pair.target)]
        for pair in pairs
    ]
    return hashlib.sha256(json.dumps([settings, described], sort_keys=True).encode()).hexdigest()[:16]


def _whole_blocks(
    path: Path, expected: str, pairs: Sequence[Pair], batch: int, skip_broken: bool
) -> list[dict[str, Any]]:
    """Read what an earlier run wrote, and truncate the file after its last complete block."""
    with path.open("rb") as file:
        header = _parse(file.readline())
        if not isinstance(header, dict) or header.get("fingerprint") != expected:
            raise DataError(
                f"{path} holds predictions for other settings or pairs: choose another --out, or use --fresh"
            )
        lines: list[dict[str, Any]] = []
        ends = [file.tell()]
        for raw in file:
            line, index = _parse(raw), len(lines)
            if index == len(pairs) or not _is_answer(line, index, pairs[index], skip_broken):
                break  # cut short when the run was killed, or written by something else
            lines.append(line)
            ends.append(ends[-1] + len(raw))
    done = len(lines) if len(lines) == len(pairs) else len(lines) - len(lines) % batch
    if ends[done] < path.stat().st_size:
        os.truncate(path, ends[done])
    return lines[:done]


def _parse(raw: bytes) -> Any:
    """Parse a line, or return None if it is not JSON; one without a line end is incomplete, whatever it holds."""
    try:
        return json.loads(raw) if raw.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None


def _is_answer(line: Any, index: int, pair: Pair, skip_broken: bool) -> bool:
    if not isinstance(line, dict) or line.get("pair", index) != index:
        return False  # two runs wrote at the same time
    if "broken" in line:
        return skip_broken and isinstance(line["broken"], str)  # otherwise the pair is tried again
    points, confidence, count = line.get("points"), line.get("confidence"), len(pair.names)
    return (
        _is_list(points, count)
        and all(_is_list(point, 2) and all(map(_is_number, point)) for point in points)
        and _is_list(confidence, count)
        and all(map(_is_number, confidence))
    )


def _is_list(value: Any, length: int) -> TypeGuard[list[Any]]:
    return isinstance(value, list) and len(value) == length


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _match_blocks(
    model: Matcher,
    pairs: Sequence[Pair],
    start: int,
    options: RunOptions,
    skip_broken: bool,
    known: Features | None,
) -> Iterator[list[dict[str, Any]]]:
    """Match block after block, while the pictures of the next one are read."""
    known = OrderedDict() if known is None else known
    features = model.features.key
    blocks = [pairs[i : i + options.batch] for i in range(start, len(pairs), options.batch)]
    rate = TextColumn("{task.fields[rate]:.1f} pairs/s")
    columns = (MofNCompleteColumn(), rate, TimeElapsedColumn(), TimeRemainingColumn())
    with ThreadPoolExecutor(options.workers) as pool, progress_bar(*columns) as bar:
        task = bar.add_task(f"matching with {model.name}", total=len(pairs), completed=start, rate=0.0)
        ahead = [_read_ahead(pool, block, known, features) for block in blocks[:1]]
        started, done = time.perf_counter(), 0
        for number, block in enumerate(blocks):
            pictures = ahead.pop(0)
            ahead += [_read_ahead(pool, later, known, features) for later in blocks[number + 1 : number + 2]]
            lines = _match_block(model, block, pictures, known, skip_broken)
            _forget(known, options.cache_megabytes)
            yield [{"pair": start + done + index, **line} for index, line in enumerate(lines)]
            done += len(block)
            bar.update(task, advance=len(block), rate=done / (time.perf_counter() - started))


def _read_ahead(
    pool: ThreadPoolExecutor, block: Sequence[Pair], known: Features, features: Hashable
) -> dict[Path, Future[Bytes]]:
    return {path: pool.submit(load_image, path) for path in _paths(block) if (path, features) not in known}


def _paths(block: Sequence[Pair]) -> list[Path]:
    return list(dict.fromkeys(photo.path for pair in block for photo in (pair.source, pair.target)))


def _match_block(
    model: Matcher,
    block: Sequence[Pair],
    pictures: dict[Path, Future[Bytes]],
    known: Features,
    skip_broken: bool,
) -> list[dict[str, Any]]:
    features = model.features.key
    unreadable: dict[Path, str] = {}
    for path in _paths(block):  # one at a time, so that features do not depend on the block
        try:
            if (path, features) not in known:
                known[path, features] = model.encode(pictures[path].result() if path in pictures else path)
            known.move_to_end((path, features))
        except (ImageError, FileNotFoundError) as error:  # noqa: PERF203 - the error belongs to one picture
            if not skip_broken:
                raise
            unreadable[path] = str(error)
    reasons = [unreadable.get(pair.source.path) or unreadable.get(pair.target.path) for pair in block]
    readable = [pair for pair, reason in zip(block, reasons, strict=True) if reason is None]
    matches = model.match_many(
        [(known[pair.source.path, features], known[pair.target.path, features]) for pair in readable]
    )
    moved = iter([match.transfer(pair.points_inside()) for match, pair in zip(matches, readable, strict=True)])
    return [_answer(next(moved)) if reason is None else {"broken": reason} for reason in reasons]


def _answer(moved: Transferred) -> dict[str, Any]:
    return {
        "points": [[round(float(x), 3), round(float(y), 3)] for x, y in moved.points],
        "confidence": [round(float(c), 5) for c in moved.confidence],
    }


def _forget(known: Features, megabytes: int) -> None:
    """Drop the least recently used features until the others fit."""
    held = sum(_bytes(encoded) for encoded in known.values())
    while held > megabytes * 1e6 and len(known) > 1:
        held -= _bytes(known.popitem(last=False)[1])


def _bytes(encoded: Encoded) -> int:
    return encoded.image.nbytes + int(encoded.features.tensor.nbytes)
