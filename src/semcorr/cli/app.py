"""The ``semcorr`` command: data on stdout, progress and errors on stderr; exit code 2 is a mistake of the user's."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from semcorr.cli import evaluate as commands
from semcorr.cli.benchmark import benchmark
from semcorr.errors import SemcorrError

if TYPE_CHECKING:
    from semcorr.match.result import Match
    from semcorr.models.matcher import Matcher
    from semcorr.onnx.runtime import ExportedMatcher

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Semantic correspondence: for every point of one photograph, the point that means the same in another.",
)


def main() -> None:
    """Run the command line; an error that the user can mend is one line, never a traceback."""
    try:
        app()
    except (SemcorrError, ValueError, OSError) as error:
        fail(error)


def fail(error: Exception) -> None:
    """Print an error as one line on stderr and leave with exit code 2."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    typer.echo(f"semcorr: {' '.join(text.split())}", err=True)
    sys.exit(2)


def _print_version(wanted: bool) -> None:
    if wanted:
        import semcorr

        typer.echo(semcorr.__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


@app.command()
def match(
    source: Annotated[Path, typer.Argument(help="The photograph that points are given in.", show_default=False)],
    target: Annotated[Path, typer.Argument(help="The photograph that they are looked for in.", show_default=False)],
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
            help="Where to write the picture (png, jpg, webp, pdf, svg). Without points or --json: match.png."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: the points, or else the whole match.")] = False,
    model: Annotated[
        str | None,
        typer.Option(
            help="Which model; `semcorr models` lists them. By default pmnc; with a backbone, pmnc-universal."
        ),
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="A timm backbone in place of the model's own.")] = None,
    backbone_weights: Annotated[
        str | None, typer.Option(help="A safetensors file for the backbone; timm downloads them otherwise.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="A safetensors file in place of the model's own, of `train` or `import`.")
    ] = None,
    grid: Annotated[
        int | None,
        typer.Option(
            help="Cells to a side of a square picture (default 25). Matching by pmnc takes 130 MB at 64 and 220 MB at "
            "100, which is matched from coarse to fine; other models take far more."
        ),
    ] = None,
    rotations: Annotated[
        int,
        typer.Option(help="Turn the source so many ways and keep the best: 12 for things that lie in any direction."),
    ] = 1,
    mirror: Annotated[bool, typer.Option("--mirror", help="Try the source mirrored, too.")] = False,
    min_visibility: Annotated[
        float | None,
        typer.Option(
            help="Points that the target shows with a smaller probability are not answered (default 0), and not chosen "
            "for the picture (default 0.5).",
            min=0,
            max=1,
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps …")] = "cpu",
    precision: Annotated[
        str,
        typer.Option(
            help="What the features are computed in; bfloat16 is faster where the processor has it.",
            metavar="float32|bfloat16",
        ),
    ] = "float32",
    runtime: Annotated[
        str, typer.Option(help="What computes; onnx needs no torch, but a --model-file.", metavar="torch|onnx")
    ] = "torch",
    model_file: Annotated[
        Path | None, typer.Option(help="With --runtime onnx: the file that `semcorr export` wrote.")
    ] = None,
) -> None:
    """Match two photographs: write a picture of the matches, or answer where points went.

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
    result = _match(matcher, source, target, rotations, mirror)
    seconds = time.perf_counter() - loaded
    has_points = bool(point or points)
    report = _report(result, source, target, wanted if has_points else None, min_visibility or 0.0)
    if out is None and not has_points and not as_json:
        out = Path("match.png")
    least = 0.5 if min_visibility is None else min_visibility
    if out is not None:
        result.plot(out, wanted or None, min_visibility=least)
    typer.echo(f"loaded {matcher.name} in {loaded - start:.2f} s, matched in {seconds:.2f} s", err=True)
    text = json.dumps(report) if as_json else _in_words(result, report["points"] if has_points else None, least)
    if text:  # a file may hold no points
        typer.echo(text)
    if out is not None:
        typer.echo(f"wrote {out}", err=True)


def _match(matcher: Matcher | ExportedMatcher, source: Path, target: Path, rotations: int, mirror: bool) -> Match:
    from semcorr.onnx.runtime import ExportedMatcher

    if not isinstance(matcher, ExportedMatcher):
        return matcher.match(source, target, rotations, mirror)
    if rotations != 1 or mirror:
        raise SemcorrError("--rotations and --mirror are for --runtime torch")
    return matcher.match(source, target)


def _in_words(result: Match, points: list[dict[str, Any]] | None, min_visibility: float) -> str:
    if points is None:
        confident = result.keypoints(20, min_visibility).confidence
        sure = f"{confident.mean():.2f}" if len(confident) else "none: no match holds in both directions"
        lines = [f"mean confidence of the {len(confident)} best matches: {sure}"]
        if result.similarity is not None:
            lines.append(f"similarity, the probability that both show the same kind of thing: {result.similarity:.2f}")
        return "\n".join(lines + _turn_in_words(result))
    return "\n".join([_point_in_words(point) for point in points] + _turn_in_words(result))


def _point_in_words(point: dict[str, Any]) -> str:
    x, y = point["source"]
    seen = f"  visibility {point['visibility']:.2f}" if "visibility" in point else ""
    if point["target"] is None:
        return f"{x:g},{y:g} -> not in the target{seen}"
    return "{:g},{:g} -> {:.1f},{:.1f}  confidence {:.2f}{}".format(x, y, *point["target"], point["confidence"], seen)


def _turn_in_words(result: Match) -> list[str]:
    degrees, mirrored = result.turn
    said = [text for text, true in (("mirrored", mirrored), (f"turned by {degrees:g}°", degrees != 0)) if true]
    return [f"the source was {' and '.join(said)} to match it"] if said else []


def _load(runtime: str, model_file: Path | None, choices: dict[str, Any]) -> Matcher | ExportedMatcher:
    if runtime not in ("torch", "onnx"):
        raise SemcorrError(f"--runtime must be torch or onnx; got {runtime!r}")
    if (runtime == "onnx") != (model_file is not None):
        raise SemcorrError(
            "--runtime onnx and --model-file FILE belong together: write the file with `semcorr export --out FILE`"
        )
    if model_file is None:
        import semcorr

        return semcorr.load(choices.pop("model", None), **choices)
    if choices:
        option = f"--{next(iter(choices)).replace('_', '-')}"
        raise SemcorrError(f"{option} is for --runtime torch: an exported model is what it was exported as")
    from semcorr.onnx.runtime import load

    return load(model_file)


def _report(
    result: Match, source: Path, target: Path, wanted: list[tuple[float, float]] | None, min_visibility: float
) -> dict[str, Any]:
    report: dict[str, Any] = {"source": str(source), "target": str(target)}
    if wanted is None:
        return report | result.to_dict()
    moved, confidence = result.transfer(wanted)
    entries: list[dict[str, Any]] = []
    for p, q, sure, seen in zip(wanted, moved.tolist(), confidence.tolist(), result.visible(wanted), strict=True):
        there = [round(x, 2) for x in q] if seen >= min_visibility else None
        entry = {"source": list(p), "target": there, "confidence": round(sure, 4)}
        entries.append(entry if result.forward.visibility is None else entry | {"visibility": round(float(seen), 4)})
    similarity = {} if result.similarity is None else {"similarity": round(result.similarity, 4)}
    return report | {"model": result.model, **similarity, "points": entries}


@app.command()
def models() -> None:
    """List the models, how their weights were trained, and what they were worth on the validation pairs."""
    from semcorr.models.loading import MODEL_NAMES
    from semcorr.weights import MODELS

    for name, text in MODEL_NAMES.items():
        typer.echo(f"{name:16} {text}")
        if name in MODELS:
            typer.echo(f"{'':16} {MODELS[name].load().trained()}")


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A YAML file such as configs/pmnc.yaml.", show_default=False)],
    data: Annotated[Path | None, typer.Option(help="Folder of the photographs, in place of the recipe's.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for checkpoints and weights, in place of the recipe's.")
    ] = None,
    photographs: Annotated[
        Path | None, typer.Option(help="Folder of photographs without keypoints, in place of the recipe's.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed, in place of the recipe's.")] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew, though there is a checkpoint to go on from.")
    ] = False,
) -> None:
    """Train a model on photographs with keypoints; run it again to go on after an interruption."""
    try:
        from semcorr.training.loop import train as run
    except ImportError as error:
        raise SemcorrError(
            f"training needs more packages: pip install 'semcorr[train]' ({error.name} is missing)"
        ) from None
    from semcorr.training.recipe import read_recipe

    weights = run(read_recipe(recipe, data, out, photographs, seed), fresh=fresh)
    typer.echo(str(weights))


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("pmnc.onnx"),
    # one value so far; named, because there will be others
    file_format: Annotated[str, typer.Option("--format", help="The file's format.", metavar="onnx")] = "onnx",
    model: Annotated[str | None, typer.Option(help="Which model, as for `match`.")] = None,
    backbone: Annotated[str | None, typer.Option(help="A timm backbone in place of the model's own.")] = None,
    backbone_weights: Annotated[str | None, typer.Option(help="A safetensors file for the backbone.")] = None,
    weights: Annotated[Path | None, typer.Option(help="A safetensors file in place of the model's own.")] = None,
    grid: Annotated[int | None, typer.Option(help="Cells to a side of a square picture (default 25).")] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side in pixels at which the network sees a square picture (default 400).")
    ] = None,
) -> None:
    """Write a model as one ONNX file: `semcorr match --runtime onnx --model-file FILE` uses it without torch."""
    if file_format != "onnx":
        raise SemcorrError(f"--format must be onnx; got {file_format!r}")
    import semcorr
    from semcorr.onnx.export import export as write

    matcher = semcorr.load(
        model, backbone=backbone, backbone_weights=backbone_weights, weights=weights, grid=grid, image_size=image_size
    )
    write(matcher, out)
    typer.echo(str(out))


@app.command("import")
def import_weights(
    kind: Annotated[Literal["ncnet", "ancnet"], typer.Argument(help="Whose code wrote the file.", show_default=False)],
    file: Annotated[Path, typer.Argument(help="The authors' .pth.tar file.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The folder for the two safetensors files.")] = Path(),
) -> None:
    """Convert a published checkpoint of NC-Net or ANC-Net to safetensors; nothing in it is executed."""
    from semcorr.models.import_checkpoint import import_checkpoint
    from semcorr.weights import write_weights

    imported = import_checkpoint(kind, file)
    paths = out / f"{kind}.safetensors", out / f"{kind}-backbone.safetensors"
    for path, weights in zip(paths, imported, strict=True):
        write_weights(path, weights)
        typer.echo(str(path))
    typer.echo(
        f"use them: semcorr match A B --model {kind} --weights {paths[0]} --backbone-weights {paths[1]}", err=True
    )


app.command()(commands.evaluate)
app.command()(commands.compare)
app.command()(benchmark)
app.add_typer(commands.data, name="data")
