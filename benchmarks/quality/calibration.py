"""The decoder's constants, chosen on training videos; and its scores on the test videos."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from avloc.config import LocalizeConfig, preset
from avloc.metrics import SegmentTable, draw_videos, paired_difference, resampled_mean_ap, resampled_ratio
from avloc.system.atomic import atomic_write
from benchmarks.console import add_command, markdown_table, mean_sd
from benchmarks.quality import scores
from benchmarks.quality.folds import Condition, Decoder, Found, few_clips, out_of_fold, test_videos
from benchmarks.quality.models import AVERAGES, DRAWS, T_IOU, decoder
from benchmarks.quality.run import comparison_options, overrides_of
from benchmarks.quality.scores import Judged
from benchmarks.quality.whole_video import REFERENCES, Form, forms

SHORTLIST = 1.5
PARTS = ("whole", "settings", "scores", "test")
RAW: dict[str, Any] = {"calibration_slope": 1.0, "calibration_offset": 0.0, "min_probability": 0.1}
"""Scores before calibration. Below 0.1 no detection is reported after it."""

SETTINGS: dict[str, tuple[float, ...]] = {
    "outside_margin": (0.3, 0.5, 0.7),
    "outer_margin": (0.25, 0.4, 0.5, 0.6),
    "full_video_margin": (0.3, 0.5, 0.7),
    "short_video_bonus": (4.0, 8.0, 12.0, 16.0),
    "full_video_drop": (0.5, 0.7, 1.0),
    "levels": (3, 5, 9),
    "smooth_passes": (0, 1, 2),
    "video_weight": (0.0, 0.1),
    "class_share": (0.05, 0.1, 0.2, 0.5),
    "min_classes": (1, 2, 3),
    "contrast_slope": (4.0, 8.0, 16.0),
    "contrast_middle": (0.1, 0.2, 0.3),
    "nms_sigma": (0.2, 0.3, 0.5),
}


def add_commands(commands: Any) -> None:
    parser = add_command(commands, calibration, [comparison_options()], seeds=3, folds=4)
    parser.add_argument("--kinds", nargs="*", choices=["mixed", "alike"], default=["mixed", "alike"])
    parser.add_argument(
        "--counts", nargs="+", type=int, default=[], metavar="N", help="also models of N videos per class"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS[:3]))


def calibration(args: argparse.Namespace) -> None:
    """The constants of the `contrast` decoder, chosen and fitted on training videos only.

    Every training video is decoded from models that were trained on the other folds. Folds are mixed (every n-th video)
    or alike (videos that resemble each other; a substitute for new sources). Boundaries of training videos are used.
    The protocol is in docs/decisions.md, Decoding. --parts:

        whole      forms of the evidence for a whole video: average mAP, and agreement of the strongest detection of
                   each true class with its instances, where they cover less than 80 % of the video, and where more
        settings   one setting changed at a time: average mAP
        scores     Platt's two constants, their quality out of sample, and precision and recall of classes by score;
                   on the alike folds
        test       the test videos, with both decoders and the former rule for whole videos. Choose nothing on these.

    Models and activations are kept in the output folder, and shared with `table` at the same options.
    """
    torch.set_num_threads(1)
    overrides = overrides_of(args)
    chosen = [
        out_of_fold(folder, args.out, overrides, args.seeds, args.folds, kind == "alike")
        for folder in args.sets
        for kind in args.kinds
        if args.parts != ["test"]
    ]
    chosen += [few_clips(folder, args.out, count, args.folds) for count in args.counts for folder in args.sets]
    alike = [condition for condition in chosen if condition.name.endswith("alike")]
    options = decoder("ours")
    if "whole" in args.parts:
        print(whole(chosen, options))
    if "settings" in args.parts:
        print(settings(alike or chosen, options))
    if "scores" in args.parts:
        slope, offset, text = calibrate(alike or chosen, options)
        facts = {"calibration_slope": slope, "calibration_offset": offset}
        atomic_write(args.out / "calibration.json", json.dumps(facts) + "\n")
        print(text)
    if "test" in args.parts:
        print(test([test_videos(folder, args.out, overrides, args.seeds) for folder in args.sets], options))


def whole(conditions: Sequence[Condition], options: LocalizeConfig) -> str:
    """The forms by their balanced agreement, averaged over the conditions that have full videos.

    Forms more than SHORTLIST points below the best on the first seed of the first such condition are left out.
    """
    with_full = [condition for condition in conditions if condition.full.any()]
    shown = list(forms())
    if with_full:
        first = replace(with_full[0], seeds=with_full[0].seeds[:1])
        quick = {form: _balanced(first, first.decode(options, form.decode)) for form in shown}
        shown = [f for f in shown if f.kind in REFERENCES or quick[f] >= max(quick.values()) - SHORTLIST]
    rows: list[tuple[float, list[object]]] = []
    for form in shown:
        cells: list[object] = []
        balanced = []
        for condition in conditions:
            found = condition.decode(options, form.decode)
            cells.append(mean_sd(condition.average_map(found).tolist()))
            if condition in with_full:
                cells += [f"{value:.1f}" for value in _agreements(condition, found)]
                balanced.append(_balanced(condition, found))
        mean = scores.mean(np.array(balanced))
        rows.append((mean, [form.name, form.constants, f"{mean:.1f}", *cells]))
    head = ["form", "constants", "balanced"]
    for condition in conditions:
        head += [f"{condition.name}: mAP", *(["full", "partial"] if condition in with_full else [])]
    return markdown_table(head, [cells for _, cells in sorted(rows, key=lambda row: -row[0])])


def _balanced(condition: Condition, found: Sequence[Found]) -> float:
    return sum(_agreements(condition, found)) / 2


def _agreements(condition: Condition, found: Sequence[Found]) -> tuple[float, float]:
    """Mean agreement in percent over full and over partial pairs; NaN without one."""
    values = 100 * condition.agreement(found).mean(axis=0)
    full, partial = values[condition.full], values[~condition.full]
    return scores.mean(full), scores.mean(partial)


def settings(conditions: Sequence[Condition], options: LocalizeConfig) -> str:
    """Average mAP with one setting changed at a time; the present value is in bold."""
    rows = []
    for key, value, changed in _changed(options):
        present = value == getattr(options.contrast, key)
        name = f"**`{key}` {value:g}**" if present else f"`{key}` {value:g}"
        rows.append([name, *(mean_sd(c.average_map(c.decode(changed)).tolist()) for c in conditions)])
    return markdown_table(["setting", *(condition.name for condition in conditions)], rows)


def _changed(options: LocalizeConfig) -> Iterator[tuple[str, float, LocalizeConfig]]:
    for key, values in SETTINGS.items():
        for value in values:
            yield key, value, with_contrast(options, {key: value})


def with_contrast(options: LocalizeConfig, changes: Mapping[str, Any]) -> LocalizeConfig:
    """The options with settings of `localize.contrast` changed."""
    return options.model_copy(update={"contrast": options.contrast.model_copy(update=dict(changes))})


def judged(condition: Condition, options: LocalizeConfig) -> Judged:
    """Uncalibrated scores of a condition."""
    found = condition.decode(with_contrast(options, RAW))
    return Judged(*condition.judged(found), *condition.strongest(found))


def calibrate(conditions: Sequence[Condition], options: LocalizeConfig) -> tuple[float, float, str]:
    """Platt's constants, fitted on the conditions with equal weights, and tables of their quality."""
    raw = {condition.name: judged(condition, options) for condition in conditions}
    slope, offset = scores.fit(list(raw.values()))
    text = f"calibration_slope {slope:.3f}, calibration_offset {offset:.3f}\n\n"
    rows: list[list[object]] = [
        ["all", name, *_quality(scores.quality(one, slope, offset))] for name, one in raw.items()
    ]
    if len(raw) > 1:
        for name, kinds in scores.out_of_sample(raw).items():
            rows += [[f"others, {kind}", name, *_quality(q)] for kind, q in kinds.items()]
    text += markdown_table(["fitted on", "measured on", *QUALITY], rows) + "\n"
    return slope, offset, text + classes_table(raw, slope, offset)


