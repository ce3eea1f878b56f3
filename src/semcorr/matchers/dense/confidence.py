"""How sure a match is: the agreement of both directions, and the rescaling to a probability."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from semcorr.geometry import cell_centres, cells_to_sampling


def agreement_of(there: Tensor, back: Tensor, sigma: float) -> Tensor:
    """Judge round trips: 1 where following ``there`` and then ``back`` ends where it began."""
    places = cells_to_sampling(there, (back.shape[1], back.shape[2]))
    returned = F.grid_sample(back.movedim(3, 1), places, align_corners=False, padding_mode="zeros").movedim(1, 3)
    start = cell_centres((there.shape[1], there.shape[2]), there.device)
    return (-(returned - start).square().sum(3) / (2 * sigma**2)).exp()


def rescale(confidence: Tensor, coefficients: Sequence[float]) -> Tensor:
    """Turn a raw confidence into the probability of being right: the sigmoid of a polynomial of it.

    Args:
        confidence: Any shape, 0…1.
        coefficients: Of the polynomial, the constant first.

    >>> rescale(torch.tensor([0.0, 1.0]), (0.0, 1.0, 2.0))
    tensor([0.5000, 0.9526])
    """
    return _polynomial(confidence, torch.tensor(coefficients, dtype=confidence.dtype)).sigmoid()


def fit_rescaling(confidence: Tensor, correct: Tensor) -> tuple[float, float, float]:
    """Find the coefficients for `rescale` by maximum likelihood; a higher confidence stays a higher one.

    Args:
        confidence: Raw confidences ``(N,)``.
        correct: Whether each match was right, ``(N,)``.
    """
    raw, right = confidence.double(), correct.double()
    free = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([free], max_iter=200, line_search_fn="strong_wolfe")

    def coefficients() -> Tensor:  # no slope is negative
        return torch.cat([free[:1], free[1:].exp()])

    def closure() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(_polynomial(raw, coefficients()), right)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    constant, slope, curve = coefficients().tolist()
    return constant, slope, curve


def _polynomial(values: Tensor, coefficients: Tensor) -> Tensor:
    powers = torch.stack([values**power for power in range(len(coefficients))], dim=-1)
    return powers @ coefficients
