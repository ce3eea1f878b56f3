"""One measurement of one method at one grid, in a separate process: only there can its memory be measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from semcorr.errors import SemcorrError
from semcorr.threads import VARIABLE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semcorr.data.pairs import Pair
    from semcorr.features import FeatureMap
    from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction
    from semcorr.matchers.pmnc.scoring import Scoring
    from semcorr.matchers.scored import Floats
    from semcorr.models.matcher import Matcher

What = Literal["cost", "optimum", "precision"]
TOLERANCE = 1e-3
"""A cell is optimal when its score is within this of the best score of the exhaustive search."""

_SIDE = 400  # pixels of the synthetic pictures


@dataclass(frozen=True)
class Case:
    """A method at a grid.

    Attributes:
        method: A name of `semcorr.models.loading.MODEL_NAMES`.
        grid: Cells along each side of the grid of a square picture.
        radius: The scoring window's radius in cells; None for methods without such a window.
    """

    method: str
    grid: int
    radius: int | None = None

    def __str__(self) -> str:
        window = "" if self.radius is None else f", r = {self.radius}"
        return f"{self.method}{window} at grid {self.grid}"


@dataclass(frozen=True)
class Settings:
    """What a measurement depends on besides its case.

    Attributes:
        folder: Photographs with keypoints, laid out as in `semcorr.data.formats.keypoints`; None takes synthetic ones.
        split: The split whose list of pairs is used.
        pairs: How many pairs precision is measured on.
        runs: How many pairs are timed; times are medians over them.
        threads: Processor threads.
        device: Where to compute.
        processor_time: Measure the processor time of all threads together, not wall-clock time.
    """

    folder: str | None = None
    split: str = "val"
    pairs: int = 200
    runs: int = 5
    threads: int = 1
    device: str = "cpu"
    processor_time: bool = False


def measure(what: What, case: Case, settings: Settings, seconds: float) -> dict[str, float | None]:
    """Measure one figure of a case in a separate process.

    Args:
        what: Time and memory, the share of the exhaustive optimum that the search reaches, or precision.
        case: The method and the grid.
        settings: On which pictures, and how.
        seconds: The process is stopped after this time.

    Returns:
        For cost: ``matching`` and ``total`` seconds and ``megabytes``; for the optimum: ``reached`` and ``scored``,
        fractions of the cells and of the pairs of cells, and the ``seconds`` taken; for precision: ``pck`` per image
        at α = 0.1 of the picture's longer side, in per cent.

    Raises:
        SemcorrError: If the process fails or takes too long; the message says which.
    """
    threads = {name: str(settings.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", VARIABLE)}
    try:
        process = subprocess.run(
            [sys.executable, "-m", "semcorr.profiling.case"],
            input=json.dumps({"what": what, "case": asdict(case), "settings": asdict(settings)}),
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            env=os.environ | threads,
        )
    except subprocess.TimeoutExpired:
        raise SemcorrError(f"took more than {seconds:.0f} s") from None
    if process.returncode != 0:
        last = (process.stderr.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        raise SemcorrError(last.removeprefix("semcorr.errors."))
    result: dict[str, float | None] = json.loads(process.stdout)
    return result


def load_case(case: Case, device: str = "cpu") -> Matcher:
    """Load a model, with the case's window radius."""
    import semcorr

    model = semcorr.load(case.method, grid=case.grid, device=device)
    if case.radius is not None and _is_light(model):
        model.method = replace(model.method, scoring=with_radius(model.method.scoring, case.radius))
    elif case.radius is not None:
        model.method.scoring = with_radius_on_torch(model.method.scoring, case.radius)
    return model


def with_radius(scoring: Scoring, radius: int) -> Scoring:
    """Return a scoring function whose window is cropped, or padded with zeros, to another radius: to measure cost."""
    side, more = 2 * scoring.radius + 1, radius - scoring.radius
    window = scoring.window.reshape(*scoring.window.shape[:2], *(side,) * 4)
    if more < 0:
        window = window[(slice(None),) * 2 + (slice(-more, more),) * 4]
    else:
        window = np.pad(window, [(0, 0)] * 2 + [(more, more)] * 4)
    size = (2 * radius + 1) ** 2
    return replace(scoring, radius=radius, window=window.reshape(*window.shape[:2], size, size))


