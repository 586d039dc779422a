"""Work on files in processes of their own: a decoder that crashes, hangs or takes all memory costs one file.

    for path, answer in map_isolated(look, paths, workers=2):
        ...            # answer is what look(path) returned, or the AvlocError that says why not

Each process has one item in hand, so that a death names its file. Processes are started by their own command line
rather than by multiprocessing, which would run the caller's script again; they end when the caller does, however it
ends. Memory is looked at four times a second, where the system says how much a process has (Linux).
"""

from __future__ import annotations

import contextlib
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

from avloc.errors import AvlocError, InputError, MediaError, StorageError
from avloc.system.isolate_child import item_name, receive, send

__all__ = ["Limits", "isolated", "map_isolated"]

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_LOOK_S = 0.25
_SHARE = 0.8  # of the machine's memory, for all processes together
_START = "import sys; sys.path[:] = sys.argv[1:]; from avloc.system.isolate_child import serve; serve()"


@dataclass(frozen=True)
class Limits:
    """What one file may take.

    Args:
        silence_s: seconds without progress (a decoded snippet, a block of sound), after which it is given up.
        memory_gb: of a process, its models included; None: a fair share of what the machine has.
    """

    silence_s: float = 300.0
    memory_gb: float | None = None

    def __post_init__(self) -> None:
        if not self.silence_s > 0 or (self.memory_gb is not None and not self.memory_gb > 0):
            raise InputError(f"limits of time and memory must be above 0, got {self.silence_s} s, {self.memory_gb} GB")

    def bytes_each(self, workers: int) -> float:
        """Memory of one of `workers` processes."""
        return self.memory_gb * 2**30 if self.memory_gb is not None else _SHARE * _memory_bytes() / workers


def map_isolated(
    function: Callable[[Item], Answer],
    items: Iterable[Item],
    workers: int = 1,
    limits: Limits | None = None,
    in_order: bool = False,
) -> Iterator[tuple[Item, Answer | AvlocError]]:
    """Call `function` on every item, `workers` at a time, each in a process that may die.

    Args:
        function: of a module (or a partial of one); it, the items and the answers travel by pickle. Where it takes
            long it calls `heartbeat` now and then.
        in_order: answers come in the order of the items; else as they are ready.
    Yields:
        (item, what the function returned), or (item, error): an AvlocError that the function raised, or a MediaError
        when its process died twice, was silent for too long or took too much memory.

    What else the function raises is raised here, and so is a StorageError: no other item could be written either.
    """
    crew = _Crew(function, list(items), max(1, workers), limits or Limits())
    try:
        yield from crew.in_order() if in_order else crew.run()
    finally:
        crew.close()


def isolated(function: Callable[[Item], Answer], item: Item, limits: Limits | None = None) -> Answer:
    """`function(item)` in a process of its own. Raises what `map_isolated` would give in its place."""
    ((_, answer),) = map_isolated(function, [item], limits=limits)
    if isinstance(answer, AvlocError):
        raise answer
    return answer


@dataclass(eq=False)
class _Worker:
    """A process, and what it has in hand."""

    process: subprocess.Popen[bytes]
    seen: float
    task: int | None = None
    killed: str = ""
    reader: threading.Thread = field(default_factory=threading.Thread)

    def give(self, task: int, message: Any) -> None:
        self.task, self.seen = task, time.monotonic()
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is dead: its reader says so
            send(self.process.stdin, message)

    def kill(self, reason: str = "") -> None:
        self.killed = self.killed or reason
        self.process.kill()

    def end(self) -> int:
        """Wait for its end, and tidy up; returns its exit code."""
        code = self.process.wait()
        self.reader.join()
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        return code

    def memory_bytes(self) -> int:
        """Resident now; 0 where the system does not say."""
        try:
            return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError, ValueError, AttributeError):
            return 0


