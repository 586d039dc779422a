"""Memory over a long job: `avloc run` on many clips, some of them hostile."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from avloc.config import preset
from avloc.media.encode import write_video
from avloc.workflow import Workflow
from benchmarks.console import add_command, markdown_table
from mutants import mutants

RATE_HZ = 16_000


def add_commands(commands: Any) -> None:
    add_command(commands, soak, clips=300, hostile=15, seconds=6.0, steps=100, visual="auto", audio="auto", seed=0)


def soak(args: Any) -> None:
    """Run `avloc run` on --clips generated clips, of which --hostile are damaged, and print the memory of each step.

    Memory is the resident size of this process and of its workers, in MB, after the first tenth of a step's items, at
    its middle and at its end. --visual and --audio are backbones; AVLOC_CACHE names the folder of their weights.
    """
    with tempfile.TemporaryDirectory() as folder:
        videos = Path(folder) / "videos"
        names = make_clips(videos, args.clips - args.hostile, args.seconds, args.seed)
        mutants(videos, args.hostile, args.seed, [], [])
        labels = Path(folder) / "labels.csv"
        labels.write_text("video,labels\n" + "".join(f"{name},{label}\n" for name, label in names.items()))
        changes = {"train.steps": args.steps, "extract.visual": args.visual, "extract.audio": args.audio}
        job = Workflow([str(videos)], labels, Path(folder) / "out", preset("default", changes))
        job.check()
        rows, began = [], time.monotonic()
        with job.lock():
            for step in (job.extract, job.train, job.localize, job.report):
                rows.append(_watched(step))
            failures = job.finish()
    print(markdown_table(["step", "items", "seconds", "own, first tenth", "middle", "end", "workers, most"], rows))
    facts = {"clips": args.clips, "hostile": args.hostile, "failed": len(failures)}
    print(json.dumps({**facts, "seconds": round(time.monotonic() - began, 1)}))


def make_clips(folder: Path, count: int, seconds: float, seed: int) -> dict[str, str]:
    """{name: label} of clips with a bright square and a tone of one of three kinds in their middle."""
    rng = np.random.default_rng(seed)
    made = {}
    for k in range(count):
        kind, frames = k % 3, rng.integers(0, 60, (round(seconds * 10), 96, 128, 3), dtype=np.uint8)
        audio = rng.normal(0, 0.01, round(seconds * RATE_HZ)).astype(np.float32)
        third = len(frames) // 3
        frames[third : 2 * third, 20:70, 20 + 20 * kind : 70 + 20 * kind, kind] = 220
        span = slice(len(audio) // 3, 2 * len(audio) // 3)
        times_s = np.arange(span.stop - span.start) / RATE_HZ
        audio[span] += 0.3 * np.sin(2 * np.pi * (300, 900, 2700)[kind] * times_s).astype(np.float32)
        name = f"clip{k:04d}"
        write_video(folder / f"{name}.mp4", frames, 10, audio, RATE_HZ)
        made[name] = ("low", "middle", "high")[kind]
    return made


def _watched(step: Any) -> list[object]:
    seen: list[tuple[float, float]] = []
    began = time.monotonic()

    def progress(done: int, total: int, name: str) -> None:
        seen.append(memory_mb())

    step(progress)
    seen.append(memory_mb())
    own, workers = zip(*seen, strict=True)
    at = (own[len(own) // 10], own[len(own) // 2], own[-1])
    seconds = time.monotonic() - began
    return [step.__name__, len(seen) - 1, f"{seconds:.0f}", *(f"{value:.0f}" for value in at), f"{max(workers):.0f}"]


def memory_mb() -> tuple[float, float]:
    """Resident memory of this process, and of all its children together (Linux)."""
    children = Path("/proc/thread-self/children").read_text().split()
    return _resident_mb("self"), sum(map(_resident_mb, children))


def _resident_mb(process: str) -> float:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:  # it has ended
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)
