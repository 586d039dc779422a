"""Localization quality of every method on the same features: one table, with what of it is more than luck.

    python benchmarks/quality.py --sets ../shared/bench/long ../shared/bench/ave10 -o quality --seeds 5 --jobs 2

A set is a folder in avloc's layout (features/, labels.csv, ground_truth.json, as `avloc convert`, `avloc demo` and
benchmarks/simulated.py leave it) or one with features/VIDEO.npz (visual, audio, snippet_s), which is converted once.
Trained on the subset train of labels.csv, measured on its subset test.

Methods. Each has the same data, d_x, steps, learning rate (the options below) and selection, and is decoded both ways:
by the paper's thresholds and by the `default` preset's decoder.

    whole video, true classes        the labels, from start to end: what a localizer has to beat
    whole video, predicted classes   every class from start to end, with the video score of the `default` model
    audio only, visual only          the `default` recipe with one modality
    naive fusion, + CL               soft-max over concatenated embeddings, without and with L_pseu (Table 6)
    naive fusion + CL, known         the same with background in the target of videos without a label only, which is
                                     weaker in accuracy and stronger in mAP (ave10, seed 0: 29.6 and 2.6 %; 34.5 and
                                     0.9 % of naive fusion)
    W-TALC, Tian et al.              their models, losses, batches, decay and background label, otherwise as below
    paper, 0-3 stages                the `paper` preset
    default                          the `default` preset

Rivals that are not our model start from the `paper` preset with the normalisation, dropout, background label, batch
and decay of `default` where they apply (quality_models.SHARED), so that no difference is one of care. Tian et al. keep
their own background label, with which they are stronger (ave10, seed 0: average mAP 3.6 %, with ours 0.8 %).

Selection. Where labels.csv names no validation subset, each run holds out a tenth of its training videos and keeps the
step at which it ranks their labels best, as a user's run does; --selection last keeps the last step.

A part of the table takes one track away: at test time, and from 30 % of the training videos.

Leaves quality.csv, .md and .json in the output folder, and runs and answers, which are not computed again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avloc.cli.console import Talk
from avloc.paper.cells import DataSet
from quality_models import METHODS, Answer, Model, code, config_of, decoder
from quality_report import (
    MISSING_HEAD,
    Row,
    difference_lines,
    markdown,
    missing_tracks,
    score_lines,
    text_table,
    write_all,
)
from quality_run import add_options, compute_missing, overrides_of
from quality_sets import GAPS, open_set, with_gaps

TRIVIAL = ("whole video, true classes", "whole video, predicted classes")
MISSING = "missing tracks"
DECODERS = ("paper's", "ours")


def rows_of(
    data: DataSet, seeds: int, overrides: dict[str, Any], out: Path, only: Sequence[str] | None = None
) -> list[Row]:
    """The lines of one set's table.

    Args:
        only: names of METHODS, TRIVIAL and MISSING; None for all.
    """
    wanted = set(only) if only is not None else {*METHODS, *TRIVIAL, MISSING}

    def models(name: str, where: DataSet = data) -> list[Model]:
        start, changes = METHODS[name]
        return [Model(where, config_of(start, changes, overrides, seed), out) for seed in range(seeds)]

    def row(part: str, name: str, decode: str, found: Sequence[Model], without: str = "") -> Row:
        options = decoder(decode) if decode else None
        return Row(part, name, decode, tuple(Answer(data, model, options, out, without) for model in found))

    rows = []
    if TRIVIAL[0] in wanted:
        rows.append(Row("no localizer", TRIVIAL[0], "", (Answer(data, None, None, out),)))
    if TRIVIAL[1] in wanted:
        rows.append(row("no localizer", TRIVIAL[1], "", models("default")))
    rows += [row("methods", name, decode, models(name)) for decode in DECODERS for name in METHODS if name in wanted]
    if MISSING in wanted:
        there = {row.name for row in rows}
        rows += [r for r in _missing_rows(data, with_gaps(data, out), models, row) if r.name not in there]
    return rows


def _missing_rows(data: DataSet, gaps: DataSet, models: Any, row: Any) -> list[Row]:
    """Tracks taken away at test time, and from training; the uni-modal models beside them."""
    rows = []
    for where, trained in ((data, ""), (gaps, ", gaps in training")):
        ours = models("default", where)
        if trained:
            rows.append(row(MISSING, f"default{trained}", "ours", ours))
        for gone, alone in (("audio", "visual only"), ("visual", "audio only")):
            rows.append(row(MISSING, f"default{trained}, {gone} removed", "ours", ours, gone))
            rows.append(row(MISSING, f"{alone}{trained}", "ours", models(alone, where)))
    return rows


def _said(talk: Talk, name: str, rows: Sequence[Row]) -> None:
    for title, (head, lines) in {
        f"{name}: percent, mean ± standard deviation over seeds": score_lines(rows),
        f"{name}: difference in points, 95 % interval over draws of test videos and seeds": difference_lines(rows),
        f"{name}: a track is gone": (MISSING_HEAD, missing_tracks(rows)),
    }.items():
        if lines:
            talk.say(f"\n{title}\n{text_table(head, lines)}")


def _note(given: argparse.Namespace, tables: dict[str, list[Row]]) -> str:
    """What the numbers are of, and whether all are of the code that is here."""
    selection = "the preset's selection" if given.selection == "preset" else f"selection {given.selection}"
    note = f"{given.seeds} seed{'s' * (given.seeds > 1)}, d_x {given.embed_dim}, {given.steps} steps, "
    note += f"learning rate {given.lr:g}, {selection}"
    note += f"{', ' if given.more else ''}{', '.join(given.more)}. Percent, mean ± standard deviation over seeds;"
    note += (
        " differences in points with the 95 % interval of 2,000 draws of test videos and seeds, * where 0 is outside"
    )
    note += f' it. "Gaps in training": {GAPS:.0%} of the training videos lack a track.\n'
    made = {facts.get("code") for rows in tables.values() for row in rows for a in row.answers if (facts := a.facts)}
    if made - {None, code()}:
        note += "\nSome of these runs were made by other code than is here now; another -o makes them anew.\n"
    return note


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--seeds", type=int, default=1)
    names = [*TRIVIAL, *METHODS, MISSING]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of: {', '.join(names)}")
    parser.add_argument("--markdown", action="store_true", help="print the page for docs/ instead of tables")
    given = parser.parse_args()
    talk = Talk(quiet=given.markdown)
    tables = {}
    for folder in given.sets:
        data = open_set(folder, given.out)
        tables[data.name] = rows_of(data, given.seeds, overrides_of(given), given.out, given.only)
    answers = {
        ", ".join(filter(None, (name, row.name, row.decode, f"seed {seed}"))): answer
        for name, rows in tables.items()
        for row in rows
        for seed, answer in enumerate(row.answers)
    }
    failed = [] if given.report_only else compute_missing(answers, given.jobs, talk)
    note = _note(given, tables)
    for name, rows in tables.items():
        _said(talk, name, rows)
    if given.markdown:
        print(markdown(tables, note))
    talk.say(note)
    talk.say(f"written: {', '.join(map(str, write_all(tables, given.out, note)))}")
    for sentence in failed:
        talk.err.print(f"failed: {sentence}", markup=False, soft_wrap=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
