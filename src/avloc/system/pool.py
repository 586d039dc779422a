"""Process pools whose workers end with the parent process, and malloc settings."""

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

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's malloc.h


def keep_freed_memory() -> None:
    """Keep freed memory in the process instead of returning it to the operating system.

    Each training step allocates the same large arrays again; zeroing their pages takes a seventh of a step's time. No
    effect except on Linux with glibc.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Context manager: a pool of spawned processes that share the cores.

    The processes are killed and pending work is dropped on an error or Ctrl-C, and also when the parent is killed.
    """
    threads = max(1, (os.cpu_count() or 1) // workers)
    others = set(multiprocessing.active_children())
    spawn = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_init_worker, initargs=(threads,))
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - others:
            child.kill()
        raise
    executor.shutdown()


def _init_worker(threads: int) -> None:
    """Initialize a worker: set thread counts before torch is imported; leave Ctrl-C to the parent."""
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("MKL_NUM_THREADS", str(threads))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Exit with the parent. The work queue's pipe never closes for an idle worker: other workers hold it open too."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
