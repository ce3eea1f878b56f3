"""Answers that a change of structure must not change; record new ones only on purpose (`golden_answers.py`)."""

import json

import numpy as np
import pytest
import torch
from golden_answers import CASES, FILE, matching, photographs

PIXELS, SURE = 0.5, 0.01
ANSWERS = json.loads(FILE.read_text())


@pytest.fixture(scope="module")
def pairs(cat, cheetah_path):
    return photographs()


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_answers_are_as_recorded(case, pairs, tmp_path):
    if case.endswith("bfloat16") and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor has no bfloat16")
    if case.endswith("onnx"):
        pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    match = matching(case, tmp_path)
    for name, (source, target) in pairs.items():
        asked, expected, sure = np.split(np.array(ANSWERS[case][name], np.float32), [2, 4], axis=1)
        points, confidence = match(source, target).transfer(asked)
        np.testing.assert_allclose(points, expected, atol=PIXELS, err_msg=name)
        np.testing.assert_allclose(confidence, sure[:, 0], atol=SURE, err_msg=name)
