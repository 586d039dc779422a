"""Comparisons on the same features: all methods in one table, and whether training collapses."""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from avloc.cli.console import Talk
from avloc.config import parse_overrides
from avloc.paper.cells import DataSet
from avloc.paper.version import code_version
from avloc.presets import PRESETS, RIVALS
from avloc.system.atomic import atomic_write
from avloc.system.text import pluralize
from benchmarks.console import add_command, markdown_table
from benchmarks.quality.models import FUSION, METHODS, Answer, Model, config_of, decoder
from benchmarks.quality.report import Row, markdown, write_all
from benchmarks.quality.run import comparison_options, compute_missing, overrides_of
from benchmarks.quality.sets import GAPS, held_out, open_set, with_gaps

TRIVIAL = ("whole video, true classes", "whole video, predicted classes")
MISSING = "missing tracks"
DECODERS = ("paper's", "ours")
FLOOR = 0.05
RECALLS = ("background recall", "foreground recall")


def add_commands(commands: Any) -> None:
    parser = add_command(commands, table, [comparison_options()], seeds=1, markdown=False)
    names = [*TRIVIAL, *METHODS, *FUSION, MISSING]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of: {', '.join(names)}")
    parser.add_argument("--fusion", action="store_true", help="stages, skips, W and direct instead of the methods")
    parser.add_argument(
        "--held-out", action="store_true", help="measure on every fifth training video, not on the test"
    )
    parser.add_argument("--vary", action="append", default=[], metavar="SETTINGS", help="a variant of every method")
    parser = add_command(commands, collapse, [comparison_options()], seeds=20)
    names = [name for name in PRESETS if not name.startswith(("auto", "paper")) and name not in RIVALS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="PRESET")


def table(args: argparse.Namespace) -> None:
    """Localization quality of all methods on the same features, with significance of the differences.

    A set is a folder in avloc's layout (features/, labels.csv, ground_truth.json, as written by `avloc convert`,
    `avloc demo` and the command `simulated`) or one with features/VIDEO.npz (visual, audio, snippet_s), which is
    converted once. Models are trained on the subset train of labels.csv and measured on its subset test.

    Methods. All have the same data, d_x, steps, learning rate (the options below) and selection. Each is decoded twice:
    by the paper's thresholds and by the `default` preset's decoder.

        whole video, true classes        the labels, from start to end: the trivial baseline
        whole video, predicted classes   every class from start to end, with the video score of the `default` model
        audio only, visual only          the `default` recipe with one modality
        naive fusion, + CL               soft-max over concatenated embeddings, without and with L_pseu (Table 6)
        naive fusion + CL, known         with background in the target of videos without a label only: lower accuracy,
                                         higher mAP (ave10, seed 0: 29.6 and 2.6 %; naive fusion: 34.5 and 0.9 %)
        W-TALC, Tian et al.              their models, losses, batches, decay and background label, otherwise as below
        paper, 0-3 stages                the `paper` preset
        paper, literal                   the `paper-literal` preset
        default                          the `default` preset

    Methods that are not our model start from the `paper` preset with the dropout, background label, batch and decay of
    `default` where they apply (models.SHARED), so that no difference comes from the training setup. Each has the input
    scaling that was best for it on held-out training videos (models.METHODS).
    Tian et al. keep their own background label, with which they are stronger (ave10, seed 0: average mAP 3.6 %, with
    ours 0.8 %).

    --fusion compares instead 0 to 3 stages, no and plain skip connections, one W for all stages, and heads with and
    without each snippet's own embedding (`direct`), in the recipes `default` and `paper`.

    Choosing. --held-out measures on every fifth video of the subset train, which is then not trained on, and never
    reads the test subset. --vary "KEY=VALUE KEY=VALUE" (repeatable) adds a variant of every method.

    Selection. If labels.csv has no validation subset, each run holds out a tenth of its training videos and keeps the
    step that ranks their labels best, as a user's run does; --selection last keeps the last step.

    A part of the table removes one modality: at test time, and from 30 % of the training videos.

    Writes quality.csv, .md and .json to the output folder, with runs and answers, which are reused. --markdown prints
    the page without progress, --report-only computes nothing.
    """
    talk = Talk(quiet=args.markdown)
    tables = {}
    for folder in args.sets:
        data = open_set(folder, args.out)
        data = held_out(data, args.out) if args.held_out else data
        only = args.only or (list(FUSION) if args.fusion else None)
        rows = rows_of(data, args.seeds, overrides_of(args), args.out, only)
        for settings in args.vary:
            overrides = overrides_of(args) | parse_overrides(settings.split())
            varied = rows_of(data, args.seeds, overrides, args.out, only)
            rows += [replace(row, name=f"{row.name} [{settings}]") for row in varied]
        tables[data.name] = rows
    answers = {
        ", ".join(filter(None, (name, row.name, row.decode, f"seed {seed}"))): answer
        for name, rows in tables.items()
        for row in rows
        for seed, answer in enumerate(row.answers)
    }
    failed = [] if args.report_only else compute_missing(answers, args.jobs, talk)
    note = note_of(args, tables)
    print(markdown(tables, note))
    talk.say(f"written: {', '.join(map(str, write_all(tables, args.out, note)))}")
    for line in failed:
        talk.err.print(f"failed: {line}", markup=False, soft_wrap=True)
    sys.exit(1 if failed else 0)


