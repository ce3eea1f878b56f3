"""``semcorr evaluate mp-100``: the benchmark of category-agnostic pose estimation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import typer

from semcorr.errors import DataError
from semcorr.evaluation.options import Options

NAMES = ("mp-100", "mp100")


def evaluate_mp100(name: str, options: Options, shots: Sequence[int], out: Path | None) -> None:
    """Evaluate a model by the protocol, with each number of exemplars; print tables and write them.

    Args:
        name: The model's name.
        options: Of them, those of the model count, and ``root``, ``split`` (``"1"`` to ``"5"``), ``skip_broken`` and
            ``limit``: maximum number of episodes per category, for a quick look.
        shots: Numbers of exemplars.
        out: The folder for results.
    """
    import semcorr
    from semcorr.data.formats.mp100 import load_mp100
    from semcorr.evaluation import mp100
    from semcorr.files import write_text
    from semcorr.progress import progress_bar

    if options.root is None:
        raise DataError("--root is missing: the folder that holds mp-100")
    split = options.split or "1"
    skipped: list[DataError] | None = [] if options.skip_broken else None
    categories = load_mp100(options.root, split, skipped=skipped)
    episodes = min(options.limit or mp100.EPISODES, mp100.EPISODES)
    fields = "backbone", "backbone_weights", "weights", "grid", "decoding", "device"
    keywords = {field: getattr(options, field) for field in fields}
    settings = [semcorr.__version__, str(options.root.resolve()), {key: str(value) for key, value in keywords.items()}]
    digest = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:8]
    folder = (out or Path("runs", "evaluate", f"mp-100-{split}")) / f"{name}-{digest}"
    model = semcorr.load(name, **keywords)
    tables = []
    with progress_bar() as bars:
        for count in shots:
            task = bars.add_task(f"{count} exemplar{'s' if count > 1 else ''}", total=len(categories))
            scores = mp100.evaluate_mp100(
                model, categories, count, folder, episodes, lambda *_, task=task: bars.advance(task)
            )
            title = f"MP-100 split {split}, {model.name}, {count} exemplar{'s' if count > 1 else ''}"
            tables.append(mp100.to_markdown(scores, f"{title}, {episodes} episodes a category, PCK in per cent"))
    text = "\n".join(tables)
    write_text(folder / "report.md", text)
    typer.echo(text, nl=False)
    if skipped:
        typer.echo(f"left out {len(skipped)} broken entries, the first: {skipped[0]}", err=True)
    typer.echo(f"wrote {folder / 'report.md'}", err=True)
