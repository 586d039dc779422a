"""Process files in isolated processes: if a decoder crashes, hangs or exhausts memory, only that file fails.

    for path, result in map_isolated(probe, paths, workers=2):
        ...            # result is what probe(path) returned, or an AvlocError

Each process handles one item at a time, so a crash is attributed to its file. Processes are started by command line
rather than by multiprocessing, which would run the caller's script again, and they end when the caller does, however
it ends. Memory use is checked four times a second.
"""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

from avloc.errors import AvlocError, InputError, MediaError, StorageError
from avloc.system.isolate_child import item_name, receive, send

Item = TypeVar("Item")
Result = TypeVar("Result")

_POLL_S = 0.25
_MEMORY_SHARE = 0.8  # of the machine's memory, for all processes together
_START = "import sys; sys.path[:] = sys.argv[1:]; from avloc.system.isolate_child import serve; serve()"


@dataclass(frozen=True)
class Limits:
    """Time and memory limits for one item.

    Args:
        silence_s: timeout in seconds since the last heartbeat (a decoded snippet, a block of audio).
        memory_gb: of a process, including its models; None: an equal share of the machine's memory.
    """

    silence_s: float = 300.0
    memory_gb: float | None = None

    def __post_init__(self) -> None:
        if not self.silence_s > 0 or (self.memory_gb is not None and not self.memory_gb > 0):
            raise InputError(f"time and memory limits must be above 0, got {self.silence_s} s, {self.memory_gb} GB")

    def bytes_each(self, workers: int) -> float:
        """Memory limit of each of `workers` processes, in bytes."""
        return self.memory_gb * 2**30 if self.memory_gb is not None else _MEMORY_SHARE * _memory_bytes() / workers


NO_LIMITS = Limits(math.inf, math.inf)
"""For functions without heartbeat that may take long, such as training."""


def map_isolated(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int = 1,
    limits: Limits | None = None,
    in_order: bool = False,
) -> Iterator[tuple[Item, Result | AvlocError]]:
    """Call `function` on every item in isolated processes, `workers` at a time.

    Args:
        function: a module-level function (or a partial of one); it, the items and the results are pickled. Functions
            that run for long call `heartbeat` regularly.
        in_order: yield results in the order of the items instead of as they finish.
    Yields:
        (item, result) or (item, error): an AvlocError that the function raised, or a MediaError if its process died
        twice, exceeded the timeout or exceeded the memory limit.
    Raises:
        Any other exception of the function. StorageError: the disk is full or unavailable, for all items alike.
    """
    pool = _Pool(function, list(items), max(1, workers), limits or Limits())
    try:
        yield from pool.in_order() if in_order else pool.run()
    finally:
        pool.close()


def isolated(function: Callable[[Item], Result], item: Item, limits: Limits | None = None) -> Result:
    """`function(item)` in an isolated process. Raises the error that `map_isolated` would yield."""
    ((_, result),) = map_isolated(function, [item], limits=limits)
    if isinstance(result, AvlocError):
        raise result
    return result


@dataclass(eq=False)
class _Worker:
    """A process and its current task."""

    process: subprocess.Popen[bytes]
    seen: float  # time of its last message
    task: int | None = None
    killed: str = ""
    reader: threading.Thread = field(default_factory=threading.Thread)

    def assign(self, task: int, message: Any) -> None:
        self.task, self.seen = task, time.monotonic()
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the process is dead, which its reader reports
            send(self.process.stdin, message)

    def kill(self, reason: str = "") -> None:
        self.killed = self.killed or reason
        self.process.kill()

    def join(self) -> int:
        """Wait for the process to end and close its pipes; returns the exit code."""
        code = self.process.wait()
        self.reader.join()
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        return code

    def memory_bytes(self) -> int:
        """Resident memory; 0 for a process that has ended."""
        try:
            return int(psutil.Process(self.process.pid).memory_info().rss)
        except psutil.Error:
            return 0


