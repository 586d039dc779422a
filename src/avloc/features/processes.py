"""Extraction over the processes of one machine. A process that crashes, hangs or runs out of memory loses its video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from avloc.errors import MediaError
from avloc.features.manifest import Row
from avloc.features.task import Job, extract_to_file, failed_row
from avloc.system.isolate import Limits, map_isolated


def extract_in_processes(videos: Sequence[Path], job: Job, workers: int, limits: Limits | None = None) -> Iterator[Row]:
    """Extract all videos in `workers` processes; yields rows as they complete. A single video runs in this process."""
    if len(videos) <= 1:
        yield from (extract_to_file(path, job) for path in videos)
        return
    job = replace(job, threads=job.threads if workers <= 1 else 1)
    for path, result in map_isolated(partial(extract_to_file, job=job), videos, workers, limits):
        if isinstance(result, MediaError):
            yield failed_row(path, job, str(result))
        elif isinstance(result, Row):
            yield result
        else:  # an error that would fail every other video too
            raise result
