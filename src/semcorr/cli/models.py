"""The commands ``models``, ``export`` and ``import``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from semcorr.cli.options import Backbone, BackboneWeights, Grid, ModelName, WeightsFile
from semcorr.errors import need_extra, one_of
from semcorr.files import refuse_input, unused


def models() -> None:
    """List the models, how their weights were trained, and their PCK on the validation pairs."""
    from semcorr.models.loading import MODEL_NAMES
    from semcorr.weights import MODELS

    for name, text in MODEL_NAMES.items():
        typer.echo(f"{name:16} {text}")
        if name in MODELS:
            typer.echo(f"{'':16} {MODELS[name].arrays().trained()}")


def export(
    out: Annotated[
        Path | None, typer.Option(help="The file to write. Default: pmnc.onnx, or pmnc-2.onnx … if it exists.")
    ] = None,
    # One value for now; an option, so that others can be added.
    file_format: Annotated[str, typer.Option("--format", help="The file format.", metavar="onnx")] = "onnx",
    model: ModelName = None,
    backbone: Backbone = None,
    backbone_weights: BackboneWeights = None,
    weights: WeightsFile = None,
    grid: Grid = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side in pixels to which the network resizes a square picture (default 400).")
    ] = None,
) -> None:
    """Write a model as one ONNX file: two pictures in, the matches of both directions out, for other languages."""
    one_of(file_format, ["onnx"], "--format")
    out = unused(Path("pmnc.onnx")) if out is None else out
    refuse_input(out, [Path(path) for path in (weights, backbone_weights) if path is not None])
    need_extra("torch", "torch", "timm", "onnx", "onnxscript")
    from semcorr.models.torch_loading import load
    from semcorr.onnx.export import export as write

    matcher = load(
        model, backbone=backbone, backbone_weights=backbone_weights, weights=weights, grid=grid, image_size=image_size
    )
    write(matcher, out)
    typer.echo(str(out))


def import_weights(
    kind: Annotated[
        Literal["ncnet", "ancnet"], typer.Argument(help="The model that the file belongs to.", show_default=False)
    ],
    file: Annotated[Path, typer.Argument(help="The authors' .pth.tar file.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The folder for the two safetensors files.")] = Path(),
) -> None:
    """Convert a published checkpoint of NC-Net or ANC-Net to safetensors; nothing in it is executed."""
    need_extra("torch", "torch", "timm")
    from semcorr.models.import_checkpoint import import_checkpoint
    from semcorr.weights import write_weights

    paths = out / f"{kind}.safetensors", out / f"{kind}-backbone.safetensors"
    for path in paths:
        refuse_input(path, [file])
    imported = import_checkpoint(kind, file)
    for path, weights in zip(paths, imported, strict=True):
        write_weights(path, weights)
        typer.echo(str(path))
    typer.echo(
        f"to use them: semcorr match A B --model {kind} --weights {paths[0]} --backbone-weights {paths[1]}", err=True
    )
