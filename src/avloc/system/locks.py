"""One worker in a folder at a time: a lock of the operating system, which a dead process cannot hold."""

from __future__ import annotations

import logging
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.errors import InputError
from avloc.system.atomic import atomic_write, make_folder, sweep

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = ["LOCK_FILE", "folder_lock"]

LOCK_FILE = ".avloc.lock"
_OWNER_FILE = ".avloc.owner"
_log = logging.getLogger("avloc")


@contextmanager
def folder_lock(folder: Path, what: str = "", part: str = "") -> Iterator[None]:
    """Make a folder for results, be the only one at work in it, and clear away what killed processes left half-written.

    The lock is the system's own (flock): it ends with the process, however that ends. On a file system that knows no
    locks, work goes on without one and says so.

    Args:
        what: what should lie there, for messages.
        part: name of a share of the work; different shares of one folder may be worked on at once.

    Raises:
        InputError: another process is at work there, or the folder cannot be written to.
    """
    make_folder(folder, what)
    owner = folder / f"{_OWNER_FILE}{part}"
    lock = _taken(folder, folder / f"{LOCK_FILE}{part}", owner)
    try:
        sweep(folder)
        atomic_write(owner, _who())
        yield
    finally:
        with suppress(OSError):
            owner.unlink(missing_ok=True)
        lock.release()


def _taken(folder: Path, path: Path, owner: Path) -> BaseFileLock:
    from filelock import FileLock, Timeout

    lock = FileLock(path, blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(
            f"{folder}: another avloc is at work there{_words(owner)}; wait for it, stop it, or choose another -o"
        ) from error
    except (OSError, NotImplementedError) as error:
        _log.warning("%s: this disk cannot lock (%s); see that no other avloc works there", folder, error)
    return lock


def _who() -> str:
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200]
    return f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}: {command}"


def _words(owner: Path) -> str:
    try:
        return f" ({owner.read_text(encoding='utf-8')})"
    except OSError:
        return ""
