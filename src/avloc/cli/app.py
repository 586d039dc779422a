"""The program: its commands in the order a person meets them, and what bad input looks like."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from avloc import __version__
from avloc.cli import data, datasets, look, media, tables, work
from avloc.cli.shared import State
from avloc.errors import AvlocError, StorageError, TrainingError

app = typer.Typer(
    name="avloc",
    help="Find when actions and events happen in untrimmed videos, by sight and by sound, from video-level labels.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _globals(
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Errors only.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="More than usual.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    State.quiet, State.verbose = quiet, verbose
    if version:
        print(f"avloc {__version__}")
        raise typer.Exit


for command in (
    work.demo,
    work.run,
    media.extract,
    work.train,
    work.localize,
    data.evaluate,
    data.compare,
    data.diagnose,
    look.report,
    look.view,
    look.review,
    look.plot,
    tables.tables,
    tables.figures,
    datasets.convert,
    datasets.doctor,
    media.backbones,
):
    app.command()(command)


def main() -> None:
    """Entry point: bad input is one line and exit code 2, failed work or Ctrl-C 1; only our bugs show a traceback."""
    try:
        app()
    except (StorageError, TrainingError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except AvlocError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        sys.exit(1)
