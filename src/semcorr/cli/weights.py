"""The commands ``weights average``, ``weights calibrate`` and ``weights convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semcorr.errors import need_extra
from semcorr.files import refuse_input

weights = typer.Typer(no_args_is_help=True, help="Average, calibrate and convert weights files.")


@weights.command()
def average(
    out: Annotated[Path, typer.Argument(help="The file to write.")],
    files: Annotated[list[Path], typer.Argument(help="Weights that `semcorr train` wrote, from the same start.")],
    fine: Annotated[
        Path | None, typer.Option(help="Take the fine descriptors and the untouched features of this file.")
    ] = None,
) -> None:
    """Average the weights of several trained models."""
    need_extra("torch", "torch", "timm")
    from semcorr.training.average import average_weights
    from semcorr.weights import write_weights

    refuse_input(out, [*files, *([fine] if fine else [])])
    write_weights(out, average_weights(files, fine))
    typer.echo(str(out))


@weights.command()
def calibrate(
    file: Annotated[Path, typer.Argument(help="Weights of pmnc.")],
    out: Annotated[Path, typer.Argument(help="The file to write.")],
    data: Annotated[str, typer.Option(help="The data set to calibrate on: its name, or its folder.")],
    root: Annotated[Path | None, typer.Option(help="The folder of the data set that --data names.")] = None,
    split: Annotated[str | None, typer.Option(help="The split to calibrate on (default: the validation list).")] = None,
    limit: Annotated[int, typer.Option(help="Use at most this many pairs, sampled evenly from the list.", min=1)] = 400,
) -> None:
    """Calibrate the confidence of trained weights on pairs that they were not trained on."""
    need_extra("train", "torch", "pydantic", "lightning_fabric")
    from semcorr.training.data import load_validation
    from semcorr.training.finish import calibrate_weights
    from semcorr.training.recipe import DataSource
    from semcorr.weights import write_weights

    refuse_input(out, [file])
    calibrated, said = calibrate_weights(file, load_validation(DataSource(data, root, split=split), limit))
    write_weights(out, calibrated)
    typer.echo(said, err=True)
    typer.echo(str(out))


@weights.command()
def convert(
    backbone: Annotated[str, typer.Argument(help="timm's name of the backbone.")],
    out: Annotated[Path, typer.Argument(help="The safetensors file to write.")],
    file: Annotated[
        Path | None,
        typer.Option(help="A checkpoint with the tensors in timm's order (default: that of `semcorr[convert]`)."),
    ] = None,
) -> None:
    """Make backbone weights with timm's names from another checkpoint; nothing in it is executed."""
    need_extra("torch", "torch", "timm")
    from semcorr.models.convert_backbone import convert_backbone
    from semcorr.weights import write_weights

    refuse_input(out, [file] if file else [])
    write_weights(out, convert_backbone(backbone, file))
    typer.echo(str(out))
