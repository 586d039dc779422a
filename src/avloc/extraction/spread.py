"""Many videos over the processes of one machine. A process that dies costs at most the video it was at."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from avloc.extraction.manifest import Row
from avloc.extraction.work import Job, work

__all__ = ["DIED", "spread"]

DIED = "the process that decoded it died, twice; the file crashes the decoder, or memory ran out"


def spread(videos: Sequence[Path], job: Job, workers: int) -> Iterator[Row]:
    """Work on all videos, `workers` at a time; rows come as they are ready.

    When a process dies, those in hand are done again, each in a process of its own, to find the one that kills; the
    rest go on in a new pool.
    """
    if workers <= 1 or len(videos) <= 1:
        for path in videos:
            yield work(path, job)
        return
    queue = deque(videos)
    job = replace(job, threads=1)
    while queue:
        suspects: list[Path] = []
        yield from _until_death(queue, job, min(workers, len(queue)), suspects)
        for path in suspects:
            yield _alone(path, job, workers)


def _until_death(queue: deque[Path], job: Job, workers: int, suspects: list[Path]) -> Iterator[Row]:
    """Empty the queue, or stop at the first death with the videos that were in hand in `suspects`."""
    flying: dict[Future[Row], Path] = {}
    with _pool(workers, workers) as pool:
        while (queue or flying) and not suspects:
            try:
                while queue and len(flying) < 2 * workers:  # few in hand: few to suspect, and flat memory
                    flying[pool.submit(work, queue[0], job)] = queue[0]
                    queue.popleft()
            except BrokenProcessPool:
                suspects += flying.values()
                return
            for future in wait(flying, return_when=FIRST_COMPLETED).done:
                path = flying.pop(future)
                try:
                    yield future.result()
                except BrokenProcessPool:
                    suspects.append(path)
        suspects += flying.values()


def _alone(path: Path, job: Job, workers: int) -> Row:
    with _pool(1, workers) as pool:
        try:
            return pool.submit(work, path, job).result()
        except BrokenProcessPool:
            return Row(path.stem, str(path), "failed", DIED)


def _pool(processes: int, share: int) -> ProcessPoolExecutor:
    threads = max(1, (os.cpu_count() or 1) // share)
    return ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_settle, initargs=(threads,))


def _settle(threads: int) -> None:
    """The networks' own threads: before torch is imported, so that it takes them as they are."""
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("MKL_NUM_THREADS", str(threads))
