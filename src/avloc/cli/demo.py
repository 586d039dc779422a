"""`avloc demo`: render, extract, train four models, localize the test videos, score, draw.

Writes videos/, labels.csv, ground_truth.json, features/, a run and its detections per model, scores.json, and
timelines/ with figures of a few test videos. Finished steps are skipped.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from avloc.cli.console import Talk, percent
from avloc.config import RunConfig, likely_from, preset
from avloc.demo.models import MODELS, train_and_score
from avloc.demo.studio import DemoSet, render
from avloc.evaluate.detection import Evaluation
from avloc.figures import timeline
from avloc.figures.style import require_matplotlib
from avloc.formats.activations import load_activations
from avloc.formats.annotations import read_annotations
from avloc.formats.results import Localized, ResultsFolder
from avloc.media.previews import require_pillow
from avloc.system.atomic import atomic_write
from avloc.system.locks import folder_lock
from avloc.system.text import json_text, pluralize
from avloc.workflow import Workflow

_TIMELINES = 4


@dataclass(frozen=True)
class _Row:
    name: str
    home: Path
    evaluation: Evaluation
    found: dict[str, Localized]


def walk(folder: Path, seed: int, workers: int, talk: Talk) -> None:
    """Run all steps.

    Raises:
        AvlocError: as the steps do. InputError: another process works in the folder, or matplotlib is missing.
    """
    require_matplotlib()
    require_pillow()
    with folder_lock(folder, "the demo"):
        _walk(folder, seed, workers, talk)


def _walk(folder: Path, seed: int, workers: int, talk: Talk) -> None:
    began = time.monotonic()
    data = _render(folder, seed, workers, talk)
    job = Workflow([str(data.videos)], data.labels, folder, preset("demo", {"train.seed": seed}), workers)
    summary = talk.watch("extract", job.extract)
    _say(talk, began, f"extracted {pluralize(len(summary.done), 'video')}, {len(summary.skipped)} already done")
    rows = []
    for name, changes in MODELS.items():
        rows.append(_model(folder, name, preset("demo", {"train.seed": seed, **changes}), talk))
        _say(talk, began, f"trained and localized with {name}")
    _table(talk, rows)
    scores = {row.name: row.evaluation.to_dict() for row in rows}
    atomic_write(folder / "scores.json", json_text(scores, indent=1) + "\n")
    timelines = _timelines(folder, data, rows)
    _say(talk, began, "done")
    talk.say(
        f"timelines: {timelines}   scores: {folder / 'scores.json'}   the paper's method: {folder / '2-stages' / 'run'}"
    )
    talk.say(f"next: avloc localize {folder / '2-stages' / 'run'} YOUR_VIDEO.mp4 -o detections")


def _render(folder: Path, seed: int, workers: int, talk: Talk) -> DemoSet:
    began = time.monotonic()
    with talk.progress("render") as progress:
        data = render(folder, seed, workers, progress=lambda done, total: progress(done, total, ""))
    _say(talk, began, f"rendered the videos in {data.videos}")
    return data


def _model(folder: Path, name: str, config: RunConfig, talk: Talk) -> _Row:
    with talk.progress(name) as progress:
        home = folder / name.replace(" ", "-")
        return _Row(name, home, *train_and_score(folder, home, config, progress))


def _table(talk: Talk, rows: list[_Row]) -> None:
    lines = []
    for row in rows:
        snippets = row.evaluation.snippets
        assert snippets is not None
        lines.append(
            [
                row.name,
                percent(row.evaluation.scores.at(0.5)),
                percent(row.evaluation.scores.average_mean_ap),
                percent(snippets.snippets.accuracy),
                percent(snippets.snippets.background_recall),
                percent(snippets.snippets.foreground_recall),
                percent(snippets.events.mean_f1),
            ]
        )
    trivial = rows[0].evaluation.trivial
    lines.append(["whole video", percent(trivial.at(0.5)), percent(trivial.average_mean_ap), *"----"])
    columns = ["model", "mAP@0.5", "average", "accuracy", "bg recall", "fg recall", "event F1"]
    talk.table("held-out test videos, percent; mAP averaged over t-IoU 0.5:0.05:0.95", columns, lines)


def _timelines(folder: Path, data: DemoSet, rows: list[_Row]) -> Path:
    """Timelines of the test videos with most instances: visual-only beside the paper's method, as in Fig. 3."""
    annotations, _ = read_annotations(data.ground_truth, "validation")
    drawn = [row for row in rows if row.name in ("visual only", "2 stages")]
    shown = [a for a in annotations if all(a.video_id in row.found for row in drawn)]
    homes = {row.name: ResultsFolder(row.home / "detections") for row in drawn}
    timelines = folder / "timelines"
    for annotation in sorted(shown, key=lambda a: -len(a.instances))[:_TIMELINES]:
        video = annotation.video_id
        timeline(
            {name: load_activations(home.activation_file(video)) for name, home in homes.items()},
            {row.name: row.found[video].detections for row in drawn},
            annotation.instances,
            timelines / f"{video}.png",
            lowest=likely_from(preset("demo").localize.decode),
        )
    return timelines


def _say(talk: Talk, began: float, text: str) -> None:
    talk.say(f"[{time.monotonic() - began:6.1f} s] {text}")
