"""What a new user meets: the size of an installed environment, and time and memory of `semcorr match`.

    python benchmarks/light.py --wheel dist/semcorr-….whl

Builds an environment of its own with the wheel and its dependencies, and runs the command in new processes, on the
photographs of the demo. Each row is one figure. With --busy, other processes keep that many processors at work.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
import venv
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

BUSY = "while True: pass"


def photograph(package: str, file: str) -> Path:
    return Path((find_spec(package).submodule_search_locations or [""])[0], file)  # type: ignore[union-attr]


def megabytes(folder: Path) -> float:
    """Return what the files below a folder take, without pip, which every environment has."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if "/pip" not in str(path)) / 1e6


def downloaded(wheel: Path, folder: Path) -> float:
    """Return the size of the wheel and of all that it depends on, in MB."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder), str(wheel)]
    subprocess.run(command, check=True)
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e6


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Run a command; return its seconds and the peak of its memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return time.perf_counter() - start, usage.ru_maxrss / (1e3 if sys.platform != "darwin" else 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--busy", type=int, default=0)
    arguments = parser.parse_args()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with TemporaryDirectory() as name:
        folder = Path(name)
        print(f"| downloaded | {downloaded(arguments.wheel, folder / 'wheels'):.0f} MB |")
        start = time.perf_counter()
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", arguments.wheel], check=True, env=environment)
        print(f"| environment and installation | {time.perf_counter() - start:.1f} s |")
        print(f"| environment | {megabytes(folder / 'venv'):.0f} MB |")
        pictures = photograph("skimage", "data/chelsea.png"), photograph("gradio", "media_assets/images/cheetah1.jpg")
        command = [str(python.with_name("semcorr")), "match", *map(str, pictures), "--point", "265,243"]
        others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(arguments.busy)]
        try:
            first, _ = timed(command, environment)
            print(f"| semcorr match, first time | {first:.2f} s |")
            later = [timed(command, environment) for _ in range(arguments.runs)]
        finally:
            for other in others:
                other.kill()
        print(f"| semcorr match, later, median of {arguments.runs} | {statistics.median(s for s, _ in later):.2f} s |")
        print(f"| peak memory | {statistics.median(memory for _, memory in later):.0f} MB |")


if __name__ == "__main__":
    main()
