"""The search of `semcorr.matchers.pmnc.search` in native code; to be called only where the core is there."""

from semcorr.matchers.pmnc.cpu.bands import search_banded
from semcorr.matchers.pmnc.cpu.search import search

__all__ = ["search", "search_banded"]
