"""Compiles the native core: when a wheel is built or a checkout is installed, or in place by `python hatch_build.py`.

The compiler is the system's, or the ``ziglang`` package, which also compiles for other systems: the environment
variable SEMCORR_TARGET names one of `TARGETS`, and the wheel gets its tag (`scripts/build_wheels.py` makes all of
them). Without any compiler, semcorr is installed as it is, and its plain search runs.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

SOURCES = Path(__file__).parent / "src" / "semcorr" / "native"
FLAGS = ["-std=gnu11", "-O3", "-fvisibility=hidden", "-fno-math-errno", "-ffp-contract=fast", "-Wno-psabi"]
LEVELS = {
    "x86_64": [[], ["-mavx2", "-mfma"], ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mavx2", "-mfma"]],
    "aarch64": [[]],  # NEON is part of the plain level there
}


class Target(NamedTuple):
    """What a wheel is made for: Zig's name of the system, the wheel's platform, the ending of a library."""

    triple: str
    platform: str
    ending: str


TARGETS = {
    "linux-x86_64": Target("x86_64-linux-gnu.2.17", "manylinux_2_17_x86_64.manylinux2014_x86_64", ".so"),
    "linux-aarch64": Target("aarch64-linux-gnu.2.17", "manylinux_2_17_aarch64.manylinux2014_aarch64", ".so"),
    "musl-x86_64": Target("x86_64-linux-musl", "musllinux_1_1_x86_64", ".so"),
    "musl-aarch64": Target("aarch64-linux-musl", "musllinux_1_1_aarch64", ".so"),
    "macos-x86_64": Target("x86_64-macos.11.0", "macosx_11_0_x86_64", ".dylib"),
    "macos-arm64": Target("aarch64-macos.11.0", "macosx_11_0_arm64", ".dylib"),
    "windows-x86_64": Target("x86_64-windows-gnu", "win_amd64", ".dll"),
}


def compiler(target: Target | None) -> list[str] | None:
    """Return the command that compiles for a target, None being this system; None if there is none."""
    zig = [sys.executable, "-m", "ziglang", "cc"] if find_spec("ziglang") else None
    if target is not None:
        return zig and [*zig, "-target", target.triple]
    found = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    return found.split() if found else zig


def compile_core(library: Path, target: Target | None = None, extra: tuple[str, ...] = ()) -> None:
    """Compile the native core into one library, which appears whole or not at all.

    Args:
        library: Where to write it.
        target: What to compile for; None is this system.
        extra: More options for the compiler and the linker.

    Raises:
        RuntimeError: If there is no compiler, or it fails; the message has what it said.
    """
    command = compiler(target)
    if command is None:
        raise RuntimeError("no C compiler: install one (cc, gcc or clang), or `pip install ziglang`")
    machine = target.triple.split("-")[0] if target else platform.machine().lower()
    levels = LEVELS["x86_64" if machine in ("x86_64", "amd64") else "aarch64"]
    ending = target.ending if target else library.suffix
    flags = [*FLAGS, *([] if ending == ".dll" else ["-fPIC"]), f'-DSOURCES="{checksum()}"', *extra]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:
        jobs = [(SOURCES / "native.c", level) for level in levels] + [(SOURCES / "levels.c", [])]
        objects = [Path(folder) / f"{index}.o" for index in range(len(jobs))]
        commands = [
            [*command, *flags, *level, "-c", str(source), "-o", str(path)]
            for (source, level), path in zip(jobs, objects, strict=True)
        ]
        list(pool.map(_run, commands))
        made = Path(folder) / f"core{ending}"
        maths = [] if ending == ".dll" else ["-lm"]
        _run([*command, *extra, "-shared", *map(str, objects), *maths, "-o", str(made)])
        beside = library.with_name(library.name + ".new")
        shutil.copyfile(made, beside)
        beside.replace(library)


def checksum() -> str:
    """Return the checksum of the sources, which the library carries: `semcorr.native` compares it in a checkout."""
    digest = hashlib.sha256()
    for path in sorted(SOURCES.glob("*.[ch]")):
        digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def ending_here() -> str:
    """Return the ending of a library of this system."""
    return {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def _platform_here() -> str:
    machine = platform.machine().lower()
    if sys.platform == "darwin":
        return f"macosx_11_0_{machine}"
    return f"win_{machine}" if sys.platform == "win32" else f"linux_{machine}"


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a script
    BuildHookInterface = object


class NativeCore(BuildHookInterface):  # type: ignore[misc]
    """Puts the compiled core into a wheel, or beside its sources for an editable installation."""

    def dependencies(self) -> list[str]:
        """Ask for Zig where the wheel is for another system."""
        return ["ziglang==0.17.1"] if os.environ.get("SEMCORR_TARGET") else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile."""
        name = os.environ.get("SEMCORR_TARGET")
        if name and name not in TARGETS:
            raise ValueError(f"SEMCORR_TARGET must be one of {', '.join(TARGETS)}; got {name!r}")
        target = TARGETS[name] if name else None
        folder = SOURCES if version == "editable" else Path(tempfile.mkdtemp())
        library = folder / f"core{target.ending if target else ending_here()}"
        try:
            compile_core(library, target)
        except RuntimeError as error:
            if name:
                raise
            self.app.display_warning(f"semcorr is installed without its native core, and slower: {error}")
            return
        if version != "editable":
            build_data["force_include"][str(library)] = f"semcorr/native/{library.name}"
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{target.platform if target else _platform_here()}"


if __name__ == "__main__":
    compile_core(SOURCES / f"core{ending_here()}")
