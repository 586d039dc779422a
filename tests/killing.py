"""Run work in a process that is killed after some time, or before its n-th fsync or rename.

A fork server with the heavy modules loaded starts a new process in milliseconds.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from avloc.errors import AvlocError, StorageError

PRELOAD = [
    "avloc.train.loop",
    "avloc.pipeline.folder",
    "avloc.features.folder",
    "avloc.paper.show",
    "avloc.report.page.build",
    "avloc.cli",
    "avloc.workflow.steps",
    "jobs",
]
_TIMEOUT_S = 120


def run(
    work: Callable[..., Any],
    *args: object,
    kill_after_s: float | None = None,
    kill_at: int | None = None,
    instead: Callable[[], object] | None = None,
    said: Path | None = None,
) -> int:
    """Call `work(*args)` in a new process; returns its exit code, -SIGKILL if it was killed.

    Args:
        instead: called at `kill_at` instead of the kill; the work goes on.
        said: file for the standard error of the process and of those that it starts. An AvlocError ends the work as the
            command line does: with one line, and exit code 1 or 2.
        kill_after_s: send SIGKILL after this many seconds.
        kill_at: the process kills itself just before its n-th call of os.fsync or os.replace, the calls that turn a new
            file into a finished one. Before an fsync, half of the bytes written since the last one are cut off, as
            after a crash of the machine.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    process = context.Process(target=_child, args=(work, args, kill_at, instead, said))
    process.start()
    process.join(_TIMEOUT_S if kill_after_s is None else kill_after_s)
    if process.is_alive():
        process.kill()
        process.join()
        assert kill_after_s is not None, f"{work} hangs"
    assert process.exitcode is not None
    return process.exitcode


def writes_of(work: Callable[..., Any], *args: object) -> int:
    """Number of calls of os.fsync and os.replace by `work(*args)` itself, without its worker processes."""
    with tempfile.TemporaryDirectory() as folder:
        assert run(_count, work, args, Path(folder) / "count") == 0
        return int((Path(folder) / "count").read_text())


def limit_file_size(size: int) -> None:
    """Make writes beyond `size` bytes of any file fail in this process (EFBIG), as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def with_small_files(size: int, work: Callable[..., Any], *args: object) -> None:
    """The work under `limit_file_size`; processes that it starts inherit the limit."""
    limit_file_size(size)
    work(*args)


def _child(
    work: Callable[..., Any],
    args: tuple[object, ...],
    kill_at: int | None,
    instead: Callable[[], object] | None,
    said: Path | None,
) -> None:
    if said is not None:
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    if kill_at is not None:
        _KillAt(kill_at, instead).install()
    try:
        work(*args)
    except AvlocError as error:
        if said is None:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1 if isinstance(error, StorageError) else 2)


def _count(work: Callable[..., Any], args: tuple[object, ...], found: Path) -> None:
    trap = _KillAt(0, None)
    trap.install()
    try:
        work(*args)
    finally:  # a command ends with SystemExit
        found.write_text(str(-trap.left))


class _KillAt:
    def __init__(self, kill_at: int, instead: Callable[[], object] | None) -> None:
        self.left, self.instead = kill_at, instead
        self.flushed: dict[int, int] = {}  # inode -> bytes flushed to disk

    def install(self) -> None:
        for name in ("fsync", "replace"):
            setattr(os, name, self.around(getattr(os, name)))

    def around(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(first: Any, *rest: Any, **named: Any) -> Any:
            self.left -= 1
            facts = os.fstat(first) if isinstance(first, int) else None
            if self.left == 0 and self.instead is not None:
                self.instead()
            elif self.left == 0:
                if facts is not None:
                    os.truncate(first, (self.flushed.get(facts.st_ino, 0) + facts.st_size) // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            if facts is not None:
                self.flushed[facts.st_ino] = facts.st_size
            return real(first, *rest, **named)

        return call
