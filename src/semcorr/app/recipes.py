"""The Python lines, and the command, that do what the page did."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from semcorr.app.matching import Choice

Asked = Sequence[tuple[str, tuple[float, float]]]


def as_python(choice: Choice, source: str, target: str, points: Asked) -> str:
    """Return Python lines that match two pictures and transfer points.

    >>> print(as_python(Choice(), "cat.jpg", "dog.jpg", [("nose", (120.0, 85.0))]))
    import semcorr
    <BLANKLINE>
    model = semcorr.load("pmnc")
    match = model.match("cat.jpg", "dog.jpg")
    points, confidence = match.transfer([(120, 85)])
    """
    grid = "" if choice.grid == Choice.grid else f", grid={choice.grid}"
    turns = "" if choice.rotations == 1 else f", rotations={choice.rotations}"
    turns += ", mirror=True" if choice.mirror else ""
    places = ", ".join(f"({x:g}, {y:g})" for _, (x, y) in points)
    lines = [
        "import semcorr",
        "",
        f'model = semcorr.load("{choice.model}"{grid})',
        f"match = model.match({_quoted(source)}, {_quoted(target)}{turns})",
        f"points, confidence = match.transfer([{places}])" if points else 'match.plot("match.png")',
    ]
    return "\n".join(lines)


def as_command(choice: Choice, source: str, target: str, points: Asked) -> str:
    """Return the command that matches two pictures and transfers points.

    >>> as_command(Choice(grid=40), "my cat.jpg", "dog.jpg", [("nose", (120.0, 85.0))])
    "semcorr match 'my cat.jpg' dog.jpg --grid 40 --point 120,85"
    """
    words = ["semcorr", "match", *(f"./{name}" if name.startswith("-") else name for name in (source, target))]
    words += [] if choice.model == Choice.model else ["--model", choice.model]
    words += [] if choice.grid == Choice.grid else ["--grid", str(choice.grid)]
    words += [] if choice.rotations == 1 else ["--rotations", str(choice.rotations)]
    words += ["--mirror"] if choice.mirror else []
    for _, (x, y) in points:
        words += ["--point", f"{x:g},{y:g}"]
    return shlex.join(words)


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
