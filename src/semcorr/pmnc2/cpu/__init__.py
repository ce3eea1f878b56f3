"""The search in native code: what `semcorr.pmnc2.search` does, faster. It is to be called only where the core is."""

from semcorr.pmnc2.cpu.bands import search_banded
from semcorr.pmnc2.cpu.search import search

__all__ = ["search", "search_banded"]
