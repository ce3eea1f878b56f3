"""Where figures come from: the version, the command and the machine. Without it, a copied table cannot be traced."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from semcorr.threads import thread_count


def processor() -> str:
    """Return the processor's name, or its architecture if the name is unknown."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def origin(command: str, device: str) -> dict[str, str]:
    """Return what a report says about its origin; the same for every run of the same command on the same machine.

    Args:
        command: The command, from `command_line`.
        device: Where was computed.
    """
    import semcorr

    return {
        "semcorr": semcorr.__version__,
        "command": command,
        "machine": f"{processor()}, {os.cpu_count()} cores, {platform.system()}",
        "device": _device(device),
        "threads": str(thread_count()),
        "python": platform.python_version(),
        **libraries(),
    }


def libraries() -> dict[str, str]:
    """Return the versions of what networks run in: ONNX Runtime, and torch where it is installed."""
    found = {}
    for name in ("onnxruntime", "torch"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _device(device: str) -> str:
    if not device.startswith("cuda"):
        return device
    import torch

    return f"{device} ({torch.cuda.get_device_name(device)})"


def command_line(
    command: str, options: Any, leave_out: Collection[str] = (), flags: Mapping[str, str] | None = None
) -> str:
    """Return the command line that a dataclass of options stands for; defaults are not written.

    Args:
        command: The beginning, such as ``"semcorr benchmark"``.
        options: The dataclass.
        leave_out: Fields on which the results do not depend.
        flags: Fields whose option has another name than the field.
    """
    words = [command]
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name in leave_out or value is None or value == field.default:
            continue
        flag = (flags or {}).get(field.name, f"--{field.name.replace('_', '-')}")
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            words += [f"{flag} {shlex.quote(str(item))}" for item in (value if isinstance(value, list) else [value])]
    return " ".join(words)
