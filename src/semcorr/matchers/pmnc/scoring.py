"""The local 4-D scoring function of PMNC.

For a source cell p and a target cell q, the score is a function of the correlations between the neighbours of p and the
neighbours of q, a window of (2r+1)⁴ values in each channel:

    S(p, q) = g(W · x) + g(W · xᵀ) + c · centre(x)

where x is the window, xᵀ the same window with source and target exchanged, and g a few pointwise layers. As in NC-Net
(section 3.1 of Rocco et al., NeurIPS 2018), this symmetry makes the score of a pair independent of the direction of
matching, so that both directions share one table of scores.

A window keeps its extent in the image: on a grid twice as fine, its offsets are dilated by two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semcorr.matchers.pmnc.windows import what_is_read
from semcorr.matchers.scored import Floats


@dataclass(frozen=True, eq=False)
class Scoring:
    """The parameters of a scoring function, all float32; S = (2r+1)² is the number of offsets in a window.

    Attributes:
        radius: Radius r of the window in cells; 0 reads only the correspondence itself.
        reach: Largest difference between the offsets of the source cell and of the target cell, along each axis, of the
            correlations that are read; None reads the whole window.
        window: Weights W of the first layer, ``(hidden, channels, S, S)``, source offsets before target offsets.
        bias: Bias of the first layer, ``(hidden,)``.
        mix: Weights of the second layer, ``(hidden, hidden)``, outputs before inputs.
        mix_bias: Bias of the second layer, ``(hidden,)``.
        out: Weights of the last layer, ``(hidden,)``.
        out_bias: Bias of the last layer, ``(1,)``.
        centre: Weights c of the correspondence's own correlations, ``(channels,)``.
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
        """Number of hidden channels."""
        return len(self.bias)

    def both_orders(self) -> Floats:
        """Return W and W with source and target exchanged, 0 beyond reach: ``(2, hidden, channels, S, S)``."""
        window = np.where(what_is_read(self.radius, self.reach), self.window, np.float32(0))
        return np.stack([window, window.swapaxes(2, 3)])

    def score(self, windows: Floats) -> Floats:
        """Score windows ``(N, channels, S, S)``; return ``(N,)``."""
        weights = self.both_orders().reshape(2, self.hidden, -1)
        middle = windows.shape[2] // 2
        scores = windows[:, :, middle, middle] @ self.centre
        for order in weights:  # W · x, then W · xᵀ
            first = np.maximum(windows.reshape(len(windows), -1) @ order.T + self.bias, 0)
            second = np.maximum(first @ self.mix.T + self.mix_bias, 0)
            scores = scores + second @ self.out + self.out_bias
        result: Floats = scores.astype(np.float32)
        return result
