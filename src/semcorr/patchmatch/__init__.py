"""PatchMatch over pairs of cells: initialise, propagate, refine, until no better correspondence turns up."""

from semcorr.patchmatch.search import SearchOptions, exhaustive_search, search

__all__ = ["SearchOptions", "exhaustive_search", "search"]
