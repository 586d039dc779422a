"""The learning curve: quality by the number of labelled videos per class."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from avloc.cli.console import Talk
from avloc.config import RunConfig, parse_overrides, settings_for
from avloc.formats.features import FeatureStore
from avloc.formats.labels import LabelRow, LabelTable, read_labels, write_labels
from avloc.paper.cells import DataSet
from avloc.system.atomic import atomic_write
from avloc.system.text import csv_text, fingerprint
from avloc.tagging.heads import tagged_senses
from benchmarks.console import add_command, markdown_table, mean_sd
from benchmarks.quality.models import METHODS, Answer, Model, config_of, decoder
from benchmarks.quality.run import compute_missing
from benchmarks.quality.sets import held_out, made, open_set

_SMALL = {"model.embed_dim": 128, "train.steps": 400, "train.learning_rate": 1e-3, "train.batch_size": 16}
_DECAY = {**_SMALL, "train.weight_decay": 0.01}
CANDIDATES: dict[str, dict[str, Any]] = {
    "128": _SMALL,
    "128, decay": _DECAY,
    "256, decay": {**_DECAY, "model.embed_dim": 256},
    "128, decay, 150 steps": {**_DECAY, "train.steps": 150},
    "128, decay, 1200 steps": {**_DECAY, "train.steps": 1200},
    "128, decay, no hold-out": {**_DECAY, "train.holdout": 0.0},
    "128, decay, dropout 0.7": {**_DECAY, "model.dropout": 0.7},
    "256, decay, 1200 steps": {**_DECAY, "model.embed_dim": 256, "train.steps": 1200},
    "512, decay": {**_DECAY, "model.embed_dim": 512},
}
"""Settings for small sets, as changes to the preset `default`. The name starts with d_x."""

AUTO = "auto"
NAIVE = "naive fusion + CL"
WHOLE = "whole video, predicted classes"
CURVES = (AUTO, "default", *CANDIDATES, NAIVE, WHOLE)
ALL = "all"
FOLDS = 5
METRICS = ("average mAP", "average mAP 0.1:0.7", "mAP@0.5", "accuracy", "background recall")


def add_commands(commands: Any) -> None:
    parser = add_command(commands, learning_curve, draws=5, seeds=2, jobs=1, report_only=False)
    parser.add_argument("--sets", type=Path, nargs="+", required=True, metavar="FOLDER")
    parser.add_argument("-o", "--out", type=Path, default=Path("curve-out"))
    parser.add_argument("--counts", nargs="+", type=_count, default=[1, 2, 4, 8, 16, None], metavar="N")
    parser.add_argument("--only", nargs="+", choices=CURVES, default=list(CURVES), metavar="NAME")
    parser.add_argument("--held-out", action="store_true", help="draw and measure within the training videos")
    parser.add_argument(
        "--alike",
        type=int,
        nargs="?",
        const=1,
        default=0,
        metavar="K",
        help="draw k on fold k of 5 folds of videos that resemble each other along the K-th principal component",
    )
    parser.add_argument("--set", dest="more", action="append", default=[], metavar="KEY=VALUE", help="for all methods")


def learning_curve(args: argparse.Namespace) -> None:
    """Quality by the number of labelled videos per class: how many clips does a class need?

    For each number N (--counts; `all` for every training video) and draw, videos are taken from the shuffled training
    videos until every class has N; background videos are drawn in proportion. A model is trained for each draw and
    seed, and measured on the test videos with the `default` preset's decoder. Sets and reuse are those of `table`.

        auto                             the `auto` preset: settings by the number of videos
        default                          the `default` preset: minutes to half an hour per run
        128, ..., 256, ..., 512, decay   CANDIDATES: the settings from which those of `auto` were chosen
        naive fusion + CL                as in `table`, with the settings of `auto`
        whole video, predicted classes   every class from start to end, scored by the model of `auto`

    --held-out measures on every fifth training video, draws from the others, and never reads the test subset. So does
    --alike, on folds that hold videos unlike those trained on: draw k, or seed k of all videos, on fold k of 5.

    Writes curve.md and curve.csv (a line per run) to the output folder.
    """
    talk = Talk()
    curves = {name: curves_of(args, name) for name in map(str, args.sets)}
    answers = {
        f"{Path(name).name}, {method}, {count}, {k}": answer
        for name, methods in curves.items()
        for method, points in methods.items()
        for count, runs in points.items()
        for k, answer in enumerate(runs)
    }
    failed = [] if args.report_only else compute_missing(answers, args.jobs, talk)
    page = "\n".join(f"### {Path(name).name}\n\n{markdown(methods)}" for name, methods in curves.items())
    print(page)
    atomic_write(args.out / "curve.md", page)
    atomic_write(args.out / "curve.csv", csv_text(lines_of(answers)))
    for line in failed:
        talk.err.print(f"failed: {line}", markup=False, soft_wrap=True)
    sys.exit(1 if failed else 0)


Points = dict[str, list[Answer]]


def curves_of(args: argparse.Namespace, folder: str) -> dict[str, Points]:
    """{method: {number of videos per class: answers, one per draw and seed}} of one set."""
    data = open_set(Path(folder), args.out)
    data = held_out(data, args.out) if args.held_out else data
    folds = [data]
    if args.alike:
        folds = [held_out(data, args.out, FOLDS, fold, True, args.alike) for fold in range(FOLDS)]
    more = parse_overrides(args.more)
    curves: dict[str, Points] = {name: {} for name in args.only}
    for count in args.counts:
        draws = range(1 if count is None else args.draws)
        runs = [(draw, seed) for draw in draws for seed in range(args.seeds)]
        where = [folds[(seed if count is None else draw) % len(folds)] for draw, seed in runs]
        parts = [drawn(fold, args.out, count, draw) for fold, (draw, _) in zip(where, runs, strict=True)]
        for name, points in curves.items():
            options = None if name == WHOLE else decoder("ours")
            points[ALL if count is None else str(count)] = [
                Answer(fold, Model(part, config_on(name, part, more, seed), args.out), options, args.out)
                for fold, part, (_, seed) in zip(where, parts, runs, strict=True)
            ]
    return curves


def config_on(method: str, data: DataSet, more: Mapping[str, Any], seed: int) -> RunConfig:
    """The configuration of one of CURVES on a set."""
    start, changes = METHODS[NAIVE if method == NAIVE else "default"]
    if method in (AUTO, NAIVE, WHOLE):
        changes = {**changes, **settings_for(len(read_labels(data.labels).subset("train")))}
        if not tagged_senses(_backbones(data)):
            changes["localize.words_weight"] = 0.0  # as the preset has it on such features
    return config_of(start, {**changes, **CANDIDATES.get(method, {})}, more, seed)


def _backbones(data: DataSet) -> dict[str, str]:
    """{"audio": name, "visual": name} of the features; "" where files differ."""
    made = FeatureStore(data.features).describe()
    return {"audio": made.audio_source, "visual": made.visual_source}


def drawn(data: DataSet, out: Path, count: int | None, draw: int) -> DataSet:
    """The set with `count` training videos per class, all if None; the other videos are unchanged.

    Kept in OUT/sets with the same feature files.
    """
    if count is None:
        return data
    table = read_labels(data.labels)
    rows = take(table.subset("train"), count, draw) + [row for row in table.rows if row.subset != "train"]
    home = made(data, out, f"{count}-{draw}")
    if not (home / "features").exists():
        write_labels(home / "labels.csv", LabelTable(tuple(rows)))
        atomic_write(home / "ground_truth.json", (data.folder / "ground_truth.json").read_text(encoding="utf-8"))
        (home / "features").symlink_to(data.features.resolve(), target_is_directory=True)
    return replace(data, folder=home, fingerprint=fingerprint([data.fingerprint, [row.video_id for row in rows]]))


def take(rows: Sequence[LabelRow], count: int, draw: int) -> list[LabelRow]:
    """Shuffled rows, taken while one of their classes has fewer than `count`; background videos in proportion."""
    order = [rows[k] for k in np.random.default_rng(draw).permutation(len(rows))]
    background = [row for row in order if not row.labels]
    left = dict.fromkeys((label for row in rows for label in row.labels), count)
    taken = []
    for row in order:
        if any(left[label] > 0 for label in row.labels):
            taken.append(row)
            left |= {label: left[label] - 1 for label in row.labels}
    share = len(background) / (len(rows) - len(background))
    return taken + background[: round(share * len(taken))]


def markdown(methods: Mapping[str, Points]) -> str:
    """A table of each metric: methods by number of videos per class. Then videos and CPU seconds per run."""
    counts = list(next(iter(methods.values())))
    parts = []
    for metric in METRICS:
        rows = [[name, *(mean_sd(_scores(points[n], metric)) for n in counts)] for name, points in methods.items()]
        parts.append(markdown_table([f"{metric}, percent", *counts], rows))
    rows = [[name, *(_cpu(points[n]) for n in counts)] for name, points in methods.items()]
    rows.append(["runs", *(str(max(len(_scores(p[n], METRICS[0])) for p in methods.values())) for n in counts)])
    return "\n".join([*parts, markdown_table(["CPU seconds of training, median", *counts], rows)])


def _scores(answers: Sequence[Answer], metric: str) -> list[float]:
    return [facts["scores"][metric] for answer in answers if (facts := answer.facts) is not None]


def _cpu(answers: Sequence[Answer]) -> str:
    found = [facts["cpu_s"] for answer in answers if (facts := answer.facts) is not None]
    return f"{statistics.median(found):.0f}" if found else ""


def lines_of(answers: Mapping[str, Answer]) -> list[list[str]]:
    """Lines of curve.csv."""
    lines = [["run", "training videos", *METRICS, "cpu_s"]]
    for name, answer in answers.items():
        if (facts := answer.facts) is not None and answer.model is not None:
            videos = len(read_labels(answer.model.data.labels).subset("train"))
            lines.append([name, str(videos), *(f"{facts['scores'][m]:.5f}" for m in METRICS), f"{facts['cpu_s']:.1f}"])
    return lines


def _count(text: str) -> int | None:
    """A number of videos, or None for `all`."""
    return None if text == ALL else int(text)
