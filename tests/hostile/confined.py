"""An installed semcorr in little room: a read-only root, no home, one processor, 512 MB. Linux only.

    python tests/hostile/confined.py ENVIRONMENT/bin/python

ENVIRONMENT is a virtual environment in which a wheel is installed: ``python -m venv ENVIRONMENT`` and
``ENVIRONMENT/bin/pip install FILE.whl``. The command and the library each match two photographs of the ``examples``
extra in a mount namespace in which no folder can be written to and no more than 512 MB of address space are given.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

MEGABYTES = 512
READ_ONLY = """
set -e
mount --make-rprivate /
awk '$2 == "/" || $2 ~ "^/(dev/shm|run|tmp|var|home|mnt)" { print $2 }' /proc/mounts | sort -u | while read -r at; do
  mount --bind "$at" "$at" && mount -o remount,bind,ro "$at"
done
exec "$@"
"""
CHECK = """
import os, pathlib, sys
try:
    bytearray(600 * 2**20)
    sys.exit("600 MB of memory are given")
except MemoryError:
    pass
if "HOME" in os.environ or len(os.sched_getaffinity(0)) != 1:
    sys.exit("there is a home, or more than one processor")
for folder in map(pathlib.Path, sys.argv[1:]):
    try:
        (folder / "semcorr-confined").write_text("")
    except OSError:
        continue
    sys.exit(f"{folder} can be written to")
print("no home, one processor, 512 MB, nothing can be written")
"""
LIBRARY = """
import os, sys, resource
import semcorr
match = semcorr.load().match(*sys.argv[1:])
points, confidence = match.transfer([(100, 100)])
found = [name for name in ("torch", "timm") if name in sys.modules]
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"{points.round(1).tolist()} confidence {confidence[0]:.2f}; {len(os.sched_getaffinity(0))} processor, "
      f"peak {memory:.0f} MB, imported: {found or 'no torch'}")
"""


def confine() -> None:
    """Leave this process, which is about to become another program, one processor and little memory."""
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    resource.setrlimit(resource.RLIMIT_AS, (MEGABYTES * 2**20,) * 2)


def confined(*command: str) -> subprocess.CompletedProcess[str]:
    namespace = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
    return subprocess.run(
        [*namespace, "sh", "-c", READ_ONLY, "sh", *command],
        cwd="/",
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        preexec_fn=confine,
        capture_output=True,
        text=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", type=Path, help="the Python of the environment")
    python = parser.parse_args().python.absolute()
    folder = Path((find_spec("gradio").submodule_search_locations or [""])[0])  # type: ignore[union-attr]
    pair = [str(folder / name) for name in ("test_data/cheetah2.jpg", "media_assets/images/lion.jpg")]
    writable = [str(path) for path in (Path.home(), Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"), python.parent)]
    runs = {
        "confined": [str(python), "-c", CHECK, *writable],
        "semcorr match": [str(python.with_name("semcorr")), "match", *pair, "--point", "100,100"],
        "semcorr models": [str(python.with_name("semcorr")), "models"],
        "library": [str(python), "-c", LIBRARY, *pair],
    }
    failed = 0
    for name, command in runs.items():
        done = confined(*command)
        failed += done.returncode != 0
        said = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
        print(f"{name}: {'failed: ' if done.returncode else ''}{said[-1 if done.returncode else 0] if said else 'ok'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
