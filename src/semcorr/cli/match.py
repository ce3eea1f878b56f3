"""The command ``match``."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semcorr.cli.options import LOADING, with_options
from semcorr.cli.points import NamedPoint, parse_point, read_points, write_points
from semcorr.errors import SemcorrError, need_extra
from semcorr.files import refuse_input, unused

if TYPE_CHECKING:
    from semcorr.match.result import Match
    from semcorr.models.matcher import Matcher


@dataclass(frozen=True)
class Loading:
    """Which model, and how it is loaded."""

    model: str | None = None
    backbone: str | None = None
    backbone_weights: str | None = None
    weights: Path | None = None
    grid: int | None = None
    device: str = "cpu"
    precision: str = "float32"


OPTIONS: dict[str, Any] = {
    **LOADING,
    "precision": typer.Option(
        metavar="float32|bfloat16", help="Precision of the features; bfloat16 is faster on processors that support it."
    ),
}


_Source = Annotated[Path, typer.Argument(help="The photograph that contains the points.", show_default=False)]
_Target = Annotated[Path, typer.Argument(help="The photograph to find them in.", show_default=False)]
_Point = Annotated[
    list[str] | None,
    typer.Option(help="A point of the source, x,y in pixels; may be repeated.", metavar="X,Y"),
]
_Points = Annotated[
    Path | None,
    typer.Option(help="A file of source points: CSV with columns x, y and perhaps name; DeepLabCut; or JSON."),
]
_Out = Annotated[
    Path | None,
    typer.Option(
        help="The picture to write (png, jpg, webp, pdf, svg), or the table of points (csv). Default without "
        "points or --json: match.png, or match-2.png … if it exists."
    ),
]
_AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON: the points if any are given, otherwise the whole match.")
]
_Rotations = Annotated[
    int,
    typer.Option(help="Number of turns of the source to try; 12 suits things that lie in any direction."),
]
_Mirror = Annotated[bool, typer.Option("--mirror", help="Also try each turn mirrored.")]
_MinVisibility = Annotated[
    float | None,
    typer.Option(
        help="Minimum probability that the target has a point: others get no answer (default 0), and are not "
        "chosen for the picture (default 0.5).",
        min=0,
        max=1,
    ),
]


@with_options(Loading, OPTIONS)
def match(
    source: _Source,
    target: _Target,
    point: _Point = None,
    points: _Points = None,
    out: _Out = None,
    as_json: _AsJson = False,
    rotations: _Rotations = 1,
    mirror: _Mirror = False,
    min_visibility: _MinVisibility = None,
    options: Loading = Loading(),
) -> None:
    """Match two photographs: write a picture of the matches, or print where points went.

    Points are continuous pixels: 0,0 is the outer corner of the top-left pixel.
    """
    given = [parse_point(text) for text in point or []] + (read_points(points, source.name) if points else [])
    answers_points = bool(point or points)
    if out is None and not answers_points and not as_json:
        out = unused(Path("match.png"))
    as_table = out is not None and out.suffix.lower() == ".csv"
    if out is not None:
        _check_output(out, (source, target, points), options)
    if as_table and not answers_points:
        raise SemcorrError("--out FILE.csv writes the points: give some with --point or --points")
    start = time.perf_counter()
    matcher = _load(options)
    loaded = time.perf_counter()
    xy = [point.xy for point in given if point.xy is not None]
    result = matcher.match(source, target, rotations, mirror, xy or None)
    seconds = time.perf_counter() - loaded
    answers = _transfer(result, given, min_visibility or 0.0) if answers_points else None
    least = 0.5 if min_visibility is None else min_visibility
    if out is not None and as_table:
        write_points(out, answers or [])
    elif out is not None:
        result.plot(out, xy or None, least)
    typer.echo(f"loaded {matcher.name} in {loaded - start:.2f} s, matched in {seconds:.2f} s", err=True)
    text = json.dumps(_report(result, source, target, answers)) if as_json else _as_text(result, answers, least)
    if text:  # a points file may be empty
        typer.echo(text)
    if out is not None:
        typer.echo(f"wrote {out}", err=True)


def _check_output(out: Path, inputs: tuple[Path | None, ...], options: Loading) -> None:
    """Refuse what cannot be written before anything is matched."""
    read = (*inputs, options.weights, options.backbone_weights)
    refuse_input(out, [Path(path) for path in read if path is not None])
    if out.suffix.lower() != ".csv":
        need_extra("", "matplotlib")


def _load(options: Loading) -> Matcher:
    import semcorr

    given = {field.name: getattr(options, field.name) for field in fields(options)}
    return semcorr.load(given.pop("model"), **given)


def _transfer(result: Match, points: list[NamedPoint], min_visibility: float) -> list[dict[str, Any]]:
    """Return an answer for each point, in order; with null values for a missing point, or a target without it."""
    xy = [point.xy for point in points if point.xy is not None]
    moved, confidence = result.transfer(xy)
    moves = iter(zip(moved.tolist(), confidence.tolist(), result.visible(xy).tolist(), strict=True))
    estimated = result.forward.visibility is not None
    answers = []
    for point in points:
        answer: dict[str, Any] = {"source": None, "target": None, "confidence": None}
        if point.xy is not None:
            (x, y), c, seen = next(moves)
            moved_to = [round(x, 2), round(y, 2)] if seen >= min_visibility else None
            answer = {"source": list(point.xy), "target": moved_to, "confidence": round(c, 4)}
            answer |= {"visibility": round(seen, 4)} if estimated else {}
        answers.append(answer if point.name is None else {"name": point.name, **answer})
    return answers


def _as_text(result: Match, answers: list[dict[str, Any]] | None, min_visibility: float) -> str:
    if answers is not None:
        return "\n".join([*map(_line, answers), *_turn(result)])
    best = result.keypoints(20, min_visibility).confidence
    mean = f"{best.mean():.2f}" if len(best) else "none: no match holds in both directions"
    lines = [f"mean confidence of the {len(best)} best matches: {mean}"]
    if result.similarity is not None:
        lines.append(f"probability that both show the same kind of thing: {result.similarity:.2f}")
    return "\n".join(lines + _turn(result))


def _line(answer: dict[str, Any]) -> str:
    name = f"{answer['name']}  " if "name" in answer else ""
    if answer["source"] is None:
        return f"{name}no point given"
    start = name + "{:g},{:g} -> ".format(*answer["source"])
    seen = f"  visibility {answer['visibility']:.2f}" if "visibility" in answer else ""
    if answer["target"] is None:
        return f"{start}not in the target{seen}"
    return start + "{:.1f},{:.1f}  confidence {:.2f}".format(*answer["target"], answer["confidence"]) + seen


def _turn(result: Match) -> list[str]:
    degrees, mirrored = result.turn
    done = [text for text, true in (("mirrored", mirrored), (f"turned by {degrees:g}°", degrees != 0)) if true]
    return [f"the source was {' and '.join(done)} to match it"] if done else []


def _report(result: Match, source: Path, target: Path, answers: list[dict[str, Any]] | None) -> dict[str, Any]:
    report: dict[str, Any] = {"source": str(source), "target": str(target)}
    if answers is None:
        return report | result.to_dict()
    similarity = {} if result.similarity is None else {"similarity": round(result.similarity, 4)}
    return report | {"model": result.model, **similarity, "points": answers}
