"""The command line: its commands in the usual order of use, and how errors are reported."""

from __future__ import annotations

import errno
import os
import signal
import sys
from contextlib import suppress
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from avloc.cli import data, datasets, doctor, localize, look, media, retrain, share, tables, tag, teach, work
from avloc.cli.help import HelpCommand, HelpContext
from avloc.cli.shared import State
from avloc.errors import AvlocError, StorageError, TrainingError
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


_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
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
    if not _has_folder():  # torch's libraries end the process with a message of their own
        _fail("the working folder no longer exists; change to another one", 2)
    try:
        _main()
    except OSError as error:
        reason = _lost_output()
        if reason is None and error.filename is None and error.errno in _NO_SPACE:  # unbuffered; files are `storing`
            reason = error.strerror
        if reason is None:
            raise
        _fail(f"cannot write to the standard output: {reason}", 1)
    except SystemExit:
        if (reason := _lost_output()) is not None:
            _fail(f"cannot write to the standard output: {reason}", 1)
        raise


def _main() -> None:
    interrupt = _Interrupt()
    try:
        app()
    except (StorageError, TrainingError) as error:
        _fail(str(error), 1)
    except AvlocError as error:
        _fail(str(error), 2)
    except (KeyboardInterrupt, SystemExit) as error:
        if not interrupt.came or getattr(error, "code", 1) == 0:
            raise
        print(_STOPPED, file=sys.stderr)
        sys.exit(130)


def _fail(reason: str, code: int) -> None:
    with suppress(OSError):  # nobody can be told if stderr fails as well
        print(f"error: {reason}", file=sys.stderr)
    sys.exit(code)


def _lost_output() -> str | None:
    """Why text for the standard output could not be written, as on a full disk; None if it was written.

    What is left of it is dropped: Python would fail on it again at exit, with a traceback.
    """
    if sys.stdout is None:  # closed by the caller
        return None
    try:
        sys.stdout.flush()
    except OSError as error:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.stdout.flush()
        return error.strerror or str(error)
    return None


def _has_folder() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True