QUALITY = ("log loss", "calibration error", "scored 0.7 and more: predicted", "observed", "detections")


def _quality(q: Mapping[str, float]) -> list[str]:
    values = (f"{q[key]:.3f}" for key in ("log loss", "error"))
    return [*values, f"{q['predicted']:.2f}", f"{q['observed']:.2f}", f"{q['strong']:.0f}"]


def classes_table(raw: Mapping[str, Judged], slope: float, offset: float) -> str:
    """Precision, recall and F1 of the classes found, by score."""
    rows = []
    for name, one in raw.items():
        found = scores.found_classes(one, slope, offset)
        rows.append([name, *(" / ".join(f"{value:.2f}" for value in found[t]) for t in scores.THRESHOLDS)])
    return markdown_table(["precision / recall / F1 of classes", *map(str, scores.THRESHOLDS)], rows)


def test(conditions: Sequence[Condition], options: LocalizeConfig) -> str:
    """Scores of the test videos; differences from the present rule, paired by video and seed."""
    former = Form("present")
    decoders: dict[str, tuple[Decoder | None, LocalizeConfig]] = {
        "ours": (None, options),
        "ours, former rule for whole videos": (former.decode, options),
        "ours, no bonus": (None, with_contrast(options, {"short_video_bonus": 0.0})),
        "paper's": (None, preset("paper").localize),
    }
    rows: list[list[object]] = []
    for condition in conditions:
        first: dict[str, np.ndarray] = {}
        for name, (decode, own) in decoders.items():
            found = condition.decode(own, decode) if decode else condition.decode(own)
            draws = _draws(condition, found)
            first = first or draws
            full, partial = _agreements(condition, found)
            cells = [
                condition.name,
                name,
                mean_sd(condition.average_map(found).tolist()),
                f"{full:.1f}",
                f"{partial:.1f}",
            ]
            rows.append([*cells, *(_difference(first[key], draws[key]) for key in draws)])
    heads = ["set", "decoder", "average mAP", "full", "partial"]
    table = markdown_table([*heads, "mAP of ours minus it", "full", "partial"], rows)
    raw = {condition.name: judged(condition, options) for condition in conditions}
    slope, offset = options.contrast.calibration_slope, options.contrast.calibration_offset
    quality = [[name, *_quality(scores.quality(one, slope, offset))] for name, one in raw.items()]
    return f"{table}\n{markdown_table(['scores of', *QUALITY], quality)}\n{classes_table(raw, slope, offset)}"


