"""avloc evaluate: scores, and what a data set holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avloc.cli.shared import Json, make_talk
from avloc.errors import ConfigError

if TYPE_CHECKING:
    from avloc.console import Talk
    from avloc.evaluation import Evaluation


def evaluate(
    detections: Annotated[Path, typer.Argument(help="segments.json or .csv, or a folder `avloc localize` wrote.")],
    ground_truth: Annotated[Path, typer.Argument(help="ActivityNet JSON.")],
    subset: Annotated[str | None, typer.Option(help="training, validation or testing; all that fit if absent.")] = None,
    t_iou: Annotated[str, typer.Option(help="first:last:step of the thresholds.")] = "0.5:0.95:0.05",
    per_class: Annotated[bool, typer.Option("--per-class", help="Also each class's AP.")] = False,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Also write the scores there, as JSON.")] = None,
    as_json: Json = False,
) -> None:
    """Score detections: mAP over t-IoU thresholds, the trivial baseline beside it.

    avloc evaluate detections ground_truth.json --subset validation
    """
    from avloc.evaluation import evaluate_files

    talk = make_talk(as_json)
    result = evaluate_files(detections, ground_truth, subset, _thresholds(t_iou))
    _say_evaluation(talk, result, per_class)
    if out is not None:
        result.save(out)
        talk.say(f"scores are in {out}")
    talk.summary(result.to_dict())


def _say_evaluation(talk: Talk, result: Evaluation, per_class: bool) -> None:
    from avloc.console import percent

    columns = ["mAP in percent", *(f"{t:.2f}" for t in result.scores.t_iou), "average"]
    rows = [
        [name, *map(percent, scores.mean_ap), percent(scores.average_mean_ap)]
        for name, scores in (("detections", result.scores), ("whole video, true class", result.trivial))
    ]
    if per_class:
        rows += [
            [label, *map(percent, result.scores.ap[:, i]), percent(result.scores.ap[:, i].mean())]
            for i, label in enumerate(result.scores.classes)
        ]
    talk.table("", columns, rows)
    if result.snippets is not None:
        s, e = result.snippets.snippets, result.snippets.events
        talk.say(
            f"snippets: accuracy {percent(s.accuracy)}, background recall {percent(s.background_recall)}, "
            f"foreground recall {percent(s.foreground_recall)}; event F1 {percent(e.mean_f1)}"
        )
    for note in result.notes:
        talk.say(f"note: {note}")
    if result.never_found:
        names = ", ".join(result.never_found[:8]) + (", ..." if len(result.never_found) > 8 else "")
        talk.say(f"note: {len(result.never_found)} classes without a single detection, AP 0: {names}")


def _thresholds(text: str) -> list[float]:
    import numpy as np

    try:
        first, last, step = (float(part) for part in text.split(":"))
        count = round((last - first) / step) + 1
        return [float(t) for t in np.linspace(first, last, count)]
    except (ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"--t-iou takes first:last:step such as 0.5:0.95:0.05, got {text!r}") from error