def with_radius_on_torch(scoring: ScoringFunction, radius: int) -> ScoringFunction:
    """Version of `with_radius` for torch modules."""
    import torch
    import torch.nn.functional as F

    from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction

    grown = ScoringFunction(radius, scoring.hidden, scoring.channels, scoring.reach).requires_grad_(False).eval()
    side, more = 2 * scoring.radius + 1, radius - scoring.radius
    window = scoring.window.view(scoring.hidden, scoring.channels, side, side, side, side)
    window = F.pad(window, (more,) * 8).reshape(grown.window.shape)  # negative padding crops
    grown.load_state_dict({**scoring.state_dict(), "window": window})
    return grown.to(torch.device(window.device))


def has_window(method: str) -> bool:
    """Tell whether a method scores windows of a variable radius."""
    return method.startswith("pmnc")


def synthetic_pair() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return two smooth pictures ``(400, 400, 3)``: random noise, and an enlarged part of it; always the same."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    source = Image.fromarray(noise).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    target = source.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC, box=(60, 40, 360, 340))
    return np.asarray(source), np.asarray(target)


def _pictures(settings: Settings, count: int) -> Sequence[tuple[Any, Any]]:
    if settings.folder is None:
        return [synthetic_pair()] * count
    return [(pair.source.path, pair.target.path) for pair in _pairs(settings, count)]


def _pairs(settings: Settings, count: int) -> list[Pair]:
    from semcorr.data.formats.keypoints import load_pairs
    from semcorr.data.pairs import spread

    return spread(load_pairs(settings.folder or "", settings.split), count)


def _is_light(model: Matcher) -> bool:
    from semcorr.matchers.pmnc.matcher import PatchMatcher

    return isinstance(model.method, PatchMatcher)


def _cost(case: Case, settings: Settings) -> dict[str, float | None]:
    from semcorr.profiling.cost import cost_of

    clock = time.process_time if settings.processor_time else time.perf_counter
    return vars(cost_of(load_case(case, settings.device), _pictures(settings, settings.runs), clock))


def _optimum(case: Case, settings: Settings) -> dict[str, float | None]:
    """Return the fraction of cells that reach the exhaustive search's best score, and of pairs that were scored."""
    if not has_window(case.method):
        raise SemcorrError(f"{case.method} does not search")
    model, start = load_case(case, settings.device), time.perf_counter()
    source, target = (image.features for image in model.encode_many(_pictures(settings, 1)[0]))
    best, searched = (_table(model, source, target, exhaustive) for exhaustive in (True, False))
    gaps = [(best.max(axis) - searched.max(axis)).ravel() for axis in ((2, 3), (0, 1))]
    reached = np.mean(np.concatenate(gaps) <= TOLERANCE)
    scored = np.mean(np.isfinite(searched))
    return {"reached": float(reached), "scored": float(scored), "seconds": time.perf_counter() - start}


def _table(model: Matcher, source: FeatureMap, target: FeatureMap, exhaustive: bool) -> Floats:
    """Return the scores ``(hs, ws, ht, wt)`` of a pair, of all pairs of cells if it is exhaustive."""
    from semcorr.features.feature_map import array_of

    if _is_light(model):
        every = replace(model.method.options, candidates=10**9, iterations=0, largest=10**9)
        score = replace(model.method, options=every) if exhaustive else model.method
        table: Floats = score(array_of(source.tensor)[0], array_of(target.tensor)[0]).table()
        return table
    import torch

    from semcorr.matchers.dense.scores import ScoredPairs

    model.method.exhaustive = exhaustive
    with torch.inference_mode():
        scores = model.method(source, target)
    found: Floats = array_of(scores.table() if isinstance(scores, ScoredPairs) else scores)[0]
    return found


def _precision(case: Case, settings: Settings) -> dict[str, float | None]:
    from semcorr.metrics.pck import pck, pck_distances

    model = load_case(case, settings.device)
    rates = []
    for pair in _pairs(settings, settings.pairs):
        match = model.match(pair.source.path, pair.target.path)
        moved = match.transfer(pair.points_inside()).points
        rates.append(pck(pck_distances(moved, pair), 0.1))
    return {"pck": sum(rates) / len(rates)}


def main() -> None:
    """Run one measurement: read the request from stdin, write the result to stdout."""
    request = json.load(sys.stdin)
    case, settings = Case(**request["case"]), Settings(**request["settings"])
    figures = {"cost": _cost, "optimum": _optimum, "precision": _precision}
    json.dump(figures[request["what"]](case, settings), sys.stdout)


if __name__ == "__main__":
    main()
