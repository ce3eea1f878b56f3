"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from semcorr.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from rich.progress import Progress

Choice = TypeVar("Choice", bound=str)

ModelName = Annotated[
    str | None,
    typer.Option(
        "--model", help="The model; `semcorr models` lists them. Default: pmnc, or pmnc-universal with --backbone."
    ),
]
Backbone = Annotated[str | None, typer.Option(help="A timm backbone to use instead of the model's own.")]
BackboneWeights = Annotated[
    str | None, typer.Option(help="A safetensors file for the backbone; without it, timm downloads the weights.")
]
WeightsFile = Annotated[
    Path | None,
    typer.Option(
        "--weights", help="A safetensors file to use instead of the model's own; `train` and `import` write them."
    ),
]
Grid = Annotated[
    int | None,
    typer.Option(
        help="Cells along each side of the feature grid of a square picture (default 25). pmnc needs 130 MB to match "
        "at 64 and 220 MB at 100, where it works coarse to fine; the other models need far more."
    ),
]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, mps …")]


def one_of(given: str, known: Sequence[Choice], option: str) -> Choice:
    """Return the value of an option that takes one of a few words.

    Text and not `typing.Literal`, which typer takes only since 0.19; and a wrong value gets one line, like any other
    invalid usage.

    Raises:
        DataError: If the value is not one of them.
    """
    for value in known:
        if given == value:
            return value
    raise DataError(f"{option} must be {' or '.join(known)}; got {given!r}{did_you_mean(given, known)}")


def progress_bar(*columns: Any) -> Progress:
    """Return a progress bar on stderr: a description, a bar, and the given columns of `rich.progress`."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(TextColumn("{task.description}"), BarColumn(), *columns, console=Console(stderr=True))
