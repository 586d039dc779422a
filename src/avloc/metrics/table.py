"""Segments in columns, the input of the detection metrics, and counts of invalid rows.

Why not Instance and Detection: half a million detections are scored in the time that it takes to make as many objects,
and published files hold segments that those types reject (zero-length, reversed), which must be scored as the official
evaluators do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from avloc.errors import first_few
from avloc.types import Detection, Short, VideoAnnotation


@dataclass(frozen=True, repr=False)
class SegmentTable(Short):
    """n labelled segments of many videos, one per row, in any order. Times are not checked.

    Args:
        videos: names that `video` points into.
        labels: names that `label` points into.
        video, label: (n,) indices.
        start_s, end_s: (n,) seconds.
        score: (n,); 0 for ground truth, which has none.
    """

    videos: tuple[str, ...]
    labels: tuple[str, ...]
    video: Int[np.ndarray, " n"]
    label: Int[np.ndarray, " n"]
    start_s: Float[np.ndarray, " n"]
    end_s: Float[np.ndarray, " n"]
    score: Float[np.ndarray, " n"]

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in ("video", "label", "start_s", "end_s", "score")}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of a table must be equally long, got {lengths}")

    def __len__(self) -> int:
        return len(self.start_s)

    @classmethod
    def from_columns(
        cls,
        video: Sequence[str],
        label: Sequence[str],
        start_s: Float[np.ndarray, " n"],
        end_s: Float[np.ndarray, " n"],
        score: Float[np.ndarray, " n"] | None = None,
    ) -> SegmentTable:
        """From columns of names and times, as `formats.read_detection_columns` returns them."""
        videos, video_index = _encode(video)
        labels, label_index = _encode(label)
        scores = np.zeros(len(start_s)) if score is None else score
        return cls(videos, labels, video_index, label_index, start_s, end_s, scores)

    @classmethod
    def from_detections(cls, detections: Mapping[str, Sequence[Detection]]) -> SegmentTable:
        """From {video_id: its detections}."""
        rows = [(video, d.label, d.start_s, d.end_s, d.score) for video, found in detections.items() for d in found]
        return cls._from_rows(rows)

    @classmethod
    def from_annotations(cls, annotations: Iterable[VideoAnnotation]) -> SegmentTable:
        """From ground truth; its videos without an instance do not appear."""
        return cls._from_rows(
            [(v.video_id, i.label, i.start_s, i.end_s, 0.0) for v in annotations for i in v.instances]
        )

    @classmethod
    def _from_rows(cls, rows: list[tuple[str, str, float, float, float]]) -> SegmentTable:
        times = np.array([row[2:] for row in rows], dtype=np.float64).reshape(-1, 3)
        names = [row[0] for row in rows], [row[1] for row in rows]
        return cls.from_columns(*names, times[:, 0], times[:, 1], times[:, 2])

    def take(self, rows: Int[np.ndarray, " k"] | Bool[np.ndarray, " n"]) -> SegmentTable:
        """The selected rows, in the given order."""
        columns = (column[rows] for column in (self.video, self.label, self.start_s, self.end_s, self.score))
        return SegmentTable(self.videos, self.labels, *columns)

    def in_videos(self, names: Iterable[str]) -> Bool[np.ndarray, " n"]:
        """Whether each row is of one of these videos."""
        wanted = set(names)
        known = np.array([name in wanted for name in self.videos], dtype=bool)
        return known[self.video] if len(self) else np.zeros(0, dtype=bool)


Detections = SegmentTable | Mapping[str, Sequence[Detection]]
Annotations = SegmentTable | Sequence[VideoAnnotation]


def as_tables(detections: Detections, annotations: Annotations) -> tuple[SegmentTable, SegmentTable]:
    """Both sides as tables."""
    found = detections if isinstance(detections, SegmentTable) else SegmentTable.from_detections(detections)
    truth = annotations if isinstance(annotations, SegmentTable) else SegmentTable.from_annotations(annotations)
    return found, truth


def _encode(names: Sequence[str]) -> tuple[tuple[str, ...], Int[np.ndarray, " n"]]:
    """Distinct names in order of appearance, and the index of each entry."""
    index: dict[str, int] = {}
    codes = np.fromiter((index.setdefault(name, len(index)) for name in names), dtype=np.int64, count=len(names))
    return tuple(index), codes


def recode(names: tuple[str, ...], known: Sequence[str]) -> Int[np.ndarray, " k"]:
    """Index in `known` of each name, -1 if it is absent."""
    index = {name: i for i, name in enumerate(known)}
    return np.array([index.get(name, -1) for name in names], dtype=np.int64)


@dataclass(frozen=True, repr=False)
class DetectionCounts(Short):
    """Counts of invalid or unmatched input. All zero and empty is the good case.

    Args:
        detections, instances: rows on either side.
        unmatched_videos: {video without instances: its detections}. Each is a false positive.
        unknown_labels: {label without instances: its detections}. They are not scored.
        zero_length, reversed, non_finite: detections with such times: false positives.
        nan_scores: detections ranked last.
        instances_zero_length, instances_reversed, instances_non_finite: instances that no detection can match; they
            stay in the denominator of recall, as in the official evaluator.
    """

    detections: int
    instances: int
    unmatched_videos: Mapping[str, int]
    unknown_labels: Mapping[str, int]
    zero_length: int
    reversed: int
    non_finite: int
    nan_scores: int
    instances_zero_length: int
    instances_reversed: int
    instances_non_finite: int

    def notes(self) -> tuple[str, ...]:
        """One line per non-zero count."""
        found = {
            "end = start, false positives": self.zero_length,
            "end < start, false positives": self.reversed,
            "a non-finite time, false positives": self.non_finite,
            "a NaN score, ranked last": self.nan_scores,
        }
        true = {
            "end = start, never matched": self.instances_zero_length,
            "end < start, never matched": self.instances_reversed,
            "a non-finite time, never matched": self.instances_non_finite,
        }
        lines = [
            _named(self.unmatched_videos, "in videos without ground truth, false positives"),
            _named(self.unknown_labels, "with labels absent from the ground truth, not scored"),
            *(f"{_counted(count, 'detection')} with {words}" for words, count in found.items() if count),
            *(f"{_counted(count, 'instance')} with {words}" for words, count in true.items() if count),
        ]
        return tuple(line for line in lines if line)


def detection_counts(detections: Detections, annotations: Annotations) -> DetectionCounts:
    """Count invalid or unmatched input of `detection_scores`. Same arguments."""
    found, truth = as_tables(detections, annotations)
    true_videos = {truth.videos[i] for i in np.unique(truth.video)}
    true_labels = {truth.labels[i] for i in np.unique(truth.label)}
    zero, backward, non_finite = _degenerate(found)
    true_zero, true_backward, true_non_finite = _degenerate(truth)
    return DetectionCounts(
        detections=len(found),
        instances=len(truth),
        unmatched_videos=_count_others(found.videos, found.video, true_videos),
        unknown_labels=_count_others(found.labels, found.label, true_labels),
        zero_length=zero,
        reversed=backward,
        non_finite=non_finite,
        nan_scores=int(np.isnan(found.score).sum()),
        instances_zero_length=true_zero,
        instances_reversed=true_backward,
        instances_non_finite=true_non_finite,
    )


def _degenerate(table: SegmentTable) -> tuple[int, int, int]:
    finite = np.isfinite(table.start_s) & np.isfinite(table.end_s)
    start, end = table.start_s[finite], table.end_s[finite]
    return int((start == end).sum()), int((end < start).sum()), int((~finite).sum())


def _count_others(names: tuple[str, ...], index: Int[np.ndarray, " n"], known: set[str]) -> dict[str, int]:
    counts = np.bincount(index, minlength=len(names))
    return {name: int(count) for name, count in zip(names, counts, strict=True) if count and name not in known}


def _named(counts: Mapping[str, int], words: str) -> str:
    if not counts:
        return ""
    examples = first_few(list(map(repr, counts)), 3)
    return f"{_counted(sum(counts.values()), 'detection')} {words} ({len(counts)}: {examples})"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
