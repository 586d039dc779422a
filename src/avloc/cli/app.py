"""The command line: its commands in the usual order of use, and how errors are reported."""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from avloc.cli import data, datasets, doctor, localize, look, media, retrain, share, tables, tag, teach, work
from avloc.cli.help import HelpCommand, HelpContext
from avloc.cli.shared import PARTLY, State
from avloc.cli.streams import keep_streams, lost_output
from avloc.errors import AvlocError, StorageError, TrainingError
from avloc.system.atomic import DISK_FULL, no_room
from avloc.version import __version__

_BEFORE = ("-q", "--quiet", "-v", "--verbose")


class _Commands(TyperGroup):
    """The commands, with plainer messages for invalid arguments."""

    context_class = HelpContext

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise
        except Exception as error:
            option, command = getattr(error, "option_name", None), ctx.invoked_subcommand
            if option in _BEFORE and command:
                words = f"put {option} before the command: avloc {option} {command} ..."
                error.message = words  # type: ignore[attr-defined]
            raise


app = typer.Typer(
    name="avloc",
    cls=_Commands,
    help="Find when actions and events happen in untrimmed videos, from frames and audio, given video-level labels.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


_STOPPED = "stopped; finished work is kept: run the same command again to continue (avloc train: with --resume)"


def _version(wanted: bool) -> bool:
    if wanted:
        print(f"avloc {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _globals(
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Print debug messages.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    State.quiet, State.verbose = quiet, verbose


for command in (
    work.demo,
    work.run,
    tag.tag,
    media.extract,
    work.train,
    localize.localize,
    teach.suggest,
    data.evaluate,
    data.compare,
    data.diagnose,
    look.report,
    look.view,
    retrain.retrain,
    look.review,
    look.plot,
    tables.tables,
    tables.figures,
    share.publish,
    share.export,
    datasets.convert,
    doctor.doctor,
    media.backbones,
):
    app.command(cls=HelpCommand)(command)


class _Interrupt:
    """The first Ctrl-C stops after cleaning up; a second one kills the process."""

    def __init__(self) -> None:
        self.came = False
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not if ignored, as in a background job
            signal.signal(signal.SIGINT, self._stop)

    def _stop(self, number: int, frame: object) -> None:
        self.came = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        raise KeyboardInterrupt


def main() -> None:
    """Entry point. Exit codes: 2 bad input, 1 failed work, 130 Ctrl-C, each with one line; bugs show a traceback."""
    keep_streams()
    if not _has_folder():  # torch's libraries end the process with a message of their own
        _fail("the working folder no longer exists; change to another one", 2)
    try:
        _main()
    except SystemExit as error:
        lost = lost_output()
        if lost is None or error.code not in (None, 0, PARTLY):
            raise
        code = error.code or 1  # that videos have failed is not hidden
        if lost.errno == errno.EPIPE:  # the reader has seen enough
            sys.exit(code)
        _fail(f"cannot write to the standard output: {lost.strerror}", int(code))


def _main() -> None:
    interrupt = _Interrupt()
    try:
        app()
    except (StorageError, TrainingError) as error:
        _fail(str(error), 1)
    except AvlocError as error:
        _fail(str(error), 2)
    except OSError as error:  # such as a folder that vanishes while it is listed
        if error.filename is None:
            raise
        if error.errno in DISK_FULL:
            _fail(str(no_room(error.filename, error)), 1)
        _fail(f"{error.filename}: {error.strerror}", 1)
    except (KeyboardInterrupt, SystemExit) as error:
        if not interrupt.came or getattr(error, "code", 1) == 0:
            raise
        print(_STOPPED, file=sys.stderr)
        sys.exit(130)


def _fail(reason: str, code: int) -> None:
    print(f"error: {reason}", file=sys.stderr)
    sys.exit(code)


def _has_folder() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True
