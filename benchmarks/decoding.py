"""How long the multi-threshold decoder takes: a validation set's worth of simulated curves, one process, one thread.

    OMP_NUM_THREADS=1 python benchmarks/decoding.py                     # ActivityNet 1.2's validation set: 2,383 videos
    OMP_NUM_THREADS=1 python benchmarks/decoding.py --repeats 3 --set localize.contrast.levels=9

Curves: one or two classes of 100 act in a video, in one to four stretches, over noise; μ follows them, and the other
classes share what is left. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from fractions import Fraction

import numpy as np

from avloc.config import LocalizeConfig, parse_overrides, preset
from avloc.localize import localize, video_scores
from avloc.types import ActivationSequence, SnippetGrid


def simulated(index: int, snippets: int, classes: int) -> ActivationSequence:
    """A video as a middling model would see it."""
    rng = np.random.default_rng(index)
    logits = rng.normal(0, 1, (snippets, classes))
    reliability = rng.normal(-1.5, 0.7, snippets)
    for label in rng.choice(classes, rng.integers(1, 3), replace=False):
        logits[:, label] += 2.5
        for _ in range(rng.integers(1, 5)):
            length = int(rng.integers(4, max(5, snippets // 3)))
            start = int(rng.integers(0, max(1, snippets - length)))
            logits[start : start + length, label] += 3
            reliability[start : start + length] = rng.normal(1.5, 0.7, min(length, snippets - start))
    mu = 1 / (1 + np.exp(-reliability))
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    actions = mu[:, None] * shares / shares.sum(axis=1, keepdims=True)
    probs = np.concatenate([1 - mu[:, None], actions], axis=1)
    step = Fraction(16, 25)
    names = tuple(f"class {c}" for c in range(classes))
    grid = SnippetGrid.cover(step * snippets, step)
    return ActivationSequence(f"v{index}", float(step * snippets), grid, names, probs, video_scores(probs))


def seconds(videos: list[ActivationSequence], options: LocalizeConfig) -> tuple[float, float, float]:
    """Wall and CPU seconds, and detections per video."""
    wall, cpu = time.perf_counter(), time.process_time()
    count = sum(len(localize(video, options)) for video in videos)
    return time.perf_counter() - wall, time.process_time() - cpu, count / len(videos)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=2383)
    parser.add_argument("--snippets", type=int, default=180)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--set", dest="sets", action="append", default=[])
    arguments = parser.parse_args()
    made = [simulated(i, arguments.snippets, arguments.classes) for i in range(arguments.videos)]
    report: dict[str, object] = {k: getattr(arguments, k) for k in ("videos", "snippets", "classes")}
    for name in ("contrast", "actions"):
        options = preset("default", {"localize.decode": name, **parse_overrides(arguments.sets)}).localize
        runs = [seconds(made, options) for _ in range(arguments.repeats)]
        wall, cpu, count = min(runs, key=lambda run: run[1])
        report[name] = {"wall_s": round(wall, 2), "cpu_s": round(cpu, 2), "detections_per_video": round(count, 1)}
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
