"""Temporary folders that are removed however their process ends."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from avloc.system.locks import is_held, open_held

_HELD = ".avloc.held"
_LEFT = "{prefix}[!.]*/" + _HELD


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Context manager: a new temporary folder, removed at the end, also if SIGTERM or SIGHUP ends the process.

    Folders of this prefix whose process is dead (SIGKILL) are removed as well.
    """
    for left in Path(tempfile.gettempdir()).glob(_LEFT.format(prefix=prefix)):
        if _ours(left.parent) and not is_held(left, unknown=True):
            shutil.rmtree(left.parent, ignore_errors=True)
    home = Path(tempfile.mkdtemp(prefix=f".{prefix}"))  # under its final name, it is held from the beginning
    try:
        with open_held(home / _HELD), _ended_by_signals():
            home = home.rename(home.with_name(home.name[1:]))
            yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _ours(folder: Path) -> bool:
    """Whether this user made a folder: others may write to the folder of temporary files as well."""
    return sys.platform != "win32" and not folder.is_symlink() and folder.stat().st_uid == os.getuid()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Context manager: SIGTERM and SIGHUP end the process as an exit does, unless they are handled or ignored."""
    names = ("SIGTERM", "SIGHUP") if threading.current_thread() is threading.main_thread() else ()
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    changed = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in changed:
        signal.signal(number, _exit)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)


def _exit(number: int, frame: Any) -> None:
    sys.exit(128 + number)
