"""Build the wheels of all platforms, or of those that are named, from this checkout.

    pip install build hatchling ziglang
    python scripts/build_wheels.py --out dist
    python scripts/build_wheels.py linux-x86_64 macos-arm64

The ``ziglang`` package compiles the native core for all of them on any of them. A wheel fits every version of Python:
its tag is ``py3-none-`` and the platform. With ``--sdist`` the source distribution is built, too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from hatch_build import TARGETS  # noqa: E402


def main() -> None:
    """Build what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"any of {', '.join(TARGETS)} (default: all)")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--sdist", action="store_true", help="also the source distribution")
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(arguments.out), str(ROOT)]
    if arguments.sdist:
        subprocess.run([*build, "--sdist"], check=True)
    for name in arguments.targets or TARGETS:
        subprocess.run([*build, "--wheel"], check=True, env=os.environ | {"SEMCORR_TARGET": name})
    for path in sorted(arguments.out.iterdir()):
        print(f"{path.stat().st_size / 1e6:6.2f} MB  {path.name}")


if __name__ == "__main__":
    main()
