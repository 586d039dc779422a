"""Detections against ground truth: files in, one report out, with the trivial baseline beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from avloc.atomic import write_whole
from avloc.errors import InputError, did_you_mean
from avloc.formats import read_submission, videos_beside
from avloc.formats.activations import activation_files, load_activations
from avloc.formats.annotations import SegmentColumns, subset_name
from avloc.formats.llp import read_llp
from avloc.formats.wtalc import read_ambiguous
from avloc.localize import snippet_labels
from avloc.metrics import (
    BINS,
    Diagnosis,
    EventScores,
    ParsingScores,
    SegmentTable,
    SnippetScores,
    detection_counts,
    detection_scores,
    diagnose,
    event_f1,
    parsing_scores,
    rasterise,
    snippet_accuracy,
    whole_video_detections,
)
from avloc.protocols import find_protocol, prepare
from avloc.reference import Reference, read_blocked, read_reference
from avloc.types import ActivationSequence, DetectionScores, SnippetGrid, VideoAnnotation

__all__ = [
    "Evaluation",
    "SnippetEvaluation",
    "diagnose_files",
    "evaluate_files",
    "evaluate_parsing",
    "evaluate_snippets",
    "read_activations",
    "segments_file",
    "snippet_hits",
]


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
        protocol: name of the rules.
    """

    scores: DetectionScores
    trivial: DetectionScores
    snippets: SnippetEvaluation | None
    notes: tuple[str, ...]
    never_found: tuple[str, ...]
    protocol: str = "activitynet"

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        result: dict[str, Any] = {
            "protocol": self.protocol,
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
            result["confusion"] = {
                "classes": ["background", *self.snippets.snippets.classes],
                "snippets": self.snippets.snippets.confusion.tolist(),  # row: true, column: predicted
            }
        return result

    def save(self, path: Path) -> None:
        """Write `to_dict` as JSON."""
        write_whole(path, json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n")


def evaluate_files(
    detections: Path,
    ground_truth: Path,
    subset: str | None = None,
    t_iou: Sequence[float] | None = None,
    protocol: str = "activitynet",
    blocked: Path | None = None,
    ambiguous: Path | None = None,
) -> Evaluation:
    """Evaluate a segments.json or .csv, or a folder that `avloc localize` wrote, against ground truth.

    Args:
        ground_truth: ActivityNet's JSON; a data set of the field as `formats.open_collection` finds it; or segments
            in a format that `avloc convert` reads.
        subset: of the ground truth, several with a comma ("validation,testing" is AVE's 804 test); None takes the
            videos that the detections are about when some are, else all: those in JSON, or in the videos.csv and
            failures.csv beside a table. A .csv alone takes all: it cannot name a video in which nothing was found.
        t_iou: thresholds; None takes the protocol's.
        protocol: one of `protocols.PROTOCOLS`.
        blocked: a JSON list (or object, or a text file with one id a line) of videos to leave out of both sides.
        ambiguous: THUMOS14's list; None takes the data set's own.

    Raises:
        InputError, FormatError: a file is missing or not what it should be.
    """
    rules = find_protocol(protocol)
    thresholds = rules.t_iou if t_iou is None else tuple(t_iou)
    columns, reference, notes = _both_sides(detections, ground_truth, subset)
    stretches = read_ambiguous(ambiguous) if ambiguous is not None else reference.ambiguous
    gone = set(read_blocked(blocked) if blocked is not None else ())
    found, truth, taken = prepare(SegmentTable.from_columns(**columns), reference.table, rules, gone, stretches)
    annotations = [a for a in reference.annotations if a.video_id not in gone]
    scores = detection_scores(found, truth, thresholds, as_toolkit=rules.as_toolkit)
    trivial = detection_scores(whole_video_detections(annotations), truth, thresholds)
    claimed = {found.labels[i] for i in np.unique(found.label)}
    snippets = None
    if detections.is_dir() and (detections / "scores").is_dir():
        snippets = evaluate_snippets(read_activations(detections / "scores", set(reference.ids)), annotations)
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
    """Where the mAP of detections is lost: see `metrics.diagnosis`. Arguments as in `evaluate_files`.

    Instances without length and repeated ones are left out, whatever the protocol; its thresholds are used, and for
    "thumos14" DETAD's groups for short instances.

    Returns:
        The diagnosis, and a sentence for everything that was left out.
    """
    rules = find_protocol(protocol)
    columns, reference, notes = _both_sides(detections, ground_truth, subset, table=False)
    truth = SegmentTable.from_annotations(reference.annotations)
    found, _, taken = prepare(SegmentTable.from_columns(**columns), truth, rules, (), reference.ambiguous)
    bins = BINS.get(protocol, BINS["activitynet"])
    result = diagnose(found, reference.annotations, rules.t_iou, at, bins)
    return result, (*notes, *taken, *detection_counts(found, truth).notes())


def _both_sides(
    detections: Path, ground_truth: Path, subset: str | None, table: bool = True
) -> tuple[SegmentColumns, Reference, list[str]]:
    """Detections, the ground truth that they are held against, and a sentence for everything left out."""
    file = segments_file(detections)
    reference = read_reference(ground_truth, subset, table)
    notes = list(reference.notes)
    columns, named = read_submission(file, reference.ids)
    tried = videos_beside(file, reference.ids)
    if not tried and detections.is_dir() and (detections / "scores").is_dir():
        tried = tuple(activation_files(detections / "scores"))
    named = tuple(dict.fromkeys((*named, *tried)))
    if subset is None and (tried or file.suffix != ".csv"):
        reference, note = reference.about(named)
        notes += note
    elif subset is None and len(set(columns["video"])) < len(reference.ids):
        notes.append(
            f"all {len(reference.ids)} videos are scored: a .csv does not say which were looked at; choose with "
            "--subset"
        )
    _check_overlap(file, ground_truth, named, reference.ids)
    return columns, reference, notes


def evaluate_parsing(
    audio: Path, visual: Path, folder: Path, subset: str = "testing", min_score: float = 0.5
) -> ParsingScores:
    """LLP's F1 scores of what is heard and what is seen.

    Args:
        audio, visual: detections, .csv or .json. One file for both says that all that happens is heard and seen.
        folder: LLP's tables.
        min_score: detections below it are not claims (AVVP's threshold).

    A second is claimed when its middle lies in a detection.

    Raises:
        InputError, FormatError: a file is missing or not what it should be.
    """
    data = read_llp(folder)
    ids = [a.video_id for a in data.parts["audio"] if a.subset == subset_name(subset)]
    if not ids:
        raise InputError(f"{folder}: no video in subset {subset!r}; LLP has validation and testing with boundaries")
    claims = [_claims(path, ids, data.classes, min_score) for path in (audio, visual)]
    truths = [_seconds(data.parts[name], ids, data.classes) for name in ("audio", "visual")]
    return parsing_scores(*claims, *truths)


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


def snippet_hits(
    activations: Iterable[ActivationSequence], annotations: Sequence[VideoAnnotation]
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Snippets called rightly and all snippets of each annotated video; 0 of 0 for one without activations."""
    right, total = (np.zeros(len(annotations), dtype=np.int64) for _ in range(2))
    row = {truth.video_id: k for k, truth in enumerate(annotations)}
    for seen in activations:
        k = row[seen.video_id]
        one = evaluate_snippets([seen], [annotations[k]])
        assert one is not None
        right[k], total[k] = np.trace(one.snippets.confusion), one.snippets.confusion.sum()
    return right, total


def segments_file(folder: Path) -> Path:
    """The file itself, or the table in a folder that `avloc localize` wrote. Raises InputError: there is none."""
    if not folder.exists():
        raise InputError(f"{folder}: expected detections, a file or a folder; there is nothing of that name")
    if not folder.is_dir():
        return folder
    for name in ("segments.json", "segments.csv"):
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder}: expected segments.json or segments.csv in it, as `avloc localize` writes them")


def _check_overlap(detections: Path, ground_truth: Path, named: Sequence[str], ids: Sequence[str]) -> None:
    if named and ids and not set(named) & set(ids):
        raise InputError(
            f"{detections} and {ground_truth} have no video in common: detections name e.g. {named[0]!r}, the ground "
            f"truth e.g. {ids[0]!r}; are they of the same data set and subset?"
        )


def _claims(path: Path, ids: Sequence[str], classes: Sequence[str], min_score: float) -> Bool[np.ndarray, "n 10 c"]:
    columns, _ = read_submission(path, ids)
    strong = columns["score"] >= min_score
    video, label = np.array(columns["video"])[strong], np.array(columns["label"])[strong]
    return _raster(video, label, columns["start_s"][strong], columns["end_s"][strong], ids, classes)


def _seconds(
    annotations: Iterable[VideoAnnotation], ids: Sequence[str], classes: Sequence[str]
) -> Bool[np.ndarray, "n 10 c"]:
    rows = [(a.video_id, i.label, i.start_s, i.end_s) for a in annotations for i in a.instances]
    video, label, start_s, end_s = map(np.array, zip(*rows, strict=True)) if rows else [np.array([])] * 4
    return _raster(video, label, start_s, end_s, ids, classes)


def _raster(
    video: np.ndarray,
    label: np.ndarray,
    start_s: np.ndarray,
    end_s: np.ndarray,
    ids: Sequence[str],
    classes: Sequence[str],
) -> Bool[np.ndarray, "n 10 c"]:
    """The seconds of LLP's videos whose middle lies in a segment."""
    row, column = {v: k for k, v in enumerate(ids)}, {c: k for k, c in enumerate(classes)}
    grid = SnippetGrid.cover(10, 1)
    result = np.zeros((len(ids), grid.count, len(classes)), dtype=bool)
    for v, c, start, end in zip(video.tolist(), label.tolist(), start_s.tolist(), end_s.tolist(), strict=True):
        if c not in column:
            raise InputError(f"the label {c!r} is none of LLP's classes.{did_you_mean(c, classes)}")
        if v in row:
            result[row[v], grid.indices(start, end), column[c]] = True
    return result


def read_activations(folder: Path, chosen: set[str]) -> list[ActivationSequence]:
    """Activations of the chosen videos, from the scores/ of a folder that `avloc localize` wrote."""
    return [load_activations(path) for video, path in activation_files(folder).items() if video in chosen]