def _draws(condition: Condition, found: Sequence[Found]) -> dict[str, np.ndarray]:
    """Average mAP and both agreements for bootstrap draws of videos, (seeds, 1 + DRAWS) each."""
    names = [truth.video_id for truth in condition.truths]
    times = draw_videos(len(names), DRAWS)
    which = AVERAGES["average mAP"]
    tables = [SegmentTable.from_detections(one) for one in found]
    average = [
        resampled_mean_ap(t, condition.truths, names, times, np.array(T_IOU)[which]).mean(axis=1) for t in tables
    ]
    owner = np.array([names.index(truth.video_id) for truth, _ in condition.pairs])
    agreement, result = condition.agreement(found), {"mAP": np.stack(average)}
    for name, at in (("full", condition.full), ("partial", ~condition.full)):
        if at.any():
            count = np.bincount(owner[at], minlength=len(names))
            sums = [np.bincount(owner[at], one[at], minlength=len(names)) for one in agreement]
            result[name] = np.stack([resampled_ratio(one, count, times) for one in sums])
    return result


def _difference(ours: np.ndarray, other: np.ndarray) -> str:
    """In points, with the 95 % interval."""
    if ours is other:
        return ""
    d = paired_difference(ours, other)
    return f"{100 * d.observed:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}]{'*' if d.real else ''}"
