"""Work that behaves as with a hostile file; in a module, so that isolated processes can import it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avloc.errors import MediaError
from avloc.system.isolate_child import heartbeat

if TYPE_CHECKING:
    from avloc.features.task import Job


def act(path: Path) -> str:
    """Behave as the file's name says."""
    kind = path.stem.partition("_")[0]
    if kind == "abort":
        os.abort()
    elif kind == "segfault":
        ctypes.string_at(1)
    elif kind == "once":  # dies on the first attempt only
        if not path.exists():
            path.touch()
            os._exit(3)
    elif kind == "hang":
        time.sleep(600)
    elif kind == "slow":  # longer than the timeout, with heartbeats
        for _ in range(8):
            time.sleep(1.1)
            heartbeat()
    elif kind == "late":
        time.sleep(0.5)
    elif kind == "eat":
        kept = []
        for _ in range(200):
            kept.append(np.ones(1 << 22))
            heartbeat()
            time.sleep(0.02)
    elif kind == "broken":
        raise MediaError(f"{path}: broken")
    elif kind == "bug":
        raise ZeroDivisionError("ours")
    elif kind == "print":
        os.write(1, b"a library says hello")
    return f"{path.stem} done"


def measured(path: Path, job: Job) -> tuple[str, str, float, float]:
    """(status, reason or note, seconds, peak memory of the process in MB) of one file, including its previews."""
    from avloc.features.task import extract_to_file
    from avloc.media.previews import make_preview
    from avloc.media.probe import probe

    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    began = time.monotonic()
    row = extract_to_file(path, job)
    said = row.reason
    if row.status == "done":
        said = "; ".join(filter(None, (row.note, make_preview(probe(path)).problem)))
    seconds = time.monotonic() - began
    facts = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(facts["VmHWM"].split()[0]) / 1024
    return row.status, said, seconds, peak
