"""One measurement of one method at one grid, in a separate process: only there can its memory be measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from semcorr.errors import SemcorrError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semcorr.data.pairs import Pair
    from semcorr.matchers.pmnc.gpu.matcher import PMNC
    from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction
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
    threads = {name: str(settings.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
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
    pmnc = _pmnc(model)
    if pmnc is not None and case.radius is not None:
        pmnc.scoring = with_radius(pmnc.scoring, case.radius)
    return model


def with_radius(scoring: ScoringFunction, radius: int) -> ScoringFunction:
    """Return a scoring function whose window is cropped, or padded with zeros, to another radius: to measure cost."""
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


def _pmnc(model: Matcher) -> PMNC | None:
    from semcorr.matchers.pmnc.gpu.matcher import PMNC

    return model.score if isinstance(model.score, PMNC) else None


def _cost(case: Case, settings: Settings) -> dict[str, float | None]:
    from semcorr.profiling.cost import cost_of

    clock = time.process_time if settings.processor_time else time.perf_counter
    return vars(cost_of(load_case(case, settings.device), _pictures(settings, settings.runs), clock))


def _optimum(case: Case, settings: Settings) -> dict[str, float | None]:
    """Return the fraction of cells that reach the exhaustive search's best score, and of pairs that were scored."""
    import torch

    from semcorr.matchers.dense.scores import ScoredPairs

    model = load_case(case, settings.device)
    pmnc = _pmnc(model)
    if pmnc is None:
        raise SemcorrError(f"{case.method} does not search")
    tables, start = [], time.perf_counter()
    with torch.inference_mode():
        source, target = (image.features for image in model.encode_many(_pictures(settings, 1)[0]))
        for pmnc.exhaustive in (True, False):
            scores = pmnc(source, target)
            tables.append(scores.table() if isinstance(scores, ScoredPairs) else scores)
    best, searched = tables
    gaps = [(best.flatten(a, b).amax(a) - searched.flatten(a, b).amax(a)).flatten() for a, b in ((3, 4), (1, 2))]
    reached = (torch.cat(gaps) <= TOLERANCE).float().mean()
    scored = searched.isfinite().float().mean()
    return {"reached": float(reached), "scored": float(scored), "seconds": time.perf_counter() - start}


def _precision(case: Case, settings: Settings) -> dict[str, float | None]:
    import torch

    from semcorr.metrics.pck import pck, pck_distances

    model = load_case(case, settings.device)
    rates = []
    for pair in _pairs(settings, settings.pairs):
        match = model.match(pair.source.path, pair.target.path)
        moved = torch.from_numpy(match.transfer(pair.points_inside()).points)
        rates.append(pck(pck_distances(moved, pair), 0.1))
    return {"pck": sum(rates) / len(rates)}


def main() -> None:
    """Run one measurement: read the request from stdin, write the result to stdout."""
    import torch

    request = json.load(sys.stdin)
    case, settings = Case(**request["case"]), Settings(**request["settings"])
    torch.set_num_threads(settings.threads)
    figures = {"cost": _cost, "optimum": _optimum, "precision": _precision}
    json.dump(figures[request["what"]](case, settings), sys.stdout)


if __name__ == "__main__":
    main()
