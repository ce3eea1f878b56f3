"""Load named models: without torch where that can be, otherwise with it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from semcorr.errors import need_extra
from semcorr.features import Precision
from semcorr.matchers.decode import Decoding
from semcorr.models.choices import MODEL_NAMES, Choices, check_name, default_name, list_models
from semcorr.models.light import load_light
from semcorr.models.matcher import Matcher

if TYPE_CHECKING:
    import torch

__all__ = ["MODEL_NAMES", "check_name", "default_name", "list_models", "load"]


def load(
    name: str | None = None,
    *,
    backbone: str | None = None,
    stages: tuple[int, ...] | None = None,
    grid: int | None = None,
    image_size: int | None = None,
    backbone_weights: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    decoding: Decoding = "soft-argmax",
    device: torch.device | str = "cpu",
    precision: Precision = "float32",
) -> Matcher:
    """Load a model, ready to match.

    ``"pmnc"``, ``"pmnc-universal"`` and ``"nearest"`` with the package's backbone run on the CPU in float32 without
    torch. Everything else needs the extra ``semcorr[torch]``.

    Args:
        name: One of `list_models`. The default is ``"pmnc"``, or ``"pmnc-universal"`` if a backbone is given.
        backbone: Name of a timm model to use instead of the model's own backbone. timm downloads its weights on first
            use, unless they are in the package or given as ``backbone_weights``.
        stages: Stages of the backbone to use, as timm's indices; None uses those of stride 16 and 32.
        grid: Cells along each side of the grid of a square image; 25 by default, 2 to 512.
        image_size: Side in pixels of a square image at the network's input; 400 by default, 32 to 4096.
        backbone_weights: A safetensors file for the backbone, with timm's tensor names, or ``"random"``.
        weights: A safetensors file written by `semcorr train`, to use instead of the model's own weights.
        decoding: ``"soft-argmax"`` over the scored cells around the best one; or ``"argmax"``, the protocol of NC-Net
            and ANC-Net: the centre of the best cell, with points transferred by bilinear interpolation between the
            matches of the four cells around them.
        device: A torch device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"`` …
        precision: Precision of the features: ``"float32"``; or ``"bfloat16"``, which takes about half the time on
            processors with bfloat16 instructions, for a small loss of accuracy (docs/performance.md).

    Returns:
        A matcher, ready to match.

    Raises:
        ModelError: If a name is unknown, or a weights file is missing, broken or does not fit the model; the message
            says what to do.
        SemcorrError: If the model needs torch, which is not installed.
        ValueError: If a number or ``decoding`` is out of range.

    >>> load("nearest").match
    <bound method Matcher.match of Matcher('nearest', ...)>
    """
    name = default_name(backbone) if name is None else name
    choices = Choices(
        name, backbone, stages, grid, image_size, backbone_weights, weights, decoding, str(device), precision
    )
    matcher = load_light(choices)
    if matcher is not None:
        return matcher
    need_extra("torch", "torch", "timm")
    from semcorr.models.torch_loading import load_torch

    return load_torch(choices)
