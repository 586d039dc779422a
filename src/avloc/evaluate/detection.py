"""Score files of detections against ground truth, with the trivial baseline beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avloc.datasets.wtalc import read_ambiguous
from avloc.evaluate.protocols import find_protocol, prepare
from avloc.evaluate.reference import Reference, read_blocked, read_reference
from avloc.evaluate.snippets import SnippetEvaluation, evaluate_snippets
from avloc.formats.annotations import SegmentColumns
from avloc.formats.results import Results, find_results
from avloc.metrics import (
    BINS,
    Diagnosis,
    SegmentTable,
    detection_counts,
    detection_scores,
    diagnose,
    whole_video_detections,
)
from avloc.system.atomic import atomic_write
from avloc.types import DetectionScores


@dataclass(frozen=True)
class Evaluation:
    """Scores of a set of detections.

    Args:
        scores: of the detections.
        trivial: of the baseline that detects every video's true classes over its whole length.
        snippets: from the argmax of the activations, if there are any.
        notes: problems found in the files.
        never_found: classes of the ground truth without detections; their AP is 0 and counts.
        protocol: name of the evaluation rules.
    """

    scores: DetectionScores
    trivial: DetectionScores
    snippets: SnippetEvaluation | None
    notes: tuple[str, ...]
    never_found: tuple[str, ...]
    protocol: str = "activitynet"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        result: dict[str, Any] = {
            "protocol": self.protocol,
            "average_map": self.scores.average_mean_ap,
            "map": _by_threshold(self.scores),
            "ap": {c: self.scores.ap[:, i].tolist() for i, c in enumerate(self.scores.classes)},
            "trivial_average_map": self.trivial.average_mean_ap,
            "trivial_map": _by_threshold(self.trivial),
            "notes": list(self.notes),
            "never_found": list(self.never_found),
        }
        if self.snippets is not None:
            result["snippet_accuracy"] = self.snippets.snippets.accuracy
            result["background_recall"] = self.snippets.snippets.background_recall
            result["foreground_recall"] = self.snippets.snippets.foreground_recall
            result["event_f1"] = self.snippets.events.mean_f1
            result["confusion"] = {
                "classes": ["background", *self.snippets.snippets.classes],
                "snippets": self.snippets.snippets.confusion.tolist(),  # row: true, column: predicted
            }
        return result

    def save(self, path: Path) -> None:
        """Write `to_dict` as JSON."""
        atomic_write(path, json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n")


def _by_threshold(scores: DetectionScores) -> dict[str, float]:
    return {f"{t:.2f}": float(m) for t, m in zip(scores.t_iou, scores.mean_ap, strict=True)}


def evaluate_files(
    detections: Path,
    ground_truth: Path,
    subset: str | None = None,
    t_iou: Sequence[float] | None = None,
    protocol: str = "activitynet",
    blocked: Path | None = None,
    ambiguous: Path | None = None,
) -> Evaluation:
    """Evaluate a segments.json or .csv, or a folder written by `avloc localize`, against ground truth.

    Args:
        ground_truth: as `read_reference` reads it.
        subset: of the ground truth, several separated by commas ("validation,testing" is AVE's 804 test). None takes
            the localized videos: those named in JSON, or in the videos.csv and failures.csv beside a table; all videos
            if none is named, and for a .csv alone, which cannot name a video without detections.
        t_iou: thresholds; None takes the protocol's.
        protocol: one of `protocols.PROTOCOLS`.
        blocked: videos to leave out of both sides, as `read_blocked` reads them.
        ambiguous: THUMOS14's list; None takes the data set's own.

    Raises:
        InputError, FormatError: a file is missing or invalid.
    """
    rules = find_protocol(protocol)
    thresholds = rules.t_iou if t_iou is None else tuple(t_iou)
    results = find_results(detections)
    columns, reference, notes = _both_sides(results, ground_truth, subset)
    segments = read_ambiguous(ambiguous) if ambiguous is not None else reference.ambiguous
    gone = set(read_blocked(blocked) if blocked is not None else ())
    found, truth, taken = prepare(SegmentTable.from_columns(**columns), reference.table, rules, gone, segments)
    annotations = [a for a in reference.annotations if a.video_id not in gone]
    scores = detection_scores(found, truth, thresholds, as_toolkit=rules.as_toolkit)
    trivial = detection_scores(whole_video_detections(annotations), truth, thresholds)
    claimed = {found.labels[i] for i in np.unique(found.label)}
    activations = results.activations(set(reference.ids))
    snippets = None if activations is None else evaluate_snippets(activations, annotations)
    notes += [*taken, *detection_counts(found, truth).notes()]
    missed = tuple(c for c in scores.classes if c not in claimed)
    return Evaluation(scores, trivial, snippets, tuple(notes), missed, protocol)


def diagnose_files(
    detections: Path,
    ground_truth: Path,
    subset: str | None = None,
    protocol: str = "activitynet",
    at: float = 0.5,
) -> tuple[Diagnosis, tuple[str, ...]]:
    """Diagnose the errors of detections: see `metrics.diagnosis`. Arguments as in `evaluate_files`.

    Zero-length and repeated instances are left out under every protocol. The thresholds are the protocol's; "thumos14"
    uses DETAD's groups for short instances.

    Returns:
        The diagnosis, and notes on what was left out.
    """
    rules = find_protocol(protocol)
    columns, reference, notes = _both_sides(find_results(detections), ground_truth, subset, table=False)
    truth = reference.table
    found, _, taken = prepare(SegmentTable.from_columns(**columns), truth, rules, (), reference.ambiguous)
    bins = BINS.get(protocol, BINS["activitynet"])
    result = diagnose(found, reference.annotations, rules.t_iou, at, bins)
    return result, (*notes, *taken, *detection_counts(found, truth).notes())


def _both_sides(
    results: Results, ground_truth: Path, subset: str | None, table: bool = True
) -> tuple[SegmentColumns, Reference, list[str]]:
    """Detections, their ground truth, and notes on what was left out."""
    reference = read_reference(ground_truth, subset, table)
    notes = list(reference.notes)
    columns, named = results.columns(reference.ids)
    tried = results.localized(reference.ids)
    named = tuple(dict.fromkeys((*named, *tried)))
    if subset is None and (tried or results.table.suffix != ".csv"):
        reference, note = reference.about(named)
        notes += note
    elif subset is None and len(set(columns["video"])) < len(reference.ids):
        notes.append(
            f"all {len(reference.ids)} videos are scored: a .csv does not tell which were localized; choose with "
            "--subset"
        )
    reference.check_overlap(ground_truth, results.table, named)
    return columns, reference, notes
