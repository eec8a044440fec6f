"""How a command ends that cannot go on: one sentence on standard error, and exit status 1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from app.errors import SimtrueError


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn an error of ours, or of the disk, into one sentence on standard error and exit status 1."""
    try:
        yield
    except SimtrueError as error:
        typer.echo(f"simtrue: {error.detail}", err=True)
        raise typer.Exit(1) from error
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        typer.echo(f"simtrue: {place}{error.strerror or error}", err=True)
        raise typer.Exit(1) from error
