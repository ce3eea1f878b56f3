"""The cosine 4-D correlation map of two feature maps, and NC-Net's soft mutual filter.

Shapes: ``C`` channels, ``hs × ws`` source cells, ``ht × wt`` target cells.
"""

from __future__ import annotations

import numpy as np

from semcorr.matchers.scored import Floats
from semcorr.native import core, functions
from semcorr.threads import thread_count

EPS = 1e-5  # from the authors' code
_ENOUGH = 1 << 24  # multiplications that are worth a thread


def cosine_correlation(source: Floats, target: Floats) -> Floats:
    """Correlate every source cell with every target cell.

    Args:
        source: L2-normalised features ``(C, hs, ws)``, float32.
        target: L2-normalised features ``(C, ht, wt)``, float32.

    Returns:
        Cosines ``(hs, ws, ht, wt)`` in -1…1.

    Raises:
        ValueError: If the shapes do not match.
    """
    if source.ndim != 3 or target.ndim != 3 or len(source) != len(target):
        raise ValueError(f"features must be (C, h, w) with the same C; got {source.shape} and {target.shape}")
    flat = source.reshape(len(source), -1).T @ target.reshape(len(target), -1)
    correlation: Floats = flat.reshape(*source.shape[1:], *target.shape[1:])
    return correlation


def multiply(values: Floats, weights: Floats) -> Floats:
    """Multiply ``(..., K)`` by ``(K, M)``, in native code if there is any, as threads of BLAS spin afterwards."""
    if core() is None:
        product: Floats = values @ weights
        return product
    rows = values.reshape(-1, values.shape[-1])
    threads = min(thread_count(), 1 + rows.size * weights.shape[1] // _ENOUGH)
    return functions.multiply(rows, weights, threads).reshape(*values.shape[:-1], -1)


def soft_mutual_filter(correlation: Floats) -> Floats:
    """Weaken correlations that are not the highest of both their source cell and their target cell.

    M(p, q) = C(p, q) · C(p, q) / max over p of C · C(p, q) / max over q of C, with negative correlations set to
    zero first (Rocco et al., NeurIPS 2018, section 3.2).

    Args:
        correlation: ``(hs, ws, ht, wt)``.

    Returns:
        The filtered map, of the same shape, never negative.
    """
    positive = np.maximum(correlation, 0)
    of_target = positive.max(axis=(0, 1), keepdims=True) + np.float32(EPS)
    of_source = positive.max(axis=(2, 3), keepdims=True) + np.float32(EPS)
    filtered: Floats = positive**3 / (of_target * of_source)
    return filtered


def correlation_channels(correlation: Floats) -> Floats:
    """Stack the inputs of the scoring function, the correlation map and its filtered form: ``(2, hs, ws, ht, wt)``."""
    return np.stack([correlation, soft_mutual_filter(correlation)])
