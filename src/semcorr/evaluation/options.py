"""The settings of an evaluation, shared by `semcorr.evaluation.compare` and the commands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """Which pairs are evaluated, how the models are loaded and run, and how their predictions are scored.

    Attributes:
        root: The folder that holds the data set, where the data set is given by its name.
        split: The split; None takes the one that papers report.
        limit: Evaluate at most this many pairs, sampled evenly from the list.
        annotations: With the data set ``"coco"``: any COCO keypoints file.
        images: With ``annotations``: the folder of its pictures.
        skip_broken: Leave out entries that are broken, and count them, instead of raising.
        threshold: What α is a fraction of: ``"image"``, ``"bbox"`` or ``"keypoints"``; None takes the data set's own.
        space: ``"native"`` pixels, or ``"square"``: both pictures squashed to a square; None takes the data set's own.
        alphas: The thresholds α, above 0 and at most 1; None takes `semcorr.metrics.ALPHAS`.
        backbone: A timm backbone to use instead of the models' own.
        backbone_weights: A safetensors file for the backbone.
        weights: A safetensors file to use instead of the models' own weights.
        grid: Cells along each side of the feature grid of a square picture.
        decoding: ``"soft-argmax"``, or ``"argmax"`` as the authors of NC-Net and ANC-Net evaluate them.
        device: Where to compute.
        batch: How many pairs are matched at a time.
        workers: How many threads read pictures ahead.
        fresh: Match and measure again, ignoring predictions and costs of an earlier run.
        cost: Measure the time and memory of a pair, in a separate process.
    """

    root: Path | None = None
    split: str | None = None
    limit: int | None = None
    annotations: Path | None = None
    images: Path | None = None
    skip_broken: bool = False
    threshold: str | None = None
    space: str | None = None
    alphas: list[float] | None = None
    backbone: str | None = None
    backbone_weights: str | None = None
    weights: Path | None = None
    grid: int | None = None
    decoding: str = "soft-argmax"
    device: str = "cpu"
    batch: int = 8
    workers: int = 2
    fresh: bool = False
    cost: bool = True
