"""Calibration of a confidence to a probability, in NumPy; `semcorr.matchers.dense.confidence` fits it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semcorr.matchers.scored import Floats


def rescale(confidence: Floats, coefficients: Sequence[float]) -> Floats:
    """Calibrate a raw confidence to the probability that the match is correct: the sigmoid of a polynomial.

    Args:
        confidence: Raw confidences of any shape, 0…1.
        coefficients: Coefficients of the polynomial, the constant first.

    Returns:
        Probabilities of the same shape.

    >>> rescale(np.array([0.0, 1.0], np.float32), (0.0, 1.0, 2.0)).round(4).tolist()
    [0.5, 0.9526000022888184]
    """
    powers = np.stack([confidence**power for power in range(len(coefficients))], axis=-1)
    probability: Floats = (1 / (1 + np.exp(-(powers @ np.asarray(coefficients, np.float32))))).astype(np.float32)
    return probability
