"""What several commands share: options of loading a model, and paths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from semcorr.files import local_path

LOADING: dict[str, Any] = {
    "model": typer.Option(
        help="The model; `semcorr models` lists them. Default: pmnc, or pmnc-universal with --backbone."
    ),
    "backbone": typer.Option(help="A timm backbone to use instead of the model's own."),
    "backbone_weights": typer.Option(
        help="A safetensors file for the backbone; without it, timm downloads the weights."
    ),
    "weights": typer.Option(
        help="A safetensors file to use instead of the model's own; `train` and `import` write them."
    ),
    "grid": typer.Option(
        help="Cells along each side of the feature grid of a square picture (default 25). pmnc needs 130 MB to match "
        "at 64 and 220 MB at 100, where it works coarse to fine; the other models need far more."
    ),
    "device": typer.Option(help="Where to compute: cpu, cuda, cuda:1, mps …"),
}
"""Options that choose a model, by the argument of `semcorr.load`."""

ModelName = Annotated[str | None, LOADING["model"]]
Backbone = Annotated[str | None, LOADING["backbone"]]
BackboneWeights = Annotated[str | None, LOADING["backbone_weights"]]
WeightsFile = Annotated[Path | None, LOADING["weights"]]
Grid = Annotated[int | None, LOADING["grid"]]
Device = Annotated[str, LOADING["device"]]


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
        return _declare(run, command, [*own, *offered])

    return decorate


def with_local_paths(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command whose paths may begin with ``~``, and that refuses addresses such as ``https://…``."""

    def run(**given: Any) -> None:
        command(**{name: _localised(value) for name, value in given.items()})

    return _declare(run, command, list(signature(command, eval_str=True).parameters.values()))


def _localised(value: Any) -> Any:
    if isinstance(value, list):
        return [_localised(item) for item in value]
    return local_path(value) if isinstance(value, Path) else value


def _declare(
    run: Callable[..., None], command: Callable[..., None], parameters: list[Parameter]
) -> Callable[..., None]:
    """Let typer read the name, the help and the parameters of one function from another."""
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