def rows_of(
    data: DataSet, seeds: int, overrides: dict[str, Any], out: Path, only: Sequence[str] | None = None
) -> list[Row]:
    """The rows of one set's table.

    Args:
        only: names of METHODS, FUSION, TRIVIAL and MISSING; None for all but FUSION.
    """
    wanted = set(only) if only is not None else {*METHODS, *TRIVIAL, MISSING}
    known = METHODS | FUSION

    def row(part: str, name: str, method: str, decode: str, where: DataSet = data, without: str = "") -> Row:
        start, changes = known[method]
        models = [Model(where, config_of(start, changes, overrides, seed), out) for seed in range(seeds)]
        options = decoder(decode) if decode else None
        return Row(part, name, decode, tuple(Answer(data, model, options, out, without) for model in models))

    rows = []
    if TRIVIAL[0] in wanted:
        rows.append(Row("no localizer", TRIVIAL[0], "", (Answer(data, None, None, out),)))
    if TRIVIAL[1] in wanted:
        rows.append(row("no localizer", TRIVIAL[1], "default", ""))
    rows += [row("methods", name, name, decode) for decode in DECODERS for name in known if name in wanted]
    if MISSING in wanted:
        present = {row.name for row in rows}
        rows += [r for r in _missing_rows(data, with_gaps(data, out), row) if r.name not in present]
    return rows


def _missing_rows(data: DataSet, gaps: DataSet, row: Callable[..., Row]) -> list[Row]:
    """Modalities removed at test time and from training, each followed by the uni-modal model."""
    rows = []
    for where, trained in ((data, ""), (gaps, ", gaps in training")):
        ours = f"default{trained}"
        if trained:
            rows.append(row(MISSING, ours, "default", "ours", where))
        for gone, alone in (("audio", "visual only"), ("visual", "audio only")):
            rows.append(row(MISSING, f"{ours}, {gone} removed", "default", "ours", where, gone))
            rows.append(row(MISSING, f"{alone}{trained}", alone, "ours", where))
    return rows


def note_of(args: argparse.Namespace, tables: dict[str, list[Row]]) -> str:
    """Settings and columns of the tables, and whether all runs are of the present code."""
    selection = "the preset's selection" if args.selection == "preset" else f"selection {args.selection}"
    settings = [pluralize(args.seeds, "seed"), f"d_x {args.embed_dim}", f"{args.steps} steps"]
    settings += [f"learning rate {args.lr:g}", selection, *args.more]
    note = (
        f"{', '.join(settings)}. Percent, mean ± standard deviation over seeds; differences in points with the 95 % "
        "interval of 2,000 draws of test videos and seeds, * where the interval excludes 0. "
        f'"Gaps in training": {GAPS:.0%} of the training videos lack a modality.\n'
    )
    made_by = {facts.get("code") for rows in tables.values() for row in rows for a in row.answers if (facts := a.facts)}
    if made_by - {None, code_version()}:
        note += "\nSome of these runs were made by other code than the present one; another -o repeats them.\n"
    return note


def collapse(args: argparse.Namespace) -> None:
    """Does training collapse? Many seeds of the presets; exit code 1 when a run does.

    A run has collapsed when less than 5 % of the test's background snippets are classified as background, when less
    than 5 % of its foreground snippets get their class, or when there is a NaN. Sets and options are those of `table`;
    with the same output folder, its runs are reused. Presets keep all their settings but d_x, steps, learning rate and
    validation interval (four validations), which are the same for all: their own (25,000 steps and more) would take
    days. Presets that differ in nothing else share a run. Left out are `paper`, whose readings are known to collapse,
    and `auto`, which derives these settings from the data (`learning-curve` measures it).

    Writes collapse.json to the output folder.
    """
    talk = Talk()
    overrides = {"train.eval_every": max(1, args.steps // 4), **overrides_of(args)}
    runs: dict[str, list[Answer]] = {}
    for folder in args.sets:
        data = open_set(folder, args.out)
        for name in args.only:
            models = [Model(data, config_of(name, {}, overrides, seed), args.out) for seed in range(args.seeds)]
            runs[f"{data.name}, {name}"] = [Answer(data, model, decoder("ours"), args.out) for model in models]
    named = {f"{where}, seed {k}": answer for where, answers in runs.items() for k, answer in enumerate(answers)}
    failed = [] if args.report_only else compute_missing(named, args.jobs, talk)
    head = ["set, preset", "runs", *(f"{name}, lowest / mean" for name in RECALLS), "collapsed"]
    print(markdown_table(head, [_cells(where, answers) for where, answers in runs.items()]))
    bad = [f"{name}: {reason}" for name, answer in named.items() if (reason := _problem(answer))]
    facts = {"collapsed": bad, "scores": {name: a.facts["scores"] for name, a in named.items() if a.facts}}
    atomic_write(args.out / "collapse.json", json.dumps(facts, indent=1) + "\n")
    for line in dict.fromkeys([*failed, *bad]):
        talk.err.print(line, markup=False, soft_wrap=True)
    sys.exit(1 if bad else 0)


def _problem(answer: Answer) -> str:
    """Why a run counts as collapsed; "" when it does not."""
    facts = answer.facts
    if facts is None:
        return "no result"
    scores = facts["scores"]
    if scores.get("finite", 0.0) < 1:
        return "NaN in its activations"
    low = [name for name in RECALLS if scores[name] < FLOOR]  # NaN, where the set has no such snippet, is not below
    return " and ".join(f"{name} {100 * scores[name]:.1f} %" for name in low)


def _cells(where: str, answers: Sequence[Answer]) -> list[str]:
    """Lowest and mean recalls over the seeds, and the number of collapsed runs."""
    found = [facts["scores"] for answer in answers if (facts := answer.facts) is not None]
    cells = [where, str(len(found))]
    for name in RECALLS:
        values = [s[name] for s in found if not math.isnan(s[name])]
        cells.append(f"{100 * min(values):.1f} / {100 * statistics.mean(values):.1f}" if values else "-")
    return [*cells, str(sum(bool(_problem(answer)) for answer in answers))]
