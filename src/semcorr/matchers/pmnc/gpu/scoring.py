"""Torch version of `semcorr.matchers.pmnc.scoring`, for training.

Its dense form is the proxy model, and the exhaustive search that PatchMatch is measured against.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcorr.matchers.pmnc.gpu.windows import sample_rows
from semcorr.matchers.pmnc.scoring import Scoring
from semcorr.matchers.pmnc.windows import what_is_read


class ScoringFunction(nn.Module):
    """Score correspondences by the correlations around them; see `semcorr.matchers.pmnc.scoring`.

    Args:
        radius: Radius r of the window in cells; 0 reads only the correspondence itself.
        hidden: Output channels of the layer that covers the window, and of the pointwise layer after it.
        channels: Number of correlation channels, 2 for `semcorr.matchers.dense.correlation.correlation_channels`.
        reach: Largest difference between the offsets of the source cell and of the target cell, along each axis, of the
            correlations that are read; None reads the whole window. A small reach is cheaper; weights beyond it are
            kept but count as 0.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, radius: int = 2, hidden: int = 16, channels: int = 2, reach: int | None = None) -> None:
        super().__init__()
        if reach is not None and reach < 0:
            raise ValueError(f"reach must be 0 or more; got {reach}")
        if radius < 0 or hidden < 1 or channels < 1:
            raise ValueError(
                f"radius must be 0 or more, hidden and channels 1 or more; got {radius}, {hidden}, {channels}"
            )
        self.radius, self.hidden, self.channels = radius, hidden, channels
        cells = (2 * radius + 1) ** 2
        bound = (channels * cells * cells) ** -0.5
        # (hidden, channels, source offsets, target offsets)
        self.window = nn.Parameter(torch.empty(hidden, channels, cells, cells).uniform_(-bound, bound))
        self.reach = reach
        self.is_read: Tensor
        self.register_buffer("is_read", torch.from_numpy(what_is_read(radius, reach)).float(), persistent=False)
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.mix = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, 1)
        self.centre = nn.Parameter(torch.tensor([20.0, *[10.0] * (channels - 1)]))

    def arrays(self) -> Scoring:
        """Return the parameters as NumPy arrays, which share their memory if they are float32 on the CPU."""
        parts = (self.window, self.bias, self.mix.weight, self.mix.bias, self.out.weight[0], self.out.bias, self.centre)
        return Scoring(self.radius, self.reach, *(part.detach().cpu().float().contiguous().numpy() for part in parts))

    def both_orders(self) -> tuple[Tensor, Tensor]:
        """Return W and W with source and target exchanged, ``(2·hidden, channels, S, S)``, and the bias of both."""
        window = self.window if self.reach is None else self.window * self.is_read
        window = torch.cat([window, window.transpose(2, 3)])
        return window, self.bias.repeat(2)

    def pointwise(self, first: Tensor, centre: Tensor) -> Tensor:
        """Turn first-layer responses ``(N, 2·hidden)`` and centre values ``(N, channels)`` into scores ``(N,)``."""
        hidden = F.relu(first).reshape(-1, 2, self.hidden)
        both: Tensor = self.out(F.relu(self.mix(hidden)))  # (N, 2, 1)
        return both.sum(dim=(1, 2)) + centre @ self.centre

    def score_windows(self, windows: Tensor) -> Tensor:
        """Score windows.

        Args:
            windows: ``(N, S, S, channels)``, source offsets before target offsets.

        Returns:
            ``(N,)``.
        """
        weight, bias = self.both_orders()
        middle = windows.shape[1] // 2
        first = windows.flatten(1) @ weight.movedim(1, 3).flatten(1).T + bias
        return self.pointwise(first, windows[:, middle, middle])

    def score_rows(self, rows: Tensor, dilation: int = 1) -> Tensor:
        """Score source positions against every target cell by one 2-D convolution.

        Args:
            rows: For each source position, the target maps of its S window cells, ``(N, channels, S, ht, wt)``.
            dilation: Spacing of the window's cells.

        Returns:
            Scores ``(N, ht, wt)``.
        """
        side = 2 * self.radius + 1
        weight, bias = self.both_orders()
        kernel = weight.reshape(2 * self.hidden, -1, side, side)  # (2·hidden, channels·S, side, side)
        first = F.conv2d(rows.flatten(1, 2), kernel, bias, padding=self.radius * dilation, dilation=dilation)
        centre = rows[:, :, rows.shape[2] // 2]  # (N, channels, ht, wt)
        scores = self.pointwise(first.movedim(1, 3).flatten(0, 2), centre.movedim(1, 3).flatten(0, 2))
        return scores.reshape(rows.shape[0], *rows.shape[3:])

    def score_points(self, maps: Tensor, cells: Tensor, dilation: int = 1) -> Tensor:
        """Score continuous source points against every target cell: the proxy model.

        Args:
            maps: Correlation channels of one image pair, ``(channels, hs, ws, ht, wt)``.
            cells: Source points ``(N, 2)`` (x, y) in cell coordinates; maps are interpolated bilinearly between cell
                centres, and zero outside the image.
            dilation: Spacing of the window's cells.

        Returns:
            Scores ``(N, ht, wt)``.
        """
        rows = sample_rows(maps, cells, self.radius, dilation)
        return self.score_rows(rows, dilation)
