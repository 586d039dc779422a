"""Damaged and hostile media files: outcome, time and memory of each."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from avloc.config import ExtractConfig
from avloc.errors import AvlocError
from avloc.features.task import Job
from avloc.system.isolate import Limits, map_isolated
from benchmarks.console import add_command
from hostile_work import measured
from mutants import clips, mutants

SILENCE_S, MEMORY_GB = 30.0, 1.0


def add_commands(commands: Any) -> None:
    parser = add_command(commands, hostile_media, count=400, seed=0, kinds="", workers=1)
    parser.add_argument("--clips", type=Path, help="folder of real clips, mutated in addition to the generated ones")
    parser.add_argument("--keep", type=Path, help="write the files to this folder and keep them")


def hostile_media(args: argparse.Namespace) -> None:
    """Extract and preview hostile media files, each in an isolated process, with good files among them.

    Extraction uses appearance at 2 fps, and logmel. Prints outcomes by kind, the slowest file, the largest process and
    every unexpected result; exit code 1 when there is one. --kinds is a comma-separated list, empty for all.
    """
    with tempfile.TemporaryDirectory() as temporary:
        home = args.keep or Path(temporary)
        given = sorted(p for p in args.clips.iterdir() if p.stat().st_size < 1 << 20) if args.clips else []
        kinds = [kind for kind in args.kinds.split(",") if kind]
        hostile, good = mutants(home / "hostile", args.count, args.seed, given, kinds), clips(home / "good")
        files = []
        for k, path in enumerate(hostile):
            files.append(path)
            if k % 20 == 0:
                files += good[k // 20 : k // 20 + 1]
        job = Job(home / "out", ExtractConfig(visual="appearance", audio="logmel", fps=2.0))
        job.out.mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        answers = {}
        for path, answer in map_isolated(partial(measured, job=job), files, args.workers, Limits(SILENCE_S, MEMORY_GB)):
            answers[path] = answer
            print(path.name, answer, file=sys.stderr)
        _report(answers, set(good), time.monotonic() - start)


def _report(answers: dict[Path, tuple[str, str, float, float] | AvlocError], good: set[Path], seconds: float) -> None:
    outcomes: dict[str, Counter[str]] = {}
    unexpected = []
    for path, answer in answers.items():
        lost = isinstance(answer, AvlocError)
        status, reason = ("lost", str(answer)) if lost else answer[:2]
        kind = "good file" if path in good else path.stem.rpartition("_")[0]
        outcomes.setdefault(kind, Counter())[status] += 1
        if lost or "our own error" in reason or "\n" in reason or (status == "failed" and (path in good or not reason)):
            unexpected.append(f"{path.name}: {status}: {reason}")
    known = [(path, answer) for path, answer in answers.items() if not isinstance(answer, AvlocError)]
    slow, large = max(known, key=lambda pair: pair[1][2]), max(known, key=lambda pair: pair[1][3])
    for kind, statuses in outcomes.items():
        print(f"{kind:10s}", dict(statuses))
    total = sum(outcomes.values(), Counter())
    facts = {"files": len(answers), "done": total["done"], "refused": total["failed"], "lost": total["lost"]}
    facts |= {"seconds": round(seconds, 1), "slowest_s": round(slow[1][2], 2), "slowest": slow[0].name}
    print(json.dumps({**facts, "largest_mb": round(large[1][3]), "largest": large[0].name}))
    for line in unexpected:
        print("unexpected:", line)
    sys.exit(1 if unexpected else 0)
