"""The command ``match``."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semcorr.cli.options import Backbone, BackboneWeights, Device, Grid, ModelName, WeightsFile
from semcorr.errors import SemcorrError, one_of

if TYPE_CHECKING:
    from semcorr.match.result import Match
    from semcorr.models.matcher import Matcher
    from semcorr.onnx.runtime import ExportedMatcher


def match(
    source: Annotated[Path, typer.Argument(help="The photograph that contains the points.", show_default=False)],
    target: Annotated[Path, typer.Argument(help="The photograph to find them in.", show_default=False)],
    point: Annotated[
        list[str] | None,
        typer.Option(help="A point of the source, x,y in pixels; may be repeated.", metavar="X,Y"),
    ] = None,
    points: Annotated[
        Path | None, typer.Option(help="A file of source points: CSV with columns x,y, or JSON, a list of x,y pairs.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The picture to write (png, jpg, webp, pdf, svg). Default without points or --json: match.png."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: the points if any are given, otherwise the whole match.")
    ] = False,
    model: ModelName = None,
    backbone: Backbone = None,
    backbone_weights: BackboneWeights = None,
    weights: WeightsFile = None,
    grid: Grid = None,
    device: Device = "cpu",
    precision: Annotated[
        str,
        typer.Option(
            help="Precision of the features; bfloat16 is faster on processors that support it.",
            metavar="float32|bfloat16",
        ),
    ] = "float32",
    runtime: Annotated[
        str, typer.Option(help="The runtime; onnx needs --model-file, and no torch.", metavar="torch|onnx")
    ] = "torch",
    model_file: Annotated[
        Path | None, typer.Option(help="With --runtime onnx: the file that `semcorr export` wrote.")
    ] = None,
) -> None:
    """Match two photographs: write a picture of the matches, or print where points went.

    Points are continuous pixels: 0,0 is the outer corner of the top-left pixel.
    """
    from semcorr.cli.points import parse_point, read_points

    wanted = [parse_point(text) for text in point or []] + (read_points(points) if points else [])
    choices: dict[str, Any] = {"model": model, "backbone": backbone, "backbone_weights": backbone_weights}
    choices |= {"weights": weights, "grid": grid, "device": device if device != "cpu" else None}
    choices["precision"] = precision if precision != "float32" else None
    start = time.perf_counter()
    matcher = _load(runtime, model_file, {name: value for name, value in choices.items() if value is not None})
    loaded = time.perf_counter()
    result = matcher.match(source, target)
    seconds = time.perf_counter() - loaded
    has_points = bool(point or points)
    report = _report(result, source, target, wanted if has_points else None)
    if out is None and not has_points and not as_json:
        out = Path("match.png")
    if out is not None:
        result.plot(out, wanted or None)
    typer.echo(f"loaded {matcher.name} in {loaded - start:.2f} s, matched in {seconds:.2f} s", err=True)
    text = json.dumps(report) if as_json else _as_text(result, report["points"] if has_points else None)
    if text:  # a points file may be empty
        typer.echo(text)
    if out is not None:
        typer.echo(f"wrote {out}", err=True)


def _as_text(result: Match, points: list[dict[str, Any]] | None) -> str:
    if points is None:
        best = result.keypoints(20).confidence
        mean = f"{best.mean():.2f}" if len(best) else "none: no match holds in both directions"
        return f"mean confidence of the {len(best)} best matches: {mean}"
    return "\n".join(
        "{:g},{:g} -> {:.1f},{:.1f}  confidence {:.2f}".format(*point["source"], *point["target"], point["confidence"])
        for point in points
    )


def _load(runtime: str, model_file: Path | None, choices: dict[str, Any]) -> Matcher | ExportedMatcher:
    one_of(runtime, ["torch", "onnx"], "--runtime")
    if (runtime == "onnx") != (model_file is not None):
        raise SemcorrError(
            "--runtime onnx and --model-file FILE must be given together; `semcorr export --out FILE` writes the file"
        )
    if model_file is None:
        import semcorr

        return semcorr.load(choices.pop("model", None), **choices)
    if choices:
        option = f"--{next(iter(choices)).replace('_', '-')}"
        raise SemcorrError(
            f"{option} needs --runtime torch: an exported model's settings are fixed when it is exported"
        )
    from semcorr.onnx.runtime import load

    return load(model_file)


def _report(result: Match, source: Path, target: Path, wanted: list[tuple[float, float]] | None) -> dict[str, Any]:
    report: dict[str, Any] = {"source": str(source), "target": str(target)}
    if wanted is None:
        return report | result.to_dict()
    moved, confidence = result.transfer(wanted)
    entries = zip(wanted, moved.tolist(), confidence.tolist(), strict=True)
    return report | {
        "model": result.model,
        "points": [
            {"source": list(p), "target": [round(x, 2) for x in q], "confidence": round(c, 4)} for p, q, c in entries
        ],
    }
