"""avloc evaluate, compare, diagnose: score results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avloc.cli.shared import Json, make_talk
from avloc.errors import ConfigError, first_few
from avloc.system.text import json_text, pluralize

if TYPE_CHECKING:
    from avloc.cli.console import Talk
    from avloc.evaluate.detection import Evaluation
    from avloc.evaluate.further import Further
    from avloc.metrics import Calibration, Diagnosis, Difference, ParsingScores

_USUAL = "activitynet"

Result = Annotated[Path, typer.Argument(help="segments.json or .csv, or a folder from `avloc localize`.")]
Truth = Annotated[Path, typer.Argument(help="ActivityNet JSON, a data set folder, or another tool's file.")]
Subset = Annotated[
    str | None, typer.Option(help="training, validation or testing, comma-separated; that of the detections if absent.")
]
Protocol = Annotated[str, typer.Option(help="activitynet, activitynet-toolkit, opentad, thumos14 or unav.")]
Numbers = Annotated[Path | None, typer.Option("-o", "--out", help="Also write the numbers to this JSON file.")]


def evaluate(
    detections: Result,
    ground_truth: Truth,
    subset: Subset = None,
    protocol: Protocol = _USUAL,
    t_iou: Annotated[str, typer.Option(help="Thresholds as first:last:step; the protocol's if absent.")] = "",
    blocked: Annotated[Path | None, typer.Option(help="Videos to exclude: a JSON list, or one id per line.")] = None,
    ambiguous: Annotated[
        Path | None, typer.Option(help="THUMOS14's list of ambiguous intervals, excluded from scoring.")
    ] = None,
    visual: Annotated[
        Path | None, typer.Option(help="LLP: visual detections; the first argument then holds the audio detections.")
    ] = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="Also print the AP of each class.")] = False,
    metrics: Annotated[
        str, typer.Option(help="Further metrics: events, ov-ave, calibration, comma-separated; or all.")
    ] = "",
    min_score: Annotated[
        float | None, typer.Option(help="Score of a detection to count as an event; the decoder's threshold if absent.")
    ] = None,
    collar_s: Annotated[float, typer.Option(help="Collar on onset and offset for --metrics events.")] = 0.2,
    offset_share: Annotated[
        float, typer.Option(help="Collar on the offset as a share of the event's length, if larger.")
    ] = 0.2,
    sed_scores: Annotated[
        Path | None, typer.Option(help="Write frame scores and events to this folder for sed_scores_eval (PSDS).")
    ] = None,
    out: Numbers = None,
    as_json: Json = False,
) -> None:
    """Score detections against ground truth.

    Prints mAP over t-IoU thresholds beside a trivial baseline; with --visual, LLP's F1 scores.

    avloc evaluate detections ground_truth.json --subset validation
    avloc evaluate detections AVE_Dataset/data --subset validation,testing
    avloc evaluate detections unav100.json --subset test --protocol unav
    avloc evaluate heard.csv LLP/data --visual seen.csv --subset test
    avloc evaluate detections truth.json --metrics events,calibration
    """
    from avloc.evaluate.detection import evaluate_files
    from avloc.evaluate.further import FurtherOptions
    from avloc.evaluate.parsing import evaluate_parsing

    talk = make_talk(as_json)
    if visual is not None and (metrics or sed_scores is not None):
        raise ConfigError("--metrics and --sed-scores are not for LLP (--visual); evaluate each modality by itself")
    if visual is not None:
        notes: list[str] = []
        parsing = evaluate_parsing(detections, visual, ground_truth, subset or "testing", notes=notes)
        _say_parsing(talk, parsing)
        talk.notes(notes)
        _finish(talk, parsing.to_dict(), out)
        return
    thresholds = _thresholds(t_iou) if t_iou else None
    further = FurtherOptions.parse(metrics, min_score=min_score, collar_s=collar_s, offset_share=offset_share)
    if min_score is not None and "events" not in further.names:
        raise ConfigError("--min-score is for --metrics events; mAP needs every detection")
    result = evaluate_files(
        detections, ground_truth, subset, thresholds, protocol, blocked, ambiguous, further, sed_scores
    )
    _say_evaluation(talk, result, per_class)
    if sed_scores is not None:
        talk.say(f"frame scores and events for sed_scores_eval written to {sed_scores}")
    _finish(talk, result.to_dict(), out)
    chosen = (f" --subset {subset}" if subset else "") + (f" --protocol {protocol}" if protocol != _USUAL else "")
    talk.say(f"next: avloc diagnose {detections} {ground_truth}{chosen}")


def compare(
    first: Result,
    second: Annotated[Path, typer.Argument(help="The other result.")],
    ground_truth: Truth,
    subset: Subset = None,
    protocol: Protocol = _USUAL,
    draws: Annotated[int, typer.Option(min=100, help="Bootstrap resamples.")] = 2000,
    out: Numbers = None,
    as_json: Json = False,
) -> None:
    """Compare two results by a paired bootstrap over test videos.

    avloc compare run-a/detections run-b/detections ground_truth.json
    avloc compare a/detections b/detections AVE_Dataset/data --subset testing
    """
    from avloc.cli.console import percent
    from avloc.evaluate.compare import compare_files

    talk = make_talk(as_json)
    result = compare_files(first, second, ground_truth, subset, protocol, draws)
    rows = [
        [name, percent(result.first[name]), percent(result.second[name]), *_gap(gap)]
        for name, gap in result.differences.items()
    ]
    columns = ["percent", "first", "second", "difference", "95 % interval", "p", "significant"]
    talk.table(f"{pluralize(result.videos, 'video')}, {draws} bootstrap resamples", columns, rows)
    talk.notes(result.notes)
    _finish(talk, result.to_dict(), out)


def _gap(gap: Difference) -> list[str]:
    interval = f"{100 * gap.low:+.1f} to {100 * gap.high:+.1f}"
    return [f"{100 * gap.observed:+.1f}", interval, f"{gap.p:.1g}", "yes" if gap.real else "no"]


def diagnose(
    detections: Result,
    ground_truth: Truth,
    subset: Subset = None,
    protocol: Protocol = _USUAL,
    at: Annotated[float, typer.Option("--t-iou", help="t-IoU threshold at which errors are counted.")] = 0.5,
    plot: Annotated[Path | None, typer.Option(help="Also draw a figure: .png, .pdf or .svg.")] = None,
    out: Numbers = None,
    as_json: Json = False,
) -> None:
    """Show where mAP is lost: error types and what each costs.

    Also prints AP by coverage, length and number of instances, and the calibration
    of the scores; --plot adds a reliability diagram.

    avloc diagnose detections ground_truth.json --subset validation
    avloc diagnose detections ground_truth.json --plot diagnosis.png
    """
    from avloc.evaluate.detection import diagnose_files
    from avloc.figures import figure_format

    if plot is not None:
        figure_format(plot.suffix)
    talk = make_talk(as_json)
    result, notes = diagnose_files(detections, ground_truth, subset, protocol, at)
    _say_diagnosis(talk, result)
    talk.notes(notes)
    if plot is not None:
        from avloc.figures import diagnosis_figure, save_figure

        talk.say(f"figure written to {save_figure(diagnosis_figure(result.to_dict()), plot)}")
    _finish(talk, result.to_dict(), out)


def _say_diagnosis(talk: Talk, result: Diagnosis) -> None:
    from avloc.cli.console import percent

    total = max(1, sum(result.counts.values()))
    rows = [
        [kind, str(count), percent(count / total), percent(result.cost[kind]) if kind in result.cost else ""]
        for kind, count in result.counts.items()
    ]
    rows.append(["missed instances", "", percent(result.missed), percent(result.cost["missed"])])
    talk.say(
        f"average mAP {percent(result.average_mean_ap)}; detections in the top 10 G of their class (G: its instances):"
    )
    talk.table(f"at t-IoU {result.at:g}", ["kind", "detections", "percent", "average mAP gain without it"], rows)
    units = {"coverage": "share of the video", "length": "seconds", "instances": "of the class in the video"}
    groups = [
        [
            f"{g.characteristic} {g.name}",
            units[g.characteristic],
            str(g.instances),
            percent(g.mean_ap_n),
            percent(g.missed),
        ]
        for g in result.groups
    ]
    talk.table(
        f"by instance group; AP_N of all instances {percent(result.mean_ap_n)}",
        ["group", "unit", "instances", "AP_N", "missed"],
        groups,
    )
    if result.calibration is None:
        talk.say("no calibration: no detection, or scores outside [0, 1]")
    else:
        _say_calibration(talk, "detections", result.calibration, table=True)


def _finish(talk: Talk, facts: dict[str, Any], out: Path | None) -> None:
    if out is not None:
        from avloc.system.atomic import atomic_write

        atomic_write(out, json_text(facts, indent=1, ensure_ascii=False) + "\n")
        talk.say(f"scores written to {out}")
    talk.summary(facts)


def _say_parsing(talk: Talk, scores: ParsingScores) -> None:
    from avloc.cli.console import percent

    columns = ["F1 in percent", "audio", "visual", "audio-visual", "Type@AV", "Event@AV"]
    levels = (("segment level", scores.segment), ("event level", scores.event))
    talk.table(
        "",
        columns,
        [
            [name, *map(percent, (s.audio, s.visual, s.audio_visual, s.type_average, s.event_average))]
            for name, s in levels
        ],
    )


def _say_evaluation(talk: Talk, result: Evaluation, per_class: bool) -> None:
    from avloc.cli.console import percent

    both = result.scores, result.trivial
    rows = [[f"{t:.2f}", *(percent(scores.mean_ap[k]) for scores in both)] for k, t in enumerate(result.scores.t_iou)]
    rows.append(["average", *(percent(scores.average_mean_ap) for scores in both)])
    talk.table("mAP in percent", ["t-IoU", "detections", "whole video, true class"], rows)
    if per_class:
        shown = sorted({0, len(rows) // 2 - 1, len(rows) - 2})
        talk.table(
            "AP in percent",
            ["class", *(rows[k][0] for k in shown), "average"],
            [
                [label, *(percent(result.scores.ap[k, i]) for k in shown), percent(result.scores.ap[:, i].mean())]
                for i, label in enumerate(result.scores.classes)
            ],
        )
    if result.snippets is not None:
        s, e = result.snippets.snippets, result.snippets.events
        talk.say(
            f"snippets: accuracy {percent(s.accuracy)}, background recall {percent(s.background_recall)}, "
            f"foreground recall {percent(s.foreground_recall)}; event F1 {percent(e.mean_f1)}"
        )
    if result.further is not None:
        _say_further(talk, result.further, per_class)
    talk.notes(result.notes)
    if result.never_found:
        names = first_few(result.never_found, 8)
        talk.say(f"note: {pluralize(len(result.never_found), 'class')} without detections, AP 0: {names}")


def _say_further(talk: Talk, found: Further, per_class: bool) -> None:
    from avloc.cli.console import percent

    if found.events is not None:
        e, o = found.events, found.options
        of = "of all detections" if o.min_score is None else f"of detections scoring at least {o.min_score:g}"
        talk.say(
            f"event F1 {of}, collar {o.collar_s:g} s, offset {100 * o.offset_share:g} % of the length: "
            f"micro {percent(e.micro_f1)}, macro {percent(e.mean_f1)}; "
            f"precision {percent(e.precision)}, recall {percent(e.recall)}"
        )
        if per_class:
            rows = [[c, percent(f)] for c, f in zip(e.classes, e.f1, strict=True)]
            talk.table("event F1 in percent", ["class", "F1"], rows)
    if found.open_vocabulary is not None:
        v = found.open_vocabulary
        talk.say(
            f"OV-AVEBench: accuracy {percent(v.accuracy)}, segment F1 {percent(v.segment_f1)}, "
            f"event F1 {percent(v.event_f1)}; average {percent(v.average)}"
        )
    for what, calibrated in (("detections", found.detections), ("snippets", found.snippets)):
        if calibrated is not None:
            _say_calibration(talk, what, calibrated)


def _say_calibration(talk: Talk, what: str, calibrated: Calibration, table: bool = False) -> None:
    from avloc.cli.console import percent

    bins = f"{len(calibrated.counts)} bins of equal width, {pluralize(int(calibrated.counts.sum()), 'prediction')}"
    talk.say(f"expected calibration error of {what}: {percent(calibrated.error)} ({bins})")
    if table:
        rows = [
            [f"{row['low']:g}-{row['high']:g}", str(row["count"]), percent(row["confidence"]), percent(row["correct"])]
            for row in calibrated.to_dict()["bins"]
            if row["count"]
        ]
        talk.table("reliability", ["score", what, "mean score", "true positives, percent"], rows)


def _thresholds(text: str) -> list[float]:
    import numpy as np

    try:
        first, last, step = (float(part) for part in text.split(":"))
        count = round((last - first) / step) + 1
        return [float(t) for t in np.linspace(first, last, count)]
    except (ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"--t-iou takes first:last:step such as 0.5:0.95:0.05, got {text!r}") from error
