"""The adapter for vismatch, in vismatch itself as it is published."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import semcorr
from semcorr.match.wrapper import to_wrapper

ROOT = Path(__file__).resolve().parents[2]

USE = """
import sys, json, numpy as np
from vismatch.im_models.semcorr_wrapper import SemcorrMatcher
result = SemcorrMatcher(max_num_keypoints=30)(*sys.argv[1:])
json.dump({key: np.asarray(value).tolist() for key, value in result.items() if value is not None}, sys.stdout)
"""


@pytest.mark.slow
def test_the_adapter_in_the_wrapper_itself(cat, cheetah_path, tmp_path):
    """Without vismatch's own models and what they need: the adapter needs neither."""
    pytest.importorskip("torchvision", reason="vismatch needs torchvision")
    pytest.importorskip("huggingface_hub", reason="vismatch needs huggingface_hub")
    cat_png = tmp_path / "cat.png"
    Image.fromarray(cat).save(cat_png)
    packages = ["vismatch==1.4.0", "yacs==0.1.8", "opencv-python-headless"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path / "packages")]
    try:
        subprocess.run([*command, *packages], check=True, capture_output=True, timeout=120)
    except subprocess.SubprocessError as error:
        pytest.skip(f"vismatch cannot be fetched: {error}")
    shutil.copy(ROOT / "examples" / "wrapper.py", tmp_path / "packages/vismatch/im_models/semcorr_wrapper.py")
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{tmp_path / 'packages'}"}
    done = subprocess.run(
        [sys.executable, "-c", USE, cat_png, cheetah_path], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    expected = to_wrapper(semcorr.load("pmnc").match(cat_png, cheetah_path), 30)
    for key in ("matched_kpts0", "matched_kpts1", "matched_confidences"):
        assert np.abs(np.array(result[key]) - expected[key]).max() < 1e-3, key
