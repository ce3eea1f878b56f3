"""The native core: the inner loops of matching, in C. Python's side of them is `semcorr.native.functions`."""

from semcorr.native.loader import core, levels

__all__ = ["core", "levels"]
