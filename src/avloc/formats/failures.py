"""failures.csv: the items of a job that failed, with their reasons."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from avloc.system.atomic import atomic_write
from avloc.system.text import csv_text

__all__ = ["FAILURES", "Failure", "write_failures"]

FAILURES = "failures.csv"


@dataclass(frozen=True)
class Failure:
    """A video that could not be done, and why, in one line."""

    video_id: str
    path: str
    reason: str


def write_failures(path: Path, failures: Iterable[Failure]) -> None:
    """failures.csv: video,path,reason; removed when there is none."""
    rows = sorted(failures, key=lambda f: f.video_id)
    if not rows:
        path.unlink(missing_ok=True)
        return
    atomic_write(path, csv_text([("video", "path", "reason"), *((f.video_id, f.path, f.reason) for f in rows)]))
