"""Put trained weights into the package and print the line that names their checksum.

python scripts/ship_weights.py runs/pmnc/pmnc.safetensors pmnc
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import asdict
from pathlib import Path

from semcorr.patchmatch import SearchOptions
from semcorr.recipes import build
from semcorr.weights import FOLDER, Weights, read_weights, write_weights


def main() -> None:
    """Check, copy, print."""
    stored = read_weights(Path(sys.argv[1]))
    build(stored)
    path = FOLDER / f"{sys.argv[2]}.safetensors"
    small = {key: value.half() if key.startswith("adapter.") else value for key, value in stored.tensors.items()}
    model = dict(stored.recipe["model"])
    if "search" in model:  # training does not depend on it: the package's own way
        model["search"] = asdict(SearchOptions())
    write_weights(path, Weights(small, stored.recipe | {"model": model}))
    path.chmod(0o644)
    print(stored.recipe["training"])
    print(f'Embedded("{path.name}", "{hashlib.sha256(path.read_bytes()).hexdigest()}")')


if __name__ == "__main__":
    main()
