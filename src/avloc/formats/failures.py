"""failures.csv: the failed videos of a job, with reasons."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from avloc.system.atomic import atomic_write
from avloc.system.text import csv_text

FAILURES = "failures.csv"


@dataclass(frozen=True)
class Failure:
    """A failed video and the reason, in one line."""

    video_id: str
    path: str
    reason: str


def write_failures(path: Path, failures: Iterable[Failure]) -> None:
    """Write video,path,reason, sorted by video; without failures, delete the file."""
    rows = sorted(failures, key=lambda f: f.video_id)
    if not rows:
        path.unlink(missing_ok=True)
        return
    atomic_write(path, csv_text([("video", "path", "reason"), *((f.video_id, f.path, f.reason) for f in rows)]))
