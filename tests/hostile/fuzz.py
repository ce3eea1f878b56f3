"""Fuzz every reader of files from strangers by mutating good files.

    python tests/hostile/fuzz.py --count 10000            # all kinds; about an hour
    python tests/hostile/fuzz.py --count 10000 picture

A worker process with a bound on memory, and on the time of each case, reads one mutated file after the other. Each is
read, or refused with a `SemcorrError` of one line; anything else (another exception, a crash, a timeout) is printed
with its seed, counts as a failure, and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

MARK = "case"
SECONDS, MEMORY = 20, 2 << 30  # of a case: of processor time, and beyond the memory of the libraries
HANGING = 300  # seconds of a case on a machine that is busy with other things

NUMBERS = [
    bytes([255] * 4),
    bytes(4),
    b"\x00\x00\x00\x80",
    b"\xff\xff\xff\x7f",
    b"\x00\x10\x00\x00",
    b"\x00\x00\x10\x00",
]


def mutate(data: bytes, chance: random.Random) -> bytes:
    """Damage a file in up to eight places, as transfers, disks and attackers do."""
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 8))):
        if not damaged:
            break
        # headers matter most
        near = min(len(damaged), 512) if chance.random() < 0.6 else len(damaged)
        at, length = chance.randrange(near), chance.choice((1, 4, 16, 256))
        match chance.randrange(7):
            case 0:
                damaged[at] ^= 1 << chance.randrange(8)
            case 1:
                damaged[at] = chance.randrange(256)
            case 2:
                number = chance.choice(NUMBERS)
                damaged[at : at + len(number)] = number
            case 3:
                del damaged[at : at + length]
            case 4:
                damaged[at:at] = damaged[at : at + length] * chance.choice((1, 1, 100))
            case 5:
                damaged[at:at] = chance.randbytes(length)
            case 6:
                del damaged[chance.randrange(len(damaged)) :]
    return bytes(damaged)


def work(kind: str, first: int, last: int) -> None:
    """Read the mutated files of some seeds; print one word for each, flushed, so that a crash can be told."""
    from good_files import KINDS

    from semcorr.errors import SemcorrError

    make, read = KINDS[kind]
    seeds = sorted(make().items())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "input")
        path.write_bytes(seeds[0][1])
        with contextlib.suppress(SemcorrError):
            read(path)  # so that all libraries are loaded
        _bound_memory()
        for alarm in (signal.SIGPROF, signal.SIGALRM):
            signal.signal(alarm, lambda *_: (_ for _ in ()).throw(TimeoutError("too slow")))
        for seed in range(first, last):
            chance = random.Random(f"{kind} {seed}")
            path.write_bytes(mutate(chance.choice(seeds)[1], chance))
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            signal.setitimer(signal.ITIMER_REAL, HANGING)
            try:
                read(path)
                word = "read"
            except SemcorrError as error:
                word = "refused" if "\n" not in str(error) else f"several-lines {error!r}"
            except BaseException as error:
                word = f"{type(error).__name__} {error!r}"
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
                signal.setitimer(signal.ITIMER_REAL, 0)
            print(MARK, seed, word.replace("\n", " ")[:300], flush=True)


def _bound_memory() -> None:
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").is_file() else 1 << 21
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def fuzz(kind: str, count: int) -> Counter[str]:
    """Run the cases of one kind, in a new worker after every crash."""
    counts: Counter[str] = Counter()
    seed = 0
    while seed < count:
        command = [sys.executable, "-W", "ignore", __file__, "--worker", str(seed), "--count", str(count), kind]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as worker:
            assert worker.stdout is not None
            before = seed
            for line in worker.stdout:
                if not line.startswith(MARK):  # a library that speaks
                    continue
                _, number, word, *rest = line.split(maxsplit=3)
                seed = int(number) + 1
                counts[word] += 1
                if word not in ("read", "refused"):
                    print(f"{kind} {number}: {word} {' '.join(rest).strip()}", flush=True)
        if seed < count:
            print(f"{kind} {seed}: crashed (exit code {worker.returncode})", flush=True)
            counts["crashed"] += 1
            if before == seed and worker.returncode > 0:
                raise SystemExit(f"the worker cannot begin; run {' '.join(command)}")
            seed += 1
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=["picture", "weights", "checkpoint"])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker is not None:
        work(arguments.kinds[0], arguments.worker, arguments.count)
        return 0
    failed = 0
    for kind in arguments.kinds:
        begun = time.monotonic()
        counts = fuzz(kind, arguments.count)
        others = sum(counts.values()) - counts["read"] - counts["refused"]
        failed += others
        took = f"{(time.monotonic() - begun) / 60:.1f} min"
        print(f"{kind}: {counts['read']} read, {counts['refused']} refused, {others} else; {took}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
