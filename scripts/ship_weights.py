"""Put trained weights into the package and print the line that names their checksum.

python scripts/ship_weights.py runs/pmnc/pmnc.safetensors
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from semcorr.recipes import build
from semcorr.weights import FOLDER, read_weights, write_weights


def main() -> None:
    """Check, copy, print."""
    stored = read_weights(Path(sys.argv[1]))
    build(stored)
    path = FOLDER / Path(sys.argv[1]).name
    write_weights(path, stored)
    path.chmod(0o644)
    print(stored.recipe["training"])
    print(f'Embedded("{path.name}", "{hashlib.sha256(path.read_bytes()).hexdigest()}")')


if __name__ == "__main__":
    main()
