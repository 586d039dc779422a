"""Quality by the share of training videos that a person has corrected, and which videos to correct first."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from avloc.cli.console import Talk
from avloc.config import parse_overrides
from avloc.figures.style import COLOURS, MARKERS, make_figure, plain, save_figure
from avloc.formats.features import FeatureStore
from avloc.paper.cells import DataSet
from avloc.pipeline.localizer import load
from avloc.system.atomic import atomic_write
from avloc.system.text import csv_text
from benchmarks.console import add_command, markdown_table, mean_sd
from benchmarks.quality.acquisition import ORDERS, SUGGESTED
from benchmarks.quality.sets import held_out, open_set
from benchmarks.quality.teaching import Pupil, drawn, first

RANDOM, NOISY, SCRATCH = "random", "random, noisy", "random, without warm start"
METRICS = ("average mAP", "mAP@0.5", "accuracy", "background recall")
SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
NOISY_SHARES = (0.0, 0.05, 0.2, 1.0)
FOLDS = 4

Curve = dict[float, list[Pupil]]


def add_commands(commands: Any) -> None:
    parser = add_command(commands, teach, seeds=5, held_out=False, report_only=False)
    parser.add_argument("--sets", type=Path, nargs="+", required=True, metavar="FOLDER")
    parser.add_argument("-o", "--out", type=Path, default=Path("teach-out"))
    parser.add_argument("--shares", type=float, nargs="+", default=list(SHARES), metavar="SHARE")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[RANDOM, SUGGESTED, NOISY],
        choices=[RANDOM, NOISY, SCRATCH, *ORDERS],
        metavar="NAME",
    )
    parser.add_argument("--set", dest="more", action="append", default=[], metavar="KEY=VALUE", help="for all models")
    parser.add_argument("--warm", action="append", default=[], metavar="KEY=VALUE", help="for the warm starts alone")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the curves")


def teach(args: argparse.Namespace) -> None:
    """Quality by the share of the training videos that are corrected (0 to 1).

    A model is trained on video-level labels with the preset `auto`. For each share, the corrections of that many
    training videos are simulated from ground truth, and the model is trained on from its weights (`--init-from`).
    Everything is measured on the test videos. Share 1 is full supervision. Curves (--only):

        random                       videos in random order
        random, noisy                each boundary 0.5 s off, 5 % of the instances with a wrong class
        random, without warm start   trained from the beginning on labels and corrections
        suggested                    videos in the order of `avloc suggest` of the first model
        entropy, dropout, ...        videos in the order of a measure of the first model (acquisition.ORDERS)

    --held-out measures on a quarter of the training videos, another for each seed, and never reads the test subset.

    Writes teach.md and teach.csv (a line per run) to the output folder.
    """
    torch.set_num_threads(1)
    talk, more, warm = Talk(), parse_overrides(args.more), parse_overrides(args.warm)
    found: dict[str, dict[str, Curve]] = {folder.name: {} for folder in args.sets}
    for seed in range(args.seeds):
        for folder in args.sets:
            data = open_set(folder, args.out)
            data = held_out(data, args.out, FOLDS, seed % FOLDS) if args.held_out else data
            for name, curve in pupils(data, args.out, seed, args.only, args.shares, more, warm).items():
                kept = found[folder.name].setdefault(name, {})
                for share, pupil in curve.items():
                    kept.setdefault(share, [])
                    if args.report_only and not pupil.done:
                        continue
                    scores = pupil.scores()
                    kept[share].append(pupil)
                    talk.say(f"{folder.name}, seed {seed}, {name}, {share:g}: {100 * scores['average mAP']:.1f}")
    page = "\n".join(f"### {name}\n\n{markdown(curves)}" for name, curves in found.items())
    print(page)
    atomic_write(args.out / "teach.md", page)
    atomic_write(args.out / "teach.csv", csv_text(lines_of(found)))
    if args.figure is not None:
        draw(found, args.figure)


def pupils(
    data: DataSet,
    out: Path,
    seed: int,
    names: Sequence[str],
    shares: Sequence[float],
    more: Mapping[str, Any],
    warm: Mapping[str, Any],
) -> dict[str, dict[float, Pupil]]:
    """{curve: {share: model}} of one seed; the first model is trained if an order depends on it.

    Args:
        more: settings of all models. warm: further ones of those that start from the first.
    """
    start = Pupil(data, out, seed, changes=more)
    known = {name: drawn(data, seed) for name in (RANDOM, NOISY, SCRATCH)}
    if set(names) & set(ORDERS):
        start.train()
        localizer, store = load(start.run, "cpu"), FeatureStore(data.features)
        videos_of = [store.load(video) for video in sorted(drawn(data, seed))]
        known |= {name: ORDERS[name](localizer, videos_of) for name in names if name in ORDERS}
    curves: dict[str, dict[float, Pupil]] = {}
    for name in names:
        curves[name] = {}
        for share in shares:
            if name == NOISY and share not in NOISY_SHARES:
                continue
            videos = first(known[name], share)
            base, changes = (None, more) if name == SCRATCH else (start, {**more, **warm})
            taught = Pupil(data, out, seed, videos, base, changes, name == NOISY)
            curves[name][share] = taught if videos else start
    return curves


def values(curve: Curve, share: float, metric: str) -> list[float]:
    return [pupil.scores()[metric] for pupil in curve.get(share, [])]


def markdown(curves: Mapping[str, Curve]) -> str:
    """A table per metric: curves by share; then the part of the gain of full labels, and CPU seconds."""
    shares = sorted({share for curve in curves.values() for share in curve})
    head = [f"{100 * share:g} %" for share in shares]
    parts = []
    for metric in METRICS:
        rows = [[name, *(mean_sd(values(curve, share, metric)) for share in shares)] for name, curve in curves.items()]
        parts.append(markdown_table([f"{metric}, percent", *head], rows))
    for metric in ("average mAP", "accuracy"):
        rows = [[name, *(_gain(curves, curve, share, metric) for share in shares)] for name, curve in curves.items()]
        parts.append(markdown_table([f"part of the gain of full labels, {metric}, percent", *head], rows))
    rows = [[name, *(_seconds(values(curve, share, "cpu_s")) for share in shares)] for name, curve in curves.items()]
    parts.append(markdown_table(["CPU seconds of training, median", *head], rows))
    rows = [[name, *(str(len(curve.get(share, []))) for share in shares)] for name, curve in curves.items()]
    return "\n".join([*parts, markdown_table(["runs", *head], rows)])


def _gain(curves: Mapping[str, Curve], curve: Curve, share: float, metric: str) -> str:
    """(mean - mean at 0) / (mean at 1 - mean at 0); the ends are those of the curve `random`."""
    ends = [values(curves.get(RANDOM, curve), end, metric) for end in (0.0, 1.0)]
    own = values(curve, share, metric)
    if not own or not all(ends):
        return ""
    none, full = map(statistics.mean, ends)
    return f"{100 * (statistics.mean(own) - none) / (full - none):.0f}" if full != none else ""


def _seconds(found: Sequence[float]) -> str:
    return f"{statistics.median(found):.0f}" if found else ""


def lines_of(found: Mapping[str, Mapping[str, Curve]]) -> list[list[str]]:
    """Lines of teach.csv."""
    lines = [["set", "curve", "share", "videos", "seed", *METRICS, "cpu_s"]]
    for folder, curves in found.items():
        for name, curve in curves.items():
            for share, every in curve.items():
                for pupil in every:
                    scores = pupil.scores()
                    row = [folder, name, f"{share:g}", str(len(pupil.videos)), str(pupil.seed)]
                    lines.append([*row, *(f"{scores[m]:.5f}" for m in METRICS), f"{scores['cpu_s']:.1f}"])
    return lines


def draw(found: Mapping[str, Mapping[str, Curve]], path: Path) -> None:
    """Average mAP and accuracy over the share of corrected videos, a panel for each and set; bands are ± 1 s.d."""
    figure = make_figure(7.0, 2.4 * len(found))
    panels = figure.subplots(len(found), 2, squeeze=False)
    for row, (folder, curves) in zip(panels, found.items(), strict=True):
        for axes, metric in zip(row, ("average mAP", "accuracy"), strict=True):
            plain(axes, "y")
            all_shares = sorted({share for curve in curves.values() for share in curve if curve[share]})
            axes.set_xticks(range(len(all_shares)), [f"{100 * share:g}" for share in all_shares])
            for k, (name, curve) in enumerate(curves.items()):
                shares = [share for share in sorted(curve) if curve[share]]
                every = [[100 * v for v in values(curve, share, metric)] for share in shares]
                mean = [statistics.mean(own) for own in every]
                sd = [statistics.stdev(own) if len(own) > 1 else 0.0 for own in every]
                low, high = ([m + sign * s for m, s in zip(mean, sd, strict=True)] for sign in (-1, 1))
                at = [all_shares.index(share) for share in shares]
                axes.plot(at, mean, color=COLOURS[k], marker=MARKERS[k], markersize=4, label=name)
                axes.fill_between(at, low, high, color=COLOURS[k], alpha=0.15, linewidth=0)
            axes.set_title(f"{folder}: {metric}, percent", fontsize=9)
    for axes in panels[-1]:
        axes.set_xlabel("corrected training videos, percent")
    panels[0][0].legend(fontsize=8)
    save_figure(figure, path)
