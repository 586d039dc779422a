"""The demo's table over several training seeds, on features that `avloc demo` has extracted.

    avloc demo demo-out && python benchmarks/demo_seeds.py demo-out --seeds 5

Prints mean and sample standard deviation over seeds; runs and detections stay in the --work folder, finished ones are
reused.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

from avloc.config import parse_overrides, preset
from avloc.demo.models import MODELS, train_and_score

COLUMNS = ("mAP@0.5", "average mAP", "accuracy", "background", "foreground", "event F1")


def scores(demo: Path, work: Path, name: str, seed: int, preset_name: str, overrides: dict[str, object]) -> list[float]:
    """One model, one seed: the demo table's numbers, in percent."""
    home = work / f"{name.replace(' ', '-')}-{seed}"
    settings = preset(preset_name, {**overrides, **MODELS[name], "train.seed": seed})
    result, _ = train_and_score(demo, home, settings)
    assert result.snippets is not None
    s = result.snippets.snippets
    values = [result.scores.at(0.5), result.scores.average_mean_ap, s.accuracy, s.background_recall]
    return [100 * v for v in (*values, s.foreground_recall, result.snippets.events.mean_f1)]


def cell(values: Sequence[float]) -> str:
    """Mean, and what several seeds deviate from it."""
    mean = f"{statistics.mean(values):9.1f}"
    return f"{mean} ± {statistics.stdev(values):4.1f}" if len(values) > 1 else f"{mean:16s}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path("demo-seeds"))
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--set", dest="sets", action="append", default=[])
    arguments = parser.parse_args()
    overrides = parse_overrides(arguments.sets)
    print(f"{'percent, mean ± sd of ' + str(arguments.seeds):28s}" + "".join(f"{c:>16s}" for c in COLUMNS))
    for name in arguments.models:
        rows = [
            scores(arguments.demo, arguments.work, name, seed, arguments.preset, overrides)
            for seed in range(arguments.seeds)
        ]
        print(f"{name:28s}" + "".join(map(cell, zip(*rows, strict=True))), flush=True)


if __name__ == "__main__":
    main()
