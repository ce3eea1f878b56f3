"""The ``semcorr`` command: results go to stdout, progress and errors to stderr; exit code 2 means invalid usage."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from semcorr.cli import annotate, benchmark, data, evaluate, match, models, train
from semcorr.errors import SemcorrError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Semantic correspondence: for every point of one photograph, the point that means the same in another.",
)


def main() -> None:
    """Run the command line. An error that the user can correct is printed as one line, without a traceback."""
    try:
        app()
    except (SemcorrError, ValueError, OSError) as error:
        fail(error)


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


app.command()(match.match)
app.command()(models.models)
app.command()(train.train)
app.command()(models.export)
app.command("import")(models.import_weights)
app.command()(annotate.annotate)
app.command()(evaluate.evaluate)
app.command()(evaluate.compare)
app.command()(benchmark.benchmark)
app.add_typer(data.data, name="data")
