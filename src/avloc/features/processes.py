"""Many videos over the processes of one machine. A process that dies, hangs or grows too large costs its video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from avloc.errors import MediaError
from avloc.features.manifest import Row
from avloc.features.task import Job, failed, work
from avloc.system.isolate import Limits, map_isolated

__all__ = ["DIED", "spread"]

DIED = "the process that decoded it died, twice; the file crashes the decoder, or memory ran out"


def spread(videos: Sequence[Path], job: Job, workers: int, limits: Limits | None = None) -> Iterator[Row]:
    """Work on all videos, `workers` at a time; rows come as they are ready. A single video is done in this process."""
    if len(videos) <= 1:
        yield from (work(path, job) for path in videos)
        return
    job = replace(job, threads=job.threads if workers <= 1 else 1)
    for path, answer in map_isolated(partial(work, job=job), videos, workers, limits):
        if isinstance(answer, MediaError):
            yield failed(path, job, str(answer))
        elif isinstance(answer, Row):
            yield answer
        else:  # what would stop the next video as well
            raise answer
