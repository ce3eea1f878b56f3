from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFile


@pytest.fixture(scope="session")
def grey(cat: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(cat[100:180, 100:220]).convert("L"))  # (80, 120), an eye of the cat


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("a pixel was decoded"))
