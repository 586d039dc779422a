"""Interleaved timing, peak memory of one process, and results as tables and JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from avloc.system.isolate import NO_LIMITS, isolated
from benchmarks.console import add_options, markdown_table

CORES = len(os.sched_getaffinity(0))


class Clock:
    """Wall and CPU seconds (see `cpu_s`) of named parts, one row for each time a part ran.

    Alternate the parts to be compared, so that other load on the machine affects them equally.
    """

    def __init__(self) -> None:
        self.rows: dict[str, list[tuple[float, float]]] = {}

    def time(self, name: str, work: Callable[[], Any]) -> Any:
        """Run `work` and record its time."""
        start = time.perf_counter(), cpu_s()
        result = work()
        self.add(name, time.perf_counter() - start[0], cpu_s() - start[1])
        return result

    def add(self, name: str, wall_s: float, cpu_s: float) -> None:
        self.rows.setdefault(name, []).append((wall_s, cpu_s))

    def wall_s(self, name: str) -> float:
        """Median wall seconds."""
        return statistics.median(wall for wall, _ in self.rows[name])

    def cpu_s(self, name: str) -> float:
        """Median CPU seconds."""
        return statistics.median(cpu for _, cpu in self.rows[name])

    def figures(self) -> dict[str, float]:
        """Both medians of each part."""
        return {
            f"{name}, {kind} s": round(value, 4)
            for name in self.rows
            for kind, value in (("wall", self.wall_s(name)), ("CPU", self.cpu_s(name)))
        }


def cpu_s() -> float:
    """CPU seconds of this process, all threads, and of the child processes that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def in_process(work: Callable[..., Any], *arguments: Any) -> Any:
    """`work(*arguments)` in a new process, so that its peak memory is its own."""
    return isolated(_call, (work, arguments), NO_LIMITS)


def _call(job: tuple[Callable[..., Any], tuple[Any, ...]]) -> Any:
    work, arguments = job
    return work(*arguments)


def memory_bytes(key: str = "VmHWM") -> int:
    """Peak resident memory of this process (VmHWM), or resident memory now (VmRSS); Linux.

    `resource.getrusage` is not used: a new process inherits its parent's maximum there.
    """
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key))


def common_options() -> argparse.ArgumentParser:
    """A parent parser with the options of the benchmarks that write JSON; --quick uses small sizes, to test them."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--json", type=Path, help="write ratios and figures to this file")
    add_options(parser, threads=CORES, quick=False)
    return parser


def write(path: Path | None, name: str, ratios: Mapping[str, float], figures: Mapping[str, float]) -> None:
    """Print a benchmark's numbers as tables and, if a path is given, write them as JSON.

    Args:
        ratios: higher is better, both sides measured in the same run; `compare` checks these.
        figures: the rest.
    """
    import torch

    facts = {
        "date": date.today().isoformat(),
        "cores": str(CORES),
        "threads": str(torch.get_num_threads()),
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }
    print(f"\n{name}: " + ", ".join(f"{key} {value}" for key, value in facts.items()))
    for title, numbers in {"ratio (higher is better)": ratios, "figure": figures}.items():
        if numbers:
            print("\n" + markdown_table([title, ""], [(key, f"{value:.4g}") for key, value in numbers.items()]))
    if path is not None:
        result = {"machine": facts, "ratios": dict(ratios), "figures": dict(figures)}
        path.write_text(json.dumps({name: result}, indent=1) + "\n", encoding="utf-8")
