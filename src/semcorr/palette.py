"""Okabe and Ito's colours, which are distinguishable with any colour vision."""

from __future__ import annotations

BLUE, ORANGE, YELLOW = "#0072b2", "#d55e00", "#f0e442"

LINES = (BLUE, ORANGE, "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8c6bb1")
"""Colours of the lines of a plot, in order."""
