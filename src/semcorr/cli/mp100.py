"""``semcorr evaluate mp-100``: the benchmark of category-agnostic pose estimation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from semcorr.errors import DataError

NAMES = ("mp-100", "mp100")


def evaluate_mp100(
    root: Path | None,
    keywords: dict[str, Any],
    split: str | None,
    shots: Sequence[int],
    out: Path | None,
    limit: int | None,
    skip_broken: bool,
) -> None:
    """Evaluate a model by the protocol, with each number of exemplars; print tables and write them.

    Args:
        root: The data set's folder.
        keywords: What `semcorr.load` takes.
        split: ``"1"`` to ``"5"``; ``"1"`` by default.
        shots: Numbers of exemplars.
        out: The folder for results.
        limit: At most so many episodes of each category, for a first look.
        skip_broken: Leave out broken entries.
    """
    import semcorr
    from semcorr.cli.options import progress_bar
    from semcorr.data.formats.mp100 import load_mp100
    from semcorr.evaluation import mp100
    from semcorr.files import write_text

    if root is None:
        raise DataError("--root is missing: the folder that holds mp-100")
    skipped: list[DataError] | None = [] if skip_broken else None
    categories = load_mp100(root, split or "1", skipped=skipped)
    episodes = min(limit or mp100.EPISODES, mp100.EPISODES)
    settings = json.dumps([semcorr.__version__, str(root.resolve()), {k: str(v) for k, v in keywords.items()}])
    name = f"{keywords['name']}-{hashlib.sha256(settings.encode()).hexdigest()[:8]}"
    folder = (out or Path("runs", "evaluate", f"mp-100-{split or '1'}")) / name
    model = semcorr.load(**keywords)
    tables = []
    with progress_bar() as bars:
        for count in shots:
            task = bars.add_task(f"{count} exemplar{'s' if count > 1 else ''}", total=len(categories))
            scores = mp100.evaluate_mp100(
                model, categories, count, folder, episodes, lambda *_, task=task: bars.advance(task)
            )
            title = f"MP-100 split {split or '1'}, {model.name}, {count} exemplar{'s' if count > 1 else ''}"
            tables.append(mp100.to_markdown(scores, f"{title}, {episodes} episodes a category, PCK in per cent"))
    text = "\n".join(tables)
    write_text(folder / "report.md", text)
    typer.echo(text, nl=False)
    if skipped:
        typer.echo(f"left out {len(skipped)} broken entries, the first: {skipped[0]}", err=True)
    typer.echo(f"wrote {folder / 'report.md'}", err=True)