@dataclass
class _Crew:
    """Processes that come and go until all tasks are done. `events` holds (worker, message); None is its end."""

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
        self.most_bytes = self.limits.bytes_each(self.size)

    def run(self) -> Iterator[tuple[Any, Any]]:
        """(item, answer), as they are ready."""
        for task, answer in self._answers():
            yield self.items[task], answer

    def in_order(self) -> Iterator[tuple[Any, Any]]:
        """(item, answer), in the order of the items."""
        early: dict[int, Any] = {}
        wanted = 0
        for task, answer in self._answers():
            early[task] = answer
            while wanted in early:
                yield self.items[wanted], early.pop(wanted)
                wanted += 1

    def close(self) -> None:
        """End all processes now."""
        for worker in self.workers:
            worker.kill()
        for worker in self.workers:
            worker.end()
        self.workers.clear()

    def _answers(self) -> Iterator[tuple[int, Any]]:
        left = len(self.items)
        while left:
            self._hand_out()
            for task, answer in self._listen():
                left -= 1
                yield task, answer

    def _hand_out(self) -> None:
        idle = sum(worker.task is None for worker in self.workers)
        for _ in range(min(len(self.queue) - idle, self.size - len(self.workers))):
            self._start()
        for worker in self.workers:
            if worker.task is None and not worker.killed and self.queue:
                task = self.queue.popleft()
                worker.give(task, (self.function, self.items[task]))

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
        """Of a thread: a worker's messages as they come; the time of the last counts, not when it is looked at."""
        assert worker.process.stdout is not None
        with worker.process.stdout as source:
            while (raw := receive(source)) is not None:
                worker.seen = time.monotonic()
                if raw:  # an empty one only says that it lives
                    self.events.put((worker, raw))
        self.events.put((worker, None))

    def _listen(self) -> Iterator[tuple[int, Any]]:
        """What has happened; waits a moment when nothing has."""
        try:
            event = self.events.get(timeout=_LOOK_S)
        except queue.Empty:
            self._look_after()
            return
        while True:
            yield from self._take(*event)
            try:
                event = self.events.get_nowait()
            except queue.Empty:
                self._look_after()
                return

    def _take(self, worker: _Worker, raw: bytes | None) -> Iterator[tuple[int, Any]]:
        task, worker.task = worker.task, None
        if raw is None:
            yield from self._bury(worker, task)
            return
        assert task is not None
        good, answer = pickle.loads(raw)
        if not good and (isinstance(answer, StorageError) or not isinstance(answer, AvlocError)):
            raise answer
        yield task, answer

    def _bury(self, worker: _Worker, task: int | None) -> Iterator[tuple[int, Any]]:
        code = worker.end()
        self.workers.discard(worker)
        if task is None:
            return
        self.deaths[task] = self.deaths.get(task, 0) + 1
        if worker.killed:
            yield task, MediaError(f"{item_name(self.items[task])}: given up: {worker.killed}")
        elif self.deaths[task] > 1:
            yield (
                task,
                MediaError(
                    f"{item_name(self.items[task])}: the process that decoded it died, twice ({_cause(code)}); "
                    "the file crashes the decoder, or memory ran out"
                ),
            )
        else:  # perhaps something else took the memory: once more, at once, in a new process
            self.queue.appendleft(task)

    def _look_after(self) -> None:
        now = time.monotonic()
        for worker in self.workers:
            if worker.task is None or worker.killed:
                continue
            if now - worker.seen > self.limits.silence_s:
                worker.kill(f"no progress for {self.limits.silence_s:g} s; the file hangs the decoder")
            elif worker.memory_bytes() > self.most_bytes:
                worker.kill(f"its process took more than {self.most_bytes / 2**30:.1f} GB of memory")


def _cause(code: int) -> str:
    try:
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
    except ValueError:
        return f"signal {-code}"


def _memory_bytes() -> float:
    """Of this machine, or of the container it seems to be."""
    total = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) if hasattr(os, "sysconf") else float("inf")
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            total = min(total, float(Path(file).read_text()))
    return total
