"""Detections against ground truth: files in, one report out, with the trivial baseline beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avloc.errors import InputError
from avloc.formats import read_annotation_columns, read_annotations, read_detection_columns, write_whole
from avloc.formats.activations import load_activations
from avloc.localize import snippet_labels
from avloc.metrics import (
    T_IOU_THRESHOLDS,
    EventScores,
    SegmentTable,
    SnippetScores,
    detection_counts,
    detection_scores,
    event_f1,
    rasterise,
    snippet_accuracy,
    whole_video_detections,
)
from avloc.types import ActivationSequence, DetectionScores, VideoAnnotation

__all__ = ["Evaluation", "SnippetEvaluation", "evaluate_files", "evaluate_snippets"]


@dataclass(frozen=True)
class SnippetEvaluation:
    """What the argmax of every snippet is worth (AVE's protocol), with what accuracy alone hides."""

    snippets: SnippetScores
    events: EventScores


@dataclass(frozen=True)
class Evaluation:
    """Scores of a set of detections.

    Args:
        scores: theirs.
        trivial: those of every video's true classes over its whole length; the number to beat.
        snippets: when activations were there to take the argmax of.
        notes: what was odd in either file.
        never_found: classes of the ground truth without a single detection; their AP is 0 and counts.
    """

    scores: DetectionScores
    trivial: DetectionScores
    snippets: SnippetEvaluation | None
    notes: tuple[str, ...]
    never_found: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        result: dict[str, Any] = {
            "average_map": self.scores.average_mean_ap,
            "map": {f"{t:.2f}": float(m) for t, m in zip(self.scores.t_iou, self.scores.mean_ap, strict=True)},
            "ap": {c: self.scores.ap[:, i].tolist() for i, c in enumerate(self.scores.classes)},
            "trivial_average_map": self.trivial.average_mean_ap,
            "trivial_map": {
                f"{t:.2f}": float(m) for t, m in zip(self.trivial.t_iou, self.trivial.mean_ap, strict=True)
            },
            "notes": list(self.notes),
            "never_found": list(self.never_found),
        }
        if self.snippets is not None:
            result["snippet_accuracy"] = self.snippets.snippets.accuracy
            result["background_recall"] = self.snippets.snippets.background_recall
            result["foreground_recall"] = self.snippets.snippets.foreground_recall
            result["event_f1"] = self.snippets.events.mean_f1
        return result

    def save(self, path: Path) -> None:
        """Write `to_dict` as JSON."""
        write_whole(path, json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n")


def evaluate_files(
    detections: Path,
    ground_truth: Path,
    subset: str | None = None,
    t_iou: Sequence[float] = T_IOU_THRESHOLDS,
) -> Evaluation:
    """Evaluate a segments.json or .csv, or a folder that `avloc localize` wrote, against ActivityNet ground truth.

    Args:
        subset: of the ground truth; None takes the videos that the detections are about when some are, else all.

    Raises:
        InputError, FormatError: a file is missing or not what it should be.
    """
    table = _segments_file(detections) if detections.is_dir() else detections
    annotations, report = read_annotations(ground_truth, subset)
    named = _named_videos(detections, table)
    if subset is None and named & {a.video_id for a in annotations}:
        annotations = tuple(a for a in annotations if a.video_id in named)
    ids = [a.video_id for a in annotations]
    found = SegmentTable.from_columns(**read_detection_columns(table, ids))
    chosen = set(ids)
    columns = SegmentTable.from_columns(**read_annotation_columns(ground_truth, subset))
    keep = np.array([video in chosen for video in columns.videos], dtype=bool)
    truth = columns.take(keep[columns.video]) if len(columns) else columns
    scores = detection_scores(found, truth, t_iou)
    trivial = detection_scores(whole_video_detections(annotations), truth, t_iou)
    claimed = {found.labels[i] for i in np.unique(found.label)}
    snippets = None
    if detections.is_dir() and (detections / "scores").is_dir():
        snippets = evaluate_snippets(_activations(detections / "scores", chosen), annotations)
    notes = report.notes() + detection_counts(found, truth).notes()
    return Evaluation(scores, trivial, snippets, notes, tuple(c for c in scores.classes if c not in claimed))


def evaluate_snippets(
    activations: Iterable[ActivationSequence], annotations: Iterable[VideoAnnotation]
) -> SnippetEvaluation | None:
    """Snippet accuracy and event F1 of the videos that both sides have; None when there is none.

    A class of the ground truth that the model does not know gets a column of its own, which nothing can predict.
    """
    truth = {a.video_id: a for a in annotations}
    pairs = [(a, truth[a.video_id]) for a in activations if a.video_id in truth]
    if not pairs:
        return None
    known = pairs[0][0].classes
    classes = known + tuple(sorted({i.label for _, t in pairs for i in t.instances} - set(known)))
    predicted = [snippet_labels(a) for a, _ in pairs]
    true = [rasterise(t, a.grid, classes) for a, t in pairs]
    return SnippetEvaluation(snippet_accuracy(predicted, true, classes), event_f1(predicted, true, classes))


def _segments_file(folder: Path) -> Path:
    for name in ("segments.json", "segments.csv"):
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder}: expected segments.json or segments.csv in it, as `avloc localize` writes them")


def _named_videos(detections: Path, table: Path) -> set[str]:
    """Videos that the detections are about: those with scores, or with a row of their own."""
    if detections.is_dir() and (detections / "scores").is_dir():
        return {path.stem for path in (detections / "scores").glob("*.safetensors")}
    if table.suffix == ".json":
        from avloc.formats import read_detections

        return set(read_detections(table))
    return set()


def _activations(folder: Path, chosen: set[str]) -> list[ActivationSequence]:
    return [load_activations(path) for path in sorted(folder.glob("*.safetensors")) if path.stem in chosen]
