"""The native core under AddressSanitizer and UndefinedBehaviorSanitizer: fuzzed, and giving the golden answers."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from semcorr.native import levels

ROOT = Path(__file__).resolve().parents[2]
FLAGS = (
    "-fsanitize=address,undefined,float-cast-overflow",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
    "-g",
    "-O1",
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    """Compile the core with the sanitizers; return the environment in which it is loaded."""
    gcc = shutil.which("gcc")
    if not sys.platform.startswith("linux") or gcc is None or not (ROOT / "hatch_build.py").is_file():
        pytest.skip("needs Linux, gcc and the checkout")
    found = subprocess.run([gcc, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    runtime = Path(found.stdout.strip())
    if not runtime.is_absolute():
        pytest.skip("gcc's AddressSanitizer is not installed")
    library = tmp_path_factory.mktemp("sanitized") / "core.so"
    code = f"import hatch_build as b; b.compile_core(b.Path({str(library)!r}), extra={FLAGS})"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env=os.environ | {"CC": gcc})
    return os.environ | {
        "SEMCORR_LIBRARY": str(library),
        "LD_PRELOAD": str(runtime),
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter does not free all that it holds
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), *sys.path]),
    }


def run(environment, level, *command):
    return subprocess.run(
        [sys.executable, *command],
        env=environment | {"SEMCORR_NATIVE": level},
        capture_output=True,
        text=True,
    )


def test_they_find_what_is_wrong(sanitized, tmp_path):
    """A read behind the end of an array stops the process: the sanitizers are really there."""
    code = (
        "import numpy as np; from semcorr.native.loader import native_core\n"
        "few, many = (np.zeros(size, np.float32) for size in (1000, 12000))\n"
        "native_core()('pack', few.ctypes.data, 1000, 12, many.ctypes.data)"
    )
    found = run(sanitized, "plain", "-c", code)
    assert found.returncode
    assert "AddressSanitizer: heap-buffer-overflow" in found.stderr


@pytest.mark.parametrize("level", levels())
def test_fuzz(sanitized, level):
    done = run(sanitized, level, ROOT / "tests" / "native" / "fuzz.py", "40")
    assert done.returncode == 0, done.stderr[-4000:]
    assert "every call was answered or refused" in done.stdout


@pytest.mark.parametrize("case", ["pmnc", "pmnc-universal grid 50"])
def test_golden_answers(sanitized, case, cat, cheetah_path):
    """Of photographs of odd sizes, too."""
    test = ROOT / "tests" / "golden" / "test_golden.py"
    selected = f"{test}::test_answers_are_as_recorded[{case}]"
    done = run(sanitized, levels()[-1], "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={ROOT}", selected)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "1 passed" in done.stdout
