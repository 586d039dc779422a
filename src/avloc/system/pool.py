"""What a process does with memory, and pools of processes.

Those end with whoever started them: at once on an error or Ctrl-C, and also when it is killed.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

__all__ = ["keep_freed_memory", "pool"]

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """What a training step frees the next one wants again: it is kept, and not given back to the system in between.

    The system hands out zeroed pages, which for the large arrays of a step takes a seventh of its time. Linux with
    glibc only; elsewhere nothing changes.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes started afresh ("spawn"), which share the cores. When the block ends badly, work in hand is dropped."""
    threads = max(1, (os.cpu_count() or 1) // workers)
    others = set(multiprocessing.active_children())
    spawn = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_settle, initargs=(threads,))
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - others:
            child.kill()
        raise
    executor.shutdown()


def _settle(threads: int) -> None:
    """Threads before torch is imported, so that it takes them as they are; Ctrl-C is for whoever started us."""
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("MKL_NUM_THREADS", str(threads))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """An idle worker waits for work from a pipe that its fellows hold open too: by that it would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
