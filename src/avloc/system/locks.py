"""Folder locks: one process at a time per folder. The operating system releases a lock when its process ends."""

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


LOCK_FILE = ".avloc.lock"
_OWNER_FILE = ".avloc.owner"
_log = logging.getLogger("avloc")


@contextmanager
def folder_lock(folder: Path, what: str = "", part: str = "") -> Iterator[None]:
    """Context manager: create a folder for results, lock it, and remove partial files of dead processes.

    The lock is released when the process ends, however it ends (flock). On a file system without locks, a warning is
    logged and the work continues unlocked.

    Args:
        what: contents of the folder, for messages.
        part: name of a share of the work; different shares of one folder can be processed at the same time.

    Raises:
        InputError: another process holds the lock, or the folder is not writable.
    """
    make_folder(folder, what)
    owner = folder / f"{_OWNER_FILE}{part}"
    lock = _acquire(folder, folder / f"{LOCK_FILE}{part}", owner)
    try:
        sweep(folder)
        atomic_write(owner, _process_info())
        yield
    finally:
        with suppress(OSError):
            owner.unlink(missing_ok=True)
        lock.release()


def _acquire(folder: Path, path: Path, owner: Path) -> BaseFileLock:
    from filelock import FileLock, Timeout

    lock = FileLock(path, blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(
            f"{folder}: in use by another avloc{_owner_info(owner)}; wait for it, stop it, or choose another -o"
        ) from error
    except (OSError, NotImplementedError) as error:
        _log.warning("%s: no locks on this disk (%s); make sure that no other avloc process uses it", folder, error)
    return lock


def _process_info() -> str:
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200]
    return f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}: {command}"


def _owner_info(owner: Path) -> str:
    try:
        return f" ({owner.read_text(encoding='utf-8')})"
    except OSError:
        return ""
