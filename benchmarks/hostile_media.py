"""Hostile media: how many files, what became of them, what they took.

    python benchmarks/hostile_media.py --count 400 --seed 0 [--clips FOLDER_OF_REAL_CLIPS]

Each file is extracted (appearance at 2 pictures per second, and logmel) and previewed in a isolated process, with good
files among them. Prints what became of them by kind, the slowest, the largest, and every answer that should not be.
Exit code 1 when there is any.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from avloc.config import ExtractConfig
from avloc.errors import AvlocError
from avloc.features.task import Job
from avloc.system.isolate import Limits, map_isolated
from hostile_work import measured
from mutants import clips, mutants

MEMORY_GB, SILENCE_S = 1.0, 30.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clips", type=Path, help="real clips, mutated beside those made here")
    parser.add_argument("--kinds", default="", help="with commas; all if absent")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="write the files there and leave them")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = options.keep or Path(temporary)
        given = sorted(p for p in options.clips.iterdir() if p.stat().st_size < 1 << 20) if options.clips else []
        kinds = [kind for kind in options.kinds.split(",") if kind]
        hostile = mutants(home / "hostile", options.count, options.seed, given, kinds)
        good = clips(home / "good")
        files = [
            path
            for k, path in enumerate(hostile)
            for path in ((path, good[k // 20]) if k % 20 == 0 and k // 20 < len(good) else (path,))
        ]
        job = Job(home / "out", ExtractConfig(fps=2.0))
        job.out.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        limits = Limits(SILENCE_S, MEMORY_GB)
        answers = {}
        for path, answer in map_isolated(partial(measured, job=job), files, options.workers, limits):
            answers[path] = answer
            print(path.name, answer, file=sys.stderr)
        report(answers, set(good), time.monotonic() - began)


def report(answers: dict[Path, tuple[str, str, float, float] | AvlocError], good: set[Path], seconds: float) -> None:
    outcome: Counter[tuple[str, str]] = Counter()
    bad = []
    for path, answer in answers.items():
        lost = isinstance(answer, AvlocError)
        status, reason = ("lost", str(answer)) if lost else answer[:2]
        kind = "good file" if path in good else path.stem.rpartition("_")[0]
        outcome[kind, status] += 1
        if (
            lost
            or "internal error" in reason
            or "\n" in reason
            or (status == "failed" and (path in good or not reason))
        ):
            bad.append(f"{path.name}: {status}: {reason}")
    known = [(path, answer) for path, answer in answers.items() if not isinstance(answer, AvlocError)]
    slow, large = max(known, key=lambda pair: pair[1][2]), max(known, key=lambda pair: pair[1][3])
    for kind in dict.fromkeys(kind for kind, _ in outcome):
        print(f"{kind:10s}", {status: n for (k, status), n in outcome.items() if k == kind})
    facts = {
        "files": len(answers),
        "done": sum(n for (_, status), n in outcome.items() if status == "done"),
        "refused": sum(n for (_, status), n in outcome.items() if status == "failed"),
        "lost": sum(n for (_, status), n in outcome.items() if status == "lost"),
        "seconds": round(seconds, 1),
        "slowest_s": round(slow[1][2], 2),
        "slowest": slow[0].name,
        "largest_mb": round(large[1][3]),
        "largest": large[0].name,
    }
    print(json.dumps(facts))
    for line in bad:
        print("should not be:", line)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
