"""The command ``train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semcorr.errors import SemcorrError


def train(
    recipe: Annotated[Path, typer.Argument(help="A YAML file such as configs/pmnc.yaml.", show_default=False)],
    data: Annotated[Path | None, typer.Option(help="Folder of the photographs, instead of the recipe's.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for checkpoints and weights, instead of the recipe's.")
    ] = None,
    photographs: Annotated[
        Path | None, typer.Option(help="Folder of photographs without keypoints, instead of the recipe's.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed, instead of the recipe's.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, ignoring any existing checkpoint.")] = False,
) -> None:
    """Train a model on photographs with keypoints; run it again to resume after an interruption."""
    try:
        from semcorr.training.loop import train as run
    except ImportError as error:
        raise SemcorrError(
            f"training needs more packages: pip install 'semcorr[train]' ({error.name} is missing)"
        ) from None
    from semcorr.training.recipe import read_recipe

    weights = run(read_recipe(recipe, data, out, photographs, seed), fresh=fresh)
    typer.echo(str(weights))
