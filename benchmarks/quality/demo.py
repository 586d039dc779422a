"""The demo's table over several training seeds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from avloc.config import RunConfig, parse_overrides, preset
from avloc.demo.models import MODELS, train_and_score
from benchmarks.console import add_command, markdown_table, mean_sd

COLUMNS = ("mAP@0.5", "average mAP", "accuracy", "background", "foreground", "event F1")


def add_commands(commands: Any) -> None:
    parser = add_command(commands, demo, seeds=5, work=Path("demo-seeds"), preset="demo")
    parser.add_argument("demo", type=Path)
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE")


def demo(args: argparse.Namespace) -> None:
    """The demo's models over several seeds, on features that `avloc demo` has extracted.

    Runs and detections stay in the --work folder; finished ones are reused.
    """
    rows = []
    for name in args.models:
        scores = []
        for seed in range(args.seeds):
            overrides = {**parse_overrides(args.sets), **MODELS[name], "train.seed": seed}
            home = args.work / f"{name.replace(' ', '-')}-{seed}"
            scores.append(_scores(args.demo, home, preset(args.preset, overrides)))
        rows.append([name, *map(mean_sd, zip(*scores, strict=True))])
    print(markdown_table([f"percent, mean ± sd of {args.seeds}", *COLUMNS], rows))


def _scores(folder: Path, home: Path, config: RunConfig) -> tuple[float, ...]:
    """One model's scores in [0, 1], in the order of COLUMNS."""
    result, _ = train_and_score(folder, home, config)
    assert result.snippets is not None
    s = result.snippets.snippets
    detection = result.scores.at(0.5), result.scores.average_mean_ap
    return (*detection, s.accuracy, s.background_recall, s.foreground_recall, result.snippets.events.mean_f1)
