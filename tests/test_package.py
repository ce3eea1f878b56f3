"""The package as its users meet it: its face, its import time, what it needs."""

import subprocess
import sys

import semcorr


def test_the_face_is_eight_names():
    models = ["from_pretrained", "list_models", "load", "save_pretrained"]
    assert semcorr.__all__ == ["Match", "Matcher", "SemcorrError", "annotate", *models]
    assert all(hasattr(semcorr, name) for name in semcorr.__all__)


def test_import_loads_nothing_heavy():
    code = "import sys, semcorr; print([m for m in ('torch', 'timm', 'matplotlib', 'PIL') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_matching_needs_no_extra(tmp_path):
    """Matching imports nothing that only an extra installs."""
    extras = ("lightning_fabric", "pydantic", "requests", "torchmetrics", "scipy", "skimage", "gradio")
    code = (
        f"import sys; [sys.modules.__setitem__(name, None) for name in {extras}]\n"
        "import numpy as np, semcorr\n"
        "picture = np.random.default_rng(0).integers(0, 255, (64, 80, 3), dtype=np.uint8)\n"
        f"semcorr.load().match(picture, picture).plot({str(tmp_path / 'match.png')!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "match.png").stat().st_size > 10_000