@dataclass
class _Pool:
    """Starts and replaces processes until all tasks are done. `events` holds (worker, message); None: it has ended."""

    function: Callable[[Any], Any]
    items: list[Any]
    size: int
    limits: Limits
    workers: set[_Worker] = field(default_factory=set)
    events: queue.SimpleQueue[tuple[_Worker, Any]] = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        self.queue = deque(range(len(self.items)))
        self.deaths: dict[int, int] = {}
        self.size = min(self.size, max(1, len(self.items)))
        self.max_bytes = self.limits.bytes_each(self.size)

    def run(self) -> Iterator[tuple[Any, Any]]:
        """(item, result) as they finish."""
        for task, result in self._results():
            yield self.items[task], result

    def in_order(self) -> Iterator[tuple[Any, Any]]:
        """(item, result) in the order of the items."""
        early: dict[int, Any] = {}
        wanted = 0
        for task, result in self._results():
            early[task] = result
            while wanted in early:
                yield self.items[wanted], early.pop(wanted)
                wanted += 1

    def close(self) -> None:
        """Kill all processes."""
        for worker in self.workers:
            worker.kill()
        for worker in self.workers:
            worker.join()
        self.workers.clear()

    def _results(self) -> Iterator[tuple[int, Any]]:
        left = len(self.items)
        while left:
            self._assign()
            for task, result in self._listen():
                left -= 1
                yield task, result

    def _assign(self) -> None:
        idle = sum(worker.task is None for worker in self.workers)
        for _ in range(min(len(self.queue) - idle, self.size - len(self.workers))):
            self._start()
        for worker in self.workers:
            if worker.task is None and not worker.killed and self.queue:
                task = self.queue.popleft()
                worker.assign(task, (self.function, self.items[task]))

    def _start(self) -> None:
        threads = str(max(1, (os.cpu_count() or 1) // self.size))
        settings = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads} | os.environ
        command = [sys.executable, "-c", _START, *sys.path]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=settings)
        worker = _Worker(process, time.monotonic())
        self.workers.add(worker)
        worker.reader = threading.Thread(target=self._read, args=(worker,), daemon=True)
        worker.reader.start()

    def _read(self, worker: _Worker) -> None:
        """Thread: queue a worker's messages, and note the time at which each arrives."""
        assert worker.process.stdout is not None
        with worker.process.stdout as source:
            while (raw := receive(source)) is not None:
                worker.seen = time.monotonic()
                if raw:  # an empty message is a heartbeat
                    self.events.put((worker, raw))
        self.events.put((worker, None))

    def _listen(self) -> Iterator[tuple[int, Any]]:
        """Results of all queued events; waits up to _POLL_S for the first one."""
        timeout_s = _POLL_S
        while True:
            try:
                event = self.events.get(timeout=timeout_s)
            except queue.Empty:
                self._check_limits()
                return
            yield from self._take(*event)
            timeout_s = 0

    def _take(self, worker: _Worker, raw: bytes | None) -> Iterator[tuple[int, Any]]:
        task, worker.task = worker.task, None
        if raw is None:
            yield from self._handle_death(worker, task)
            return
        assert task is not None
        good, result = pickle.loads(raw)
        if not good and (isinstance(result, StorageError) or not isinstance(result, AvlocError)):
            raise result
        yield task, result

    def _handle_death(self, worker: _Worker, task: int | None) -> Iterator[tuple[int, Any]]:
        code = worker.join()
        self.workers.discard(worker)
        if task is None:
            return
        self.deaths[task] = self.deaths.get(task, 0) + 1
        name = item_name(self.items[task])
        if worker.killed:
            yield task, MediaError(f"{name}: given up: {worker.killed}")
        elif self.deaths[task] > 1:
            reason = "the file crashes the decoder, or memory ran out"
            yield task, MediaError(f"{name}: the process that decoded it died, twice ({_cause(code)}); {reason}")
        else:  # another process may have exhausted memory: retry once, in a new process
            self.queue.appendleft(task)

    def _check_limits(self) -> None:
        now = time.monotonic()
        for worker in self.workers:
            if worker.task is None or worker.killed:
                continue
            if now - worker.seen > self.limits.silence_s:
                worker.kill(f"no progress for {self.limits.silence_s:g} s; the file hangs the decoder")
            elif worker.memory_bytes() > self.max_bytes:
                worker.kill(f"its process took more than {self.max_bytes / 2**30:.1f} GB of memory")


def _cause(code: int) -> str:
    try:
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
    except ValueError:
        return f"signal {-code}"


def _memory_bytes() -> float:
    """Memory of this machine, or of the container (cgroup) that it runs in."""
    total = float(psutil.virtual_memory().total)
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            total = min(total, float(Path(file).read_text()))
    return total
