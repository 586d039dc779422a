"""Run work in a process that is killed after some time, or before its n-th fsync or rename.

A fork server with the heavy modules loaded starts a new process in milliseconds.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
from collections.abc import Callable
from typing import Any

PRELOAD = [
    "avloc.train.loop",
    "avloc.pipeline.folder",
    "avloc.features.folder",
    "avloc.paper.show",
    "avloc.report.page.build",
]
_TIMEOUT_S = 120


def run(work: Callable[..., Any], *args: object, kill_after_s: float | None = None, kill_at: int | None = None) -> int:
    """Call `work(*args)` in a new process; returns its exit code, -SIGKILL if it was killed.

    Args:
        kill_after_s: send SIGKILL after this many seconds.
        kill_at: the process kills itself just before its n-th call of os.fsync or os.replace, the calls that turn a new
            file into a finished one. Before an fsync, half of the bytes written since the last one are cut off, as
            after a crash of the machine.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    process = context.Process(target=_child, args=(work, args, kill_at))
    process.start()
    process.join(_TIMEOUT_S if kill_after_s is None else kill_after_s)
    if process.is_alive():
        process.kill()
        process.join()
        assert kill_after_s is not None, f"{work} hangs"
    assert process.exitcode is not None
    return process.exitcode


def limit_file_size(size: int) -> None:
    """Make writes beyond `size` bytes of any file fail in this process (EFBIG), as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def _child(work: Callable[..., Any], args: tuple[object, ...], kill_at: int | None) -> None:
    if kill_at is not None:
        trap = _KillAt(kill_at)
        for name in ("fsync", "replace"):
            setattr(os, name, trap.around(getattr(os, name)))
    work(*args)


class _KillAt:
    def __init__(self, kill_at: int) -> None:
        self.left = kill_at
        self.flushed: dict[int, int] = {}  # inode -> bytes flushed to disk

    def around(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(first: Any, *rest: Any, **named: Any) -> Any:
            self.left -= 1
            facts = os.fstat(first) if isinstance(first, int) else None
            if self.left == 0:
                if facts is not None:
                    os.truncate(first, (self.flushed.get(facts.st_ino, 0) + facts.st_size) // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            if facts is not None:
                self.flushed[facts.st_ino] = facts.st_size
            return real(first, *rest, **named)

        return call
