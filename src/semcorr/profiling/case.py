"""One measurement of one method at one grid, in a process of its own: only there can its memory be told."""

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

    from semcorr.matchers.pmnc.gpu.matcher import PMNC
    from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction
    from semcorr.models.matcher import Matcher

What = Literal["cost", "optimum", "precision"]
TOLERANCE = 1e-3
"""A cell has reached the best score of all when its own is so near to it."""

_SIDE = 400  # pixels of the pictures that are made up


@dataclass(frozen=True)
class Case:
    """A method at a grid.

    Attributes:
        method: A name of `semcorr.models.loading.MODEL_NAMES`.
        grid: Cells to a side of a square picture.
        radius: The scoring window's radius in cells; None for methods that have no such window.
    """

    method: str
    grid: int
    radius: int | None = None

    def __str__(self) -> str:
        window = "" if self.radius is None else f", r = {self.radius}"
        return f"{self.method}{window} at grid {self.grid}"


@dataclass(frozen=True)
class Settings:
    """What the figures of a case depend on.

    Attributes:
        folder: Photographs with keypoints, laid out as in `semcorr.data.formats.keypoints`; None takes made-up ones.
        split: Whose list of pairs is taken.
        pairs: Pairs that precision is measured on.
        runs: Pairs that are timed, for medians.
        threads: Of the processor.
        device: Where it computes.
        processor_time: Times are the processor's, of all threads together, and not the wall's.
    """

    folder: str | None = None
    split: str = "val"
    pairs: int = 200
    runs: int = 5
    threads: int = 1
    device: str = "cpu"
    processor_time: bool = False


def measure(what: What, case: Case, settings: Settings, seconds: float) -> dict[str, float | None]:
    """Measure in a process of its own.

    Args:
        what: Time and memory, the share of the exhaustive optimum that the search reaches, or precision.
        case: The method and the grid.
        settings: On which pictures, and how.
        seconds: It is ended after so long.

    Returns:
        For cost: ``matching`` and ``total`` seconds and ``megabytes``; for the optimum: ``reached`` and ``scored``,
        shares of cells and of pairs of cells, and the ``seconds`` that it took; for precision: ``pck``, per image at
        α = 0.1 of the picture's longer side, in per cent.

    Raises:
        SemcorrError: If it fails or takes too long; the message says which.
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
    found: dict[str, float | None] = json.loads(process.stdout)
    return found


def load_case(case: Case, device: str = "cpu") -> Matcher:
    """Load a model with a window of the wanted radius."""
    import semcorr

    model = semcorr.load(case.method, grid=case.grid, device=device)
    pmnc = _pmnc(model)
    if pmnc is not None and case.radius is not None:
        pmnc.scoring = with_radius(pmnc.scoring, case.radius)
    return model


def with_radius(scoring: ScoringFunction, radius: int) -> ScoringFunction:
    """Return a scoring function whose window is cut, or grown by zeros, to another radius: for measurements of cost."""
    import torch
    import torch.nn.functional as F

    from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction

    grown = ScoringFunction(radius, scoring.hidden, scoring.channels, scoring.reach).requires_grad_(False).eval()
    side, more = 2 * scoring.radius + 1, radius - scoring.radius
    window = scoring.window.view(scoring.hidden, scoring.channels, side, side, side, side)
    window = F.pad(window, (more,) * 8).reshape(grown.window.shape)  # a negative padding cuts
    grown.load_state_dict({**scoring.state_dict(), "window": window})
    return grown.to(torch.device(window.device))


def has_window(method: str) -> bool:
    """Say whether a method scores windows of a radius that can be chosen."""
    return method.startswith("pmnc")


def made_up_pair() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return two smooth pictures ``(400, 400, 3)``: a random one, and a part of it enlarged; always the same."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    source = Image.fromarray(noise).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    target = source.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC, box=(60, 40, 360, 340))
    return np.asarray(source), np.asarray(target)


def _pictures(settings: Settings, count: int) -> Sequence[tuple[Any, Any]]:
    if settings.folder is None:
        return [made_up_pair()] * count
    return [(pair.source.path, pair.target.path) for pair in _spread(settings, count)]


def _spread(settings: Settings, count: int) -> list[Any]:
    """Take so many pairs of the list, evenly, always the same."""
    from semcorr.data.formats.keypoints import load_pairs

    listed = list(load_pairs(settings.folder or "", settings.split))
    count = min(count, len(listed))
    return [listed[index * len(listed) // count] for index in range(count)]


def _pmnc(model: Matcher) -> PMNC | None:
    from semcorr.matchers.pmnc.gpu.matcher import PMNC

    return model.score if isinstance(model.score, PMNC) else None


def _cost(case: Case, settings: Settings) -> dict[str, float | None]:
    from semcorr.profiling.cost import cost_of

    clock = time.process_time if settings.processor_time else time.perf_counter
    return vars(cost_of(load_case(case, settings.device), _pictures(settings, settings.runs), clock))


def _optimum(case: Case, settings: Settings) -> dict[str, float | None]:
    """Count the cells whose best score equals that of the exhaustive search, and the pairs that the search scores."""
    import torch

    from semcorr.matchers.scores import ScoredPairs

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
    best, found = tables
    short = [(best.flatten(a, b).amax(a) - found.flatten(a, b).amax(a)).flatten() for a, b in ((3, 4), (1, 2))]
    reached = (torch.cat(short) <= TOLERANCE).float().mean()
    scored = found.isfinite().float().mean()
    return {"reached": float(reached), "scored": float(scored), "seconds": time.perf_counter() - start}


def _precision(case: Case, settings: Settings) -> dict[str, float | None]:
    import torch

    from semcorr.metrics.pck import pck, pck_distances

    model = load_case(case, settings.device)
    shares = []
    for pair in _spread(settings, settings.pairs):
        match = model.match(pair.source.path, pair.target.path)
        moved = torch.from_numpy(match.transfer(pair.points_inside()).points)
        shares.append(pck(pck_distances(moved, pair), 0.1))
    return {"pck": sum(shares) / len(shares)}


def main() -> None:
    """Measure what stdin asks for, and answer on stdout."""
    import torch

    wanted = json.load(sys.stdin)
    case, settings = Case(**wanted["case"]), Settings(**wanted["settings"])
    torch.set_num_threads(settings.threads)
    ways = {"cost": _cost, "optimum": _optimum, "precision": _precision}
    json.dump(ways[wanted["what"]](case, settings), sys.stdout)


if __name__ == "__main__":
    main()
