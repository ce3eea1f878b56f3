"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

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


def with_options(
    options: type[Any], declared: Mapping[str, Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command one option for each field of a dataclass.

    Args:
        options: The dataclass; the decorated function takes an instance of it as ``options``.
        declared: Field to its `typer.Option`. Types and defaults are the dataclass's own.
    """
    hints = get_type_hints(options)
    offered = [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=Annotated[hints[field.name], declared[field.name]],
        )
        for field in fields(options)
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(**given: Any) -> None:
            chosen = {parameter.name: given.pop(parameter.name) for parameter in offered}
            command(**given, options=options(**chosen))

        own = [p for p in signature(command, eval_str=True).parameters.values() if p.name != "options"]
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = Signature([*own, *offered])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in (*own, *offered)}
        return run

    return decorate
