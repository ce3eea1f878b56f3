"""Mean and deviation over seeds, from the reports of `semcorr evaluate`: one row for each model.

python benchmarks/seeds.py runs/compare/*-*/report.json
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=Path, nargs="+")
    methods: dict[str, list[dict[str, Any]]] = {}
    pairs = set()
    for path in parser.parse_args().reports:
        report = json.loads(path.read_text())
        pairs.add((report["dataset"], report["pairs"], report["points"]))
        for method in report["methods"]:
            methods.setdefault(method["model"], []).append(method)
    if len(pairs) > 1:
        parser.error(f"the reports are not of the same pairs: {sorted(pairs)}")
    alphas = list(next(iter(methods.values()))[0]["per_image"])
    print(f"{pairs.pop()[1]} pairs, PCK per image: mean ± standard deviation over the runs")
    print(
        "| model | runs | " + " | ".join(f"α = {alpha}" for alpha in alphas) + " |\n" + "|---" * (2 + len(alphas)) + "|"
    )
    for model, runs in methods.items():
        cells = []
        for alpha in alphas:
            values = [run["per_image"][alpha] for run in runs]
            spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.1f}{spread}")
        print(f"| {model} | {len(runs)} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
