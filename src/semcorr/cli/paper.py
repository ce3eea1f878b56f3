"""The command ``paper``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semcorr.errors import need_extra


def paper(
    root: Annotated[Path, typer.Option(help="The folder of the experiment: data, runs and results.")],
    dataset: Annotated[
        list[str] | None, typer.Option(help="pf-pascal or spair-71k; may be repeated (default: both).")
    ] = None,
    recipe: Annotated[
        list[str] | None, typer.Option(help="Only this recipe of configs/paper, and those that it starts from.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder that holds pf-pascal and spair-71k, instead of downloading them.")
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="A timm backbone instead of ResNet-101.")] = None,
    backbone_weights: Annotated[
        str | None, typer.Option(help="A safetensors file for the backbone, or random; timm downloads it otherwise.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side of the pictures (default 400); grids shrink with it.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Optimiser steps of every recipe, instead of its own.", min=1)
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Evaluate at most this many pairs.", min=1)] = None,
    accelerator: Annotated[str, typer.Option(help="Where to compute: cpu, cuda or mps.")] = "cpu",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and how long what is done took.")
    ] = False,
) -> None:
    """Reproduce the paper's table: download, check, train, evaluate; run it again to resume after an interruption."""
    need_extra("data", "requests", "jinja2")
    need_extra("train", "torch", "lightning_fabric", "pydantic", "yaml")
    from semcorr.files import write_text
    from semcorr.training.paper import ROWS, Paper, PaperOptions

    options = PaperOptions(
        tuple(dataset or ROWS),
        tuple(recipe or ()),
        data,
        backbone,
        backbone_weights,
        image_size,
        steps,
        limit,
        accelerator,
    )
    experiment = Paper(root, options)
    if dry_run:
        for line in experiment.plan():
            typer.echo(line)
        return
    tables = experiment.run(lambda line: typer.echo(line, err=True))
    write_text(root / "paper.md", tables + "\n")
    typer.echo(tables)
