"""Match two real photographs, a cat and a cheetah, and write a picture of it: what ``make demo`` runs."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path

import semcorr


def photograph(package: str, file: str) -> Path:
    """Return where an installed package keeps a photograph; the package is not imported."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"a photograph of the demo comes with {package}: pip install 'semcorr[examples]'")
    return Path(found.submodule_search_locations[0], file)


def main() -> None:
    """Match, write the pictures, say where."""
    cat = photograph("skimage", "data/chelsea.png")
    cheetah = photograph("gradio", "media_assets/images/cheetah1.jpg")
    model = semcorr.load("pmnc")
    model.match(cat, cheetah)  # the first call warms up
    start = time.perf_counter()
    match = model.match(cat, cheetah)
    seconds = time.perf_counter() - start

    nose = (265.0, 243.0)
    points, confidence = match.transfer([nose])
    x, y = points[0]
    out = Path("demo") / "match.png"
    out.parent.mkdir(exist_ok=True)
    match.plot(out)
    print(
        f"matched in {seconds:.2f} s; the cat's nose, {nose}, is at ({x:.0f}, {y:.0f}) in the cheetah, "
        f"confidence {confidence[0]:.2f}"
    )
    print(f"picture: {out.resolve()}")


if __name__ == "__main__":
    main()
