"""Models for ``torch.hub.load(FOLDER, "pmnc", source="local")``."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

dependencies = ["torch", "numpy", "PIL", "safetensors"]

if find_spec("semcorr") is None:
    sys.path.insert(0, str(Path(__file__).parent / "src"))


def _load(name: str, **options: Any) -> Any:
    import semcorr

    return semcorr.load(name, **options)


def pmnc(**options: Any) -> Any:
    """PatchMatch-based neighbourhood consensus, trained with its features; options as for `semcorr.load`."""
    return _load("pmnc", **options)


def pmnc_universal(**options: Any) -> Any:
    """Load the same consensus for any backbone; options as for `semcorr.load`."""
    return _load("pmnc-universal", **options)


def ncnet(**options: Any) -> Any:
    """Load NC-Net; options as for `semcorr.load`."""
    return _load("ncnet", **options)


def ancnet(**options: Any) -> Any:
    """Load ANC-Net; options as for `semcorr.load`."""
    return _load("ancnet", **options)


def nearest(**options: Any) -> Any:
    """Nearest neighbours of the features; options as for `semcorr.load`."""
    return _load("nearest", **options)
