"""What the speed benchmarks share: interleaved timing, this machine in words, and results as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

__all__ = ["Clock", "arguments", "machine", "write"]


class Clock:
    """Wall and CPU seconds of named parts of one run, one row for each time a part ran.

    Parts that are compared must take turns, so that a busy moment of the machine hits them alike.
    """

    def __init__(self) -> None:
        self.rows: dict[str, list[tuple[float, float]]] = {}

    def time(self, name: str, work: Callable[[], Any]) -> Any:
        """Run `work`, note how long it took."""
        began = time.perf_counter(), time.process_time()
        result = work()
        self.add(name, time.perf_counter() - began[0], time.process_time() - began[1])
        return result

    def add(self, name: str, wall_s: float, cpu_s: float) -> None:
        self.rows.setdefault(name, []).append((wall_s, cpu_s))

    def wall_s(self, name: str) -> float:
        """Median wall seconds."""
        return statistics.median(wall for wall, _ in self.rows[name])

    def cpu_s(self, name: str) -> float:
        """Median CPU seconds, of all threads together."""
        return statistics.median(cpu for _, cpu in self.rows[name])

    def figures(self) -> dict[str, float]:
        """Both medians of each part."""
        return {
            f"{name}, {kind} s": round(value, 4)
            for name in self.rows
            for kind, value in (("wall", self.wall_s(name)), ("CPU", self.cpu_s(name)))
        }


def machine() -> dict[str, str]:
    """Where and when: a figure without it means nothing."""
    import torch

    return {
        "date": date.today().isoformat(),
        "cores": str(len(os.sched_getaffinity(0))),
        "threads": str(torch.get_num_threads()),
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """A parser with the options every speed benchmark has."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write ratios and figures here")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all?")
    return parser


def write(path: Path | None, name: str, ratios: Mapping[str, float], figures: Mapping[str, float]) -> None:
    """Print a benchmark's numbers as tables and, if asked, write them as JSON.

    Args:
        ratios: higher is better, both sides measured in this run: what `compare.py` watches.
        figures: the rest.
    """
    facts = machine()
    print(f"\n{name}: " + ", ".join(f"{key} {value}" for key, value in facts.items()))
    for title, numbers in (("ratio (higher is better)", ratios), ("figure", figures)):
        print(f"\n| {title} | |\n|---|---|")
        for key, value in numbers.items():
            print(f"| {key} | {value:.4g} |")
    if path is not None:
        result = {"machine": facts, "ratios": dict(ratios), "figures": dict(figures)}
        path.write_text(json.dumps({name: result}, indent=1) + "\n", encoding="utf-8")
