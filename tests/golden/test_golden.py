"""Answers that a change of structure must not change; record new ones only on purpose (`golden_answers.py`).

Those of the exported model are checked where it is exported, in `tests/onnx`.
"""

import pytest
import torch
from golden_answers import CASES, check, matching


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if not case.endswith("onnx")])
def test_answers_are_as_recorded(case, tmp_path):
    if case.endswith("bfloat16") and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor has no bfloat16")
    check(case, matching(case, tmp_path))
