"""The command ``train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semcorr.errors import need_extra


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A YAML file, or the name of a recipe of the package: pmnc, paper/pmnc-pf-pascal-25, … Default: "
            "finetune, which trains on from a model of the package.",
            metavar="RECIPE",
            show_default=False,
        ),
    ] = "finetune",
    data: Annotated[
        str | None,
        typer.Option(help="What to train on: a data set's name or its folder (docs/data.md). Instead of the recipe's."),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="The folder of the data set that --data names.")] = None,
    annotations: Annotated[Path | None, typer.Option(help="With --data coco: any COCO keypoints file.")] = None,
    images: Annotated[Path | None, typer.Option(help="With --annotations: the folder of its pictures.")] = None,
    validation: Annotated[
        str | None, typer.Option(help="What to validate on, like --data, if not on its validation list.")
    ] = None,
    validation_root: Annotated[Path | None, typer.Option(help="Like --root, for --validation.")] = None,
    validation_annotations: Annotated[Path | None, typer.Option(help="Like --annotations, for --validation.")] = None,
    validation_images: Annotated[Path | None, typer.Option(help="Like --images, for --validation.")] = None,
    start: Annotated[
        str | None, typer.Option(help="Start from this model of the package, or from this weights file.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for checkpoints and weights, instead of the recipe's.")
    ] = None,
    photographs: Annotated[
        Path | None, typer.Option(help="Folder of photographs without keypoints, instead of the recipe's.")
    ] = None,
    pseudo_labels: Annotated[
        Path | None, typer.Option(help="File of `semcorr data pseudo-labels`, instead of the recipe's.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps, instead of the recipe's.", min=1)] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed, instead of the recipe's.")] = None,
    accelerator: Annotated[
        str | None, typer.Option(help="Where to compute: cpu, cuda, mps or auto. Default: the recipe's, or else cpu.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that prepare images in the background, for a GPU. Default: the recipe's.", min=0),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, ignoring any existing checkpoint.")] = False,
) -> None:
    """Train a model on photographs with keypoints; run it again to resume after an interruption.

    On several devices: torchrun --nproc-per-node 2 -m semcorr train RECIPE …
    """
    need_extra("train", "torch", "lightning_fabric", "pydantic", "yaml")
    from semcorr.training.loop import train as run
    from semcorr.training.recipe import find_recipe, read_recipe

    changes = {
        "data": _source(data, root, annotations, images),
        "validation": _source(validation, validation_root, validation_annotations, validation_images),
        **{"start": start, "out": out, "photographs": photographs, "pseudo_labels": pseudo_labels},
        **{"steps": steps, "seed": seed, "accelerator": accelerator, "workers": workers},
    }
    weights = run(read_recipe(find_recipe(recipe), **changes), fresh=fresh)
    typer.echo(str(weights))


def _source(
    name: str | None, root: Path | None, annotations: Path | None, images: Path | None
) -> dict[str, str | Path] | None:
    """Return what a recipe says about a data set, or None where the command line says nothing about it."""
    values = {"name": name, "root": root, "annotations": annotations, "images": images}
    return {key: value for key, value in values.items() if value is not None} or None
