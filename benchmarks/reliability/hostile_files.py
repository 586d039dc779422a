"""Peak memory and time of avloc's readers on files that claim, repeat or expand to far more than they are."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from benchmarks.console import add_command, markdown_table
from odd_files import make_all, measure


def add_commands(commands: Any) -> None:
    add_command(commands, hostile_files, samples="")


def hostile_files(args: Any) -> None:
    """Read every sample of tests/odd_files.py in a process of its own, with 8 GiB of address space.

    Prints a table; exit code 1 if a sample is not refused. --samples is a comma-separated list, empty for all.
    """
    with tempfile.TemporaryDirectory() as folder:
        samples = make_all(Path(folder), args.samples.split(",") if args.samples else ())
        found = measure(samples)
        rows = [
            [path.name, f"{path.stat().st_size / 1000:.1f}", read.word, read.megabytes, f"{read.seconds:.1f}"]
            for path, read in found.items()
        ]
    print(markdown_table(["sample", "kB", "result", "peak memory, MB", "CPU time, s"], rows))
    for path, read in found.items():
        if read.word != "refused":
            print(f"unexpected: {path.name}: {read.word}: {read.text}")
    sys.exit(any(read.word != "refused" for read in found.values()))
