"""Progress bars, on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress


def progress_bar(*columns: Any) -> Progress:
    """Return a progress bar: a description, a bar, and the given columns of `rich.progress`."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(TextColumn("{task.description}"), BarColumn(), *columns, console=Console(stderr=True))
