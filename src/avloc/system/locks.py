"""Locks: one process at a time per folder or file. The operating system releases a lock when its process ends."""

from __future__ import annotations

import logging
import os
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from avloc.errors import InputError, StorageError
from avloc.system.atomic import DISK_FULL, atomic_write, make_folder, no_room, storing, sweep
from avloc.system.outputs import LOCK_FILE, output_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from filelock import BaseFileLock


_OWNER_FILE = ".avloc.owner"
_PROBE_S = 0.5
"""A folder's lock may be held for an instant by `is_locked` of another process."""

_log = logging.getLogger("avloc")


@contextmanager
def folder_lock(folder: Path, what: str = "", part: str = "") -> Iterator[None]:
    """Context manager: create a folder for results, lock it, and remove partial files of dead processes.

    Inside, it is an `output_folder`: files of others in it are kept.

    The lock is released when the process ends, however it ends (flock). On a file system without locks, a warning is
    logged and the work continues unlocked.

    Args:
        what: contents of the folder, for messages.
        part: name of a share of the work; different shares of one folder can be processed at the same time.

    Raises:
        InputError: another process holds the lock, or the folder is not writable. StorageError: the disk is full, or
            the folder was deleted or replaced meanwhile.
    """
    make_folder(folder, what)
    owner = folder / f"{_OWNER_FILE}{part}"
    with ExitStack() as within:
        with storing(folder):
            within.enter_context(output_folder(folder, own=True, shared=bool(part)))
        lock = _acquire(folder, folder / f"{LOCK_FILE}{part}", lambda: _busy(folder, owner), _PROBE_S)
        try:
            sweep(folder)
            atomic_write(owner, _process_info())
            yield
            if lock.is_locked and not owner.exists():  # without locks, another process may have removed it
                raise StorageError(f"{folder}: deleted or replaced during the work; run the same command again")
        finally:
            with suppress(OSError):
                owner.unlink(missing_ok=True)
            lock.release()


@contextmanager
def file_lock(path: Path, timeout_s: float = 20.0) -> Iterator[None]:
    """Context manager: wait for the lock of a file that several processes read, change and write.

    The lock is a hidden file beside it. On a file system without locks, a warning is logged and the work continues.

    Raises:
        InputError: another process has held the lock for `timeout_s`, or the folder is not writable.
    """
    make_folder(path.parent)
    busy = f"{path}: in use by another avloc for {timeout_s:g} s; stop it, and try again"
    lock = _acquire(path, path.with_name(f".{path.name}.lock"), lambda: busy, timeout_s)
    try:
        yield
    finally:
        lock.release()


def is_locked(folder: Path) -> bool:
    """Whether a process holds the lock of a folder (`folder_lock`)."""
    from filelock import FileLock, Timeout

    if (folder / LOCK_FILE).is_symlink() or not (folder / LOCK_FILE).is_file():
        return False
    try:
        with FileLock(folder / LOCK_FILE, blocking=False):
            return False
    except Timeout:
        return True
    except (OSError, NotImplementedError):  # no locks on this disk
        return False


def open_held(path: Path) -> BinaryIO:
    """Create a file that is held (`is_held`) as long as it is open, in this process or in one that inherits it.

    Without the operating system's locks it is never held. Raises FileExistsError: it is there.
    """
    file = path.open("xb")
    if fcntl is not None:
        with suppress(OSError):  # no locks on this disk
            fcntl.flock(file, fcntl.LOCK_EX)
    return file


def is_held(path: Path, unknown: bool = False) -> bool:
    """Whether a process has a file open that was created by `open_held`; `unknown` where the disk has no locks."""
    if fcntl is None or path.is_symlink() or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return unknown
    return False


def _acquire(what: Path, path: Path, busy: Callable[[], str], timeout_s: float) -> BaseFileLock:
    """The lock file at `path`, of the folder or file `what`; InputError with `busy` if another process holds it."""
    from filelock import FileLock, Timeout

    if path.is_symlink():  # opening it would empty the file that it leads to
        raise InputError(f"{path}: expected a lock file, got a link; remove it")
    lock = FileLock(path, timeout=timeout_s)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(busy()) from error
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise no_room(path, error) from error
        _log.warning("%s: no locks on this disk (%s); make sure that no other avloc process uses it", what, error)
    return lock


def _busy(folder: Path, owner: Path) -> str:
    return f"{folder}: in use by another avloc{_owner_info(owner)}; wait for it, stop it, or choose another -o"


def _process_info() -> str:
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200]
    return f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}: {command}"


def _owner_info(owner: Path) -> str:
    try:
        return f" ({owner.read_text(encoding='utf-8')})"
    except OSError:
        return ""
