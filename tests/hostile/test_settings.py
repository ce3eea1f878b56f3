"""What other code in the process may have set: the same answers, and the setting as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

import semcorr

SMALL = {"grid": 10, "image_size": 160}


@pytest.fixture(scope="module")
def pictures(cat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.ascontiguousarray(cat[:200, :250]), np.ascontiguousarray(cat[:200, 250::-1])


def everything(matcher: semcorr.Matcher, pictures: tuple[np.ndarray, np.ndarray]) -> list[np.ndarray]:
    match = matcher.match(*pictures)
    few, many = match.keypoints(5), match.keypoints(500)
    moved = match.transfer([(0, 0), (99.5, 80), (250, 200)])
    each = next(matcher.match_each(matcher.encode(pictures[0]), [pictures[1]]))
    fields = [*match.forward, *match.backward, each.forward.points]
    return [*(field for field in fields if field is not None), match.flow, match.warp(), *few, *many, *moved]


@pytest.fixture(scope="module")
def usual(pictures: tuple[np.ndarray, np.ndarray]) -> dict[str, list[np.ndarray]]:
    return {name: everything(semcorr.load(name, **SMALL), pictures) for name in semcorr.list_models()}


@contextmanager
def changed(get: Callable[[], object], change: Callable[[object], object], value: object) -> Iterator[None]:
    before = get()
    change(value)
    try:
        seen = get()
        yield
        assert get() == seen, "the setting is not as it was"
    finally:
        change(before)


def default_dtype(dtype: torch.dtype):
    return changed(torch.get_default_dtype, torch.set_default_dtype, dtype)


def numpy_errors():
    return changed(
        np.geterr, lambda how: np.seterr(**how), dict.fromkeys(("divide", "over", "under", "invalid"), "raise")
    )


def precision():
    return changed(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium")


def deterministic():
    return changed(torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, True)


SETTINGS: dict[str, Callable[[], object]] = {
    "float64 by default": lambda: default_dtype(torch.float64),
    "float16 by default": lambda: default_dtype(torch.float16),
    "meta by default": lambda: torch.device("meta"),
    "deterministic algorithms": deterministic,
    "np.seterr": numpy_errors,
    "float32 products in less": precision,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "gradients": torch.enable_grad,
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", ["pmnc", "ncnet"])
def test_settings_of_the_process_change_no_answer(setting: str, name: str, usual, pictures):
    before_loading = semcorr.load(name, **SMALL)
    with SETTINGS[setting]():
        found = [everything(matcher, pictures) for matcher in (before_loading, semcorr.load(name, **SMALL))]
    for answers in found:
        for one, other in zip(answers, usual[name], strict=True):
            assert one.dtype == other.dtype
            assert np.array_equal(one, other)


@pytest.mark.parametrize("name", ["pmnc-universal", "ancnet", "nearest"])
def test_float64_by_default_changes_no_other_model(name: str, usual, pictures):
    with default_dtype(torch.float64):
        answers = everything(semcorr.load(name, **SMALL), pictures)
    assert all(np.array_equal(one, other) for one, other in zip(answers, usual[name], strict=True))


def test_the_number_of_threads_changes_the_last_digits_only(usual, pictures):
    with changed(torch.get_num_threads, torch.set_num_threads, 2):
        match = semcorr.load(**SMALL).match(*pictures)
    assert np.abs(match.forward.points - usual["pmnc"][0]).max() < 0.01  # pixels


def test_loading_draws_no_random_numbers(usual):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    for name in semcorr.list_models():
        semcorr.load(name, **SMALL)
    semcorr.load(backbone="resnet18", backbone_weights="random", **SMALL)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("chosen", [None, "ACTIVE"])
def test_the_library_lets_openmp_sleep_unless_told_otherwise(chosen: str | None):
    """GNU's OpenMP, which torch has on Linux, says how its threads wait when it is loaded."""
    environment = {key: value for key, value in os.environ.items() if key not in semcorr.WAIT_POLICY}
    environment |= {"OMP_DISPLAY_ENV": "TRUE"} | ({"OMP_WAIT_POLICY": chosen} if chosen else {})
    code = "import os, semcorr; semcorr.load; print(os.environ.get('OMP_WAIT_POLICY'))"
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(chosen), "the environment is left as it was"
    said = [line for line in run.stderr.splitlines() if "OMP_WAIT_POLICY" in line]
    if not said:
        pytest.skip("this OpenMP does not say how it waits")
    assert f"'{chosen or 'PASSIVE'}'" in said[0]
