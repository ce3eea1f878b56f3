"""The local 4-D scoring function of PMNC.

For a source cell p and a target cell q, the score is read from the correlations between the neighbours of p and the
neighbours of q, a window of (2r+1)⁴ values in each channel:

    S(p, q) = g(W · x) + g(W · xᵀ) + c · centre(x)

where x is the window, xᵀ the same window with source and target exchanged, and g a few pointwise layers. Symmetry
(NC-Net's, section 3.1 of Rocco et al., NeurIPS 2018) makes the score of a pair independent of the direction of
matching, so that one table of scores serves both.

A window keeps its extent in the picture: on a grid twice as fine its offsets are dilated by two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semcorr.matchers.pmnc.windows import what_is_read
from semcorr.matchers.scored import Floats


@dataclass(frozen=True, eq=False)
class Scoring:
    """The parameters of a scoring function, all float32; S = (2r+1)² is the number of offsets of a window.

    Attributes:
        radius: The window's radius r in cells; 0 looks at the correspondence alone.
        reach: How far the offset of a target cell may be from that of a source cell, along each axis, for their
            correlation to be read; None reads the whole window.
        window: W, ``(hidden, channels, S, S)``: source offsets before target offsets.
        bias: ``(hidden,)``, of the layer that covers the window.
        mix: ``(hidden, hidden)``, outputs before inputs, of the pointwise layer behind it.
        mix_bias: ``(hidden,)``.
        out: ``(hidden,)``, of the last layer.
        out_bias: ``(1,)``.
        centre: c, ``(channels,)``.
    """

    radius: int
    reach: int | None
    window: Floats
    bias: Floats
    mix: Floats
    mix_bias: Floats
    out: Floats
    out_bias: Floats
    centre: Floats

    @property
    def hidden(self) -> int:
        """The width of the layers."""
        return len(self.bias)

    def both_orders(self) -> Floats:
        """Return what is read of W, beside its exchange of source and target: ``(2, hidden, channels, S, S)``."""
        window = np.where(what_is_read(self.radius, self.reach), self.window, np.float32(0))
        return np.stack([window, window.swapaxes(2, 3)])

    def score(self, windows: Floats) -> Floats:
        """Score windows ``(N, channels, S, S)``; return ``(N,)``."""
        weights = self.both_orders().reshape(2, self.hidden, -1)
        middle = windows.shape[2] // 2
        scores = windows[:, :, middle, middle] @ self.centre
        for order in weights:  # x, then its exchange
            first = np.maximum(windows.reshape(len(windows), -1) @ order.T + self.bias, 0)
            second = np.maximum(first @ self.mix.T + self.mix_bias, 0)
            scores = scores + second @ self.out + self.out_bias
        found: Floats = scores.astype(np.float32)
        return found
