"""failures.csv: the failed videos of a job, with reasons."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from avloc.errors import FormatError
from avloc.formats.records import read_records
from avloc.system.atomic import atomic_write
from avloc.system.outputs import discard
from avloc.system.text import csv_text

FAILURES = "failures.csv"


@dataclass(frozen=True)
class Failure:
    """A failed video and the reason, in one line."""

    video_id: str
    path: str
    reason: str


def read_failures(path: Path) -> list[Failure]:
    """What `write_failures` wrote; [] if there is no file.

    Raises:
        FormatError: it is not such a table.
    """
    if not path.is_file():
        return []
    try:
        return [Failure(row["video"], row["path"], row["reason"]) for row in read_records(path)]
    except (csv.Error, ValueError, KeyError) as error:
        raise FormatError(
            f"{path}: expected a table video,path,reason of failures ({error}); choose another folder"
        ) from error


def write_failures(path: Path, failures: Iterable[Failure]) -> None:
    """Write video,path,reason, sorted by video; without failures, delete the file of an earlier run."""
    rows = sorted(failures, key=lambda f: f.video_id)
    if not rows:
        discard(path)
        return
    atomic_write(path, csv_text([("video", "path", "reason"), *((f.video_id, f.path, f.reason) for f in rows)]))
