"""The cosine 4-D correlation map of two feature maps, and NC-Net's soft mutual filter.

Shapes: ``B`` pairs, ``C`` channels, ``hs × ws`` source cells, ``ht × wt`` target cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import torch
from torch import Tensor


def cosine_correlation(source: Tensor, target: Tensor) -> Tensor:
    """Correlate every source cell with every target cell.

    Args:
        source: L2-normalised features ``(B, C, hs, ws)``, floating point.
        target: L2-normalised features ``(B, C, ht, wt)``, the same dtype, device, ``B`` and ``C``.

    Returns:
        Cosines ``(B, hs, ws, ht, wt)`` in -1…1.

    Raises:
        ValueError: If the shapes do not match.

    >>> a = torch.nn.functional.normalize(torch.randn(1, 8, 3, 4), dim=1)
    >>> cosine_correlation(a, a).shape, bool(torch.allclose(cosine_correlation(a, a)[0, 1, 2, 1, 2], torch.ones(())))
    (torch.Size([1, 3, 4, 3, 4]), True)
    """
    if source.ndim != 4 or target.ndim != 4 or source.shape[:2] != target.shape[:2]:
        raise ValueError(
            f"features must be (B, C, h, w) with the same B and C; got {tuple(source.shape)} and {tuple(target.shape)}"
        )
    flat = source.flatten(2).transpose(1, 2) @ target.flatten(2)  # (B, hs·ws, ht·wt)
    return flat.reshape(source.shape[0], *source.shape[2:], *target.shape[2:])


_lock = Lock()
_running: list[str] = []  # the previous setting, once for each thread currently within `quick_products`


@contextmanager
def quick_products() -> Iterator[None]:
    """Multiply float32 matrices on the CPU by oneDNN, rounding factors to bfloat16 where that is faster.

    Sums and results stay float32. Factors are rounded only on processors with AMX; on others the arithmetic is that of
    torch's default library, but faster.
    """
    settings = getattr(torch.backends.mkldnn, "matmul", None)  # from torch 2.9 on
    if settings is None:
        yield
        return
    with _lock:  # the setting applies to the whole process, and matches may run in several threads
        _running.append(_running[0] if _running else settings.fp32_precision)
        settings.fp32_precision = "bf16"
    try:
        yield
    finally:
        with _lock:
            before = _running.pop()
            if not _running:
                settings.fp32_precision = before


EPS = 1e-5  # from the authors' code


def filter_weight(highest: Tensor, eps: float = EPS) -> Tensor:
    """Return 1 / (largest positive correlation + eps) of cells, given their largest correlation.

    `soft_mutual_filter` multiplies the cube of a positive correlation by the weights of its source and target cells.
    """
    return 1 / (highest.clamp(min=0) + eps)


def soft_mutual_filter(correlation: Tensor, eps: float = EPS) -> Tensor:
    """Weaken correlations that are not the highest of both their source cell and their target cell.

    M(p, q) = C(p, q) · C(p, q) / max over p of C · C(p, q) / max over q of C, with negative correlations set to
    zero first (Rocco et al., NeurIPS 2018, section 3.2).

    Args:
        correlation: ``(B, hs, ws, ht, wt)``, floating point.
        eps: Added to both maxima, so that a map of zeros remains zero.

    Returns:
        The filtered map, of the same shape, never negative.
    """
    positive = correlation.clamp(min=0)
    best_of_target = positive.amax(dim=(1, 2), keepdim=True)  # (B, 1, 1, ht, wt)
    best_of_source = positive.amax(dim=(3, 4), keepdim=True)  # (B, hs, ws, 1, 1)
    return positive.pow(3) / ((best_of_target + eps) * (best_of_source + eps))


def correlation_channels(correlation: Tensor) -> Tensor:
    """Stack the inputs of the scoring function: the correlation map and its soft-mutual-filtered form.

    Args:
        correlation: ``(B, hs, ws, ht, wt)``, floating point.

    Returns:
        ``(B, 2, hs, ws, ht, wt)``.
    """
    return torch.stack([correlation, soft_mutual_filter(correlation)], dim=1)
