"""The ``semcorr`` command."""

from semcorr.cli.app import main

__all__ = ["main"]
