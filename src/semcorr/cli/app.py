"""The ``semcorr`` command: results go to stdout, progress and errors to stderr; exit code 2 means invalid usage."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from semcorr import WAIT_POLICY
from semcorr.cli import annotate, benchmark, browser, data, evaluate, match, models, paper, train, weights
from semcorr.cli.options import with_local_paths
from semcorr.errors import SemcorrError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Semantic correspondence: for every point of one photograph, the point that means the same in another.",
)


def main() -> None:
    """Run the command line. An error that the user can correct is printed as one line, without a traceback."""
    _print_any_character()
    if not any(variable in os.environ for variable in WAIT_POLICY):
        os.environ.update(WAIT_POLICY)  # before torch is imported; child processes inherit it
    try:
        app()
    except (SemcorrError, ValueError, OSError) as error:
        fail(error)


def _print_any_character() -> None:
    """Let a character that the terminal or a redirected file cannot encode be written as an escape, such as \\u03b1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def fail(error: Exception) -> None:
    """Print an error as one line on stderr and exit with code 2."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    typer.echo(f"semcorr: {' '.join(text.split())}", err=True)
    sys.exit(2)


def _print_version(requested: bool) -> None:
    if requested:
        import semcorr

        typer.echo(semcorr.__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


COMMANDS: dict[str, Callable[..., None]] = {
    "match": match.match,
    "models": models.models,
    "train": train.train,
    "export": models.export,
    "import": models.import_weights,
    "annotate": annotate.annotate,
    "app": browser.app,
    "evaluate": evaluate.evaluate,
    "compare": evaluate.compare,
    "benchmark": benchmark.benchmark,
    "paper": paper.paper,
}
for name, command in COMMANDS.items():
    app.command(name)(with_local_paths(command))
app.add_typer(data.data, name="data")
app.add_typer(weights.weights, name="weights")
