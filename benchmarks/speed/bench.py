"""All benchmarks of `make bench`, and the comparison of two results."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.console import add_command

BENCHMARKS = ("train_step", "long_videos", "serve", "distributed")


def add_commands(commands: Any) -> None:
    parser = add_command(commands, all_, quick=False)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=BENCHMARKS)
    parser = add_command(commands, compare, tolerance=0.15)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)


def all_(args: argparse.Namespace) -> None:
    """Run train-step, long-videos, serve and distributed, each in a new process, and write one JSON file.

    `make bench` calls this. Compare two such files with the command `compare`.
    """
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="avloc-bench-") as folder:
        for name in args.only:
            start, found = time.perf_counter(), Path(folder) / f"{name}.json"
            command = [sys.executable, "-m", "benchmarks.speed", name.replace("_", "-"), "--json", str(found)]
            subprocess.run(command + ["--quick"] * args.quick, check=True)
            results |= json.loads(found.read_text(encoding="utf-8"))
            args.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
            print(f"\n{name} took {time.perf_counter() - start:.0f} s", flush=True)


def compare(args: argparse.Namespace) -> None:
    """Compare two results of `make bench`: name the ratios that fell by more than 15 percent.

    Only ratios are compared: both sides of one were measured in the same run, so a slower machine does not matter.
    Exit code 1 when a ratio fell or is missing.
    """
    old, new = _ratios(args.old), _ratios(args.new)
    found = _fallen(old, new, args.tolerance)
    for name, change in found.items():
        print(f"{name}: {change}")
    print(f"{len(found)} of {len(old)} ratios fell by more than {args.tolerance:.0%} or are gone")
    raise SystemExit(bool(found))


def _ratios(path: Path) -> dict[str, float]:
    """{"benchmark: ratio": value} of a file written by `make bench`."""
    results = json.loads(path.read_text(encoding="utf-8"))
    return {f"{name}: {key}": value for name, result in results.items() for key, value in result["ratios"].items()}


def _fallen(old: Mapping[str, float], new: Mapping[str, float], tolerance: float) -> dict[str, str]:
    """{ratio: change} of the ratios that are gone or fell by more than `tolerance` of their old value."""
    found = {}
    for name, before in old.items():
        if name not in new:
            found[name] = f"{before:.3f} -> gone"
        elif new[name] < (1 - tolerance) * before:
            found[name] = f"{before:.3f} -> {new[name]:.3f} ({new[name] / before - 1:+.0%})"
    return found
