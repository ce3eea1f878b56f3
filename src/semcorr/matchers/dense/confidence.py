"""Confidence of a match: the agreement of both directions, and the calibration to a probability."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from semcorr.geometry import cell_centres, cells_to_sampling


def agreement_of(forward: Tensor, backward: Tensor, sigma: float) -> Tensor:
    """Rate round trips: 1 where ``forward`` followed by ``backward`` ends where it started.

    Args:
        forward: Matches of one image's cells, ``(B, h, w, 2)`` (x, y) in cells of the other.
        backward: Matches of the other image's cells, ``(B, h', w', 2)``.
        sigma: Standard deviation of the round-trip error, in cells.

    Returns:
        ``(B, h, w)``, 0…1.
    """
    positions = cells_to_sampling(forward, (backward.shape[1], backward.shape[2]))
    returned = F.grid_sample(backward.movedim(3, 1), positions, align_corners=False, padding_mode="zeros").movedim(1, 3)
    start = cell_centres((forward.shape[1], forward.shape[2]), forward.device)
    return (-(returned - start).square().sum(3) / (2 * sigma**2)).exp()


def rescale(confidence: Tensor, coefficients: Sequence[float]) -> Tensor:
    """Calibrate a raw confidence to the probability that the match is correct: the sigmoid of a polynomial.

    Args:
        confidence: Raw confidences of any shape, 0…1.
        coefficients: Coefficients of the polynomial, the constant first.

    Returns:
        Probabilities of the same shape.

    >>> rescale(torch.tensor([0.0, 1.0]), (0.0, 1.0, 2.0))
    tensor([0.5000, 0.9526])
    """
    return _polynomial(confidence, torch.tensor(coefficients, dtype=confidence.dtype)).sigmoid()


def fit_rescaling(confidence: Tensor, correct: Tensor) -> tuple[float, float, float]:
    """Fit the coefficients of a monotonic `rescale` by maximum likelihood.

    Args:
        confidence: Raw confidences ``(N,)``, 0…1.
        correct: Whether each match is correct, ``(N,)``.

    Returns:
        The constant, linear and quadratic coefficients.
    """
    raw, labels = confidence.double(), correct.double()
    parameters = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([parameters], max_iter=200, line_search_fn="strong_wolfe")

    def coefficients() -> Tensor:  # positive slopes keep the polynomial monotonic
        return torch.cat([parameters[:1], parameters[1:].exp()])

    def closure() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(_polynomial(raw, coefficients()), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    constant, slope, curve = coefficients().tolist()
    return constant, slope, curve


def _polynomial(values: Tensor, coefficients: Tensor) -> Tensor:
    powers = torch.stack([values**power for power in range(len(coefficients))], dim=-1)
    return powers @ coefficients
