"""Score files of detections against ground truth, with the trivial baseline beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from avloc.datasets.wtalc import read_ambiguous
from avloc.errors import InputError
from avloc.evaluate.further import Further, FurtherOptions, evaluate_further
from avloc.evaluate.protocols import find_protocol, prepare
from avloc.evaluate.reference import (
    Reference,
    missing_note,
    read_blocked,
    read_reference,
    scored_part,
    without_others,
)
from avloc.evaluate.snippets import SnippetEvaluation, evaluate_snippets
from avloc.formats.results import Results, find_results
from avloc.interchange.sed_scores import write_sed_scores
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
from avloc.system.text import json_text, pluralize
from avloc.types import DetectionScores, Short


@dataclass(frozen=True, repr=False)
class Evaluation(Short):
    """Scores of a set of detections.

    Args:
        scores: of the detections.
        trivial: of the baseline that detects every video's true classes over its whole length.
        snippets: from the argmax of the activations, if there are any.
        notes: problems found in the files.
        never_found: classes of the ground truth without detections; their AP is 0 and counts.
        protocol: name of the evaluation rules.
        subsets, videos: names of the subsets that were scored, and the number of their videos.
        further: metrics on request.
    """

    scores: DetectionScores
    trivial: DetectionScores
    snippets: SnippetEvaluation | None
    notes: tuple[str, ...]
    never_found: tuple[str, ...]
    protocol: str = "activitynet"
    subsets: tuple[str, ...] = ()
    videos: int = 0
    further: Further | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        result: dict[str, Any] = {
            "protocol": self.protocol,
            "subsets": list(self.subsets),
            "videos": self.videos,
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
        return result | (self.further.to_dict() if self.further is not None else {})

    def save(self, path: Path) -> None:
        """Write `to_dict` as JSON."""
        atomic_write(path, json_text(self.to_dict(), indent=1, ensure_ascii=False) + "\n")


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
    further: FurtherOptions | None = None,
    sed_scores: Path | None = None,
) -> Evaluation:
    """Evaluate a segments.json or .csv, or a folder written by `avloc localize`, against ground truth.

    Args:
        ground_truth: as `read_reference` reads it.
        subset: of the ground truth, several separated by commas ("validation,testing" is AVE's 804 test); None as in
            `scored_part`. It is scored whole, and detections in videos of other subsets are left out.
        t_iou: thresholds; None takes the protocol's.
        protocol: one of `protocols.PROTOCOLS`.
        blocked: videos to leave out of both sides, as `read_blocked` reads them.
        ambiguous: THUMOS14's list; None takes the data set's own.
        further: metrics to compute as well.
        sed_scores: folder to write frame scores and events to, for PSDS (`interchange.sed_scores`).

    Raises:
        InputError, FormatError: a file is missing or invalid.
    """
    rules = find_protocol(protocol)
    thresholds = rules.t_iou if t_iou is None else tuple(t_iou)
    results = find_results(detections)
    sides = read_sides(results, ground_truth, subset)
    reference = sides.reference
    segments = read_ambiguous(ambiguous) if ambiguous is not None else reference.ambiguous
    gone = set(read_blocked(blocked) if blocked is not None else ())
    found, truth, taken = prepare(sides.found, reference.table, rules, gone, segments)
    annotations = [a for a in reference.annotations if a.video_id not in gone]
    scores = detection_scores(found, truth, thresholds, as_toolkit=rules.as_toolkit)
    trivial = detection_scores(whole_video_detections(annotations), truth, thresholds, as_toolkit=rules.as_toolkit)
    claimed = {found.labels[i] for i in np.unique(found.label)}
    activations = results.activations(set(reference.ids))
    snippets = None if activations is None else evaluate_snippets(activations, annotations)
    notes = (*sides.notes, *taken, *detection_counts(found, truth).notes())
    more = None
    if further is not None and further.names:
        if further.min_score is None:
            further = replace(further, min_score=results.likely_from or None)
        more = evaluate_further(further, found, truth, activations or (), annotations)
        notes += more.notes
    if sed_scores is not None:
        if not activations:
            raise InputError(
                f"{detections}: --sed-scores needs activations (scores/) beside the detections, found none"
            )
        notes += write_sed_scores(sed_scores, activations, annotations)
    if snippets is not None and snippets.missing:
        missing = pluralize(snippets.missing, "scored video")
        notes += (f"{missing} without activations: all their snippets count as predicted background",)
    missed = tuple(c for c in scores.classes if c not in claimed)
    return Evaluation(scores, trivial, snippets, notes, missed, protocol, reference.subsets, len(annotations), more)


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
    sides = read_sides(find_results(detections), ground_truth, subset, table=False)
    reference, truth = sides.reference, sides.reference.table
    found, _, taken = prepare(sides.found, truth, rules, (), reference.ambiguous)
    bins = BINS.get(protocol, BINS["activitynet"])
    result = diagnose(found, reference.annotations, rules.t_iou, at, bins)
    return result, (*sides.notes, *taken, *detection_counts(found, truth).notes())


@dataclass(frozen=True)
class Sides:
    """Detections and the ground truth that they are scored against.

    Args:
        found: detections, without those in videos of other subsets.
        notes: what was chosen and left out, and problems found in the files.
    """

    found: SegmentTable
    reference: Reference
    notes: tuple[str, ...]


def read_sides(results: Results, ground_truth: Path, subset: str | None, table: bool = True) -> Sides:
    """Read both sides; arguments and errors as in `evaluate_files`."""
    everything = read_reference(ground_truth, table=table)
    columns, names = results.columns(everything.ids)
    named = tuple(dict.fromkeys((*names, *results.localized(everything.ids))))
    reference, choice = scored_part(everything, ground_truth, subset, named)
    reference.check_overlap(ground_truth, results.table, named)
    found, left_out = without_others(SegmentTable.from_columns(**columns), everything, reference)
    notes = (choice, left_out, missing_note(reference, named), *reference.notes)
    return Sides(found, reference, tuple(note for note in notes if note))
