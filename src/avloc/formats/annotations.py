"""Ground truth in ActivityNet's JSON, versions 1.2 and 1.3 (also used by UnAV-100, HACS and THUMOS14 exports).

    {"version": ..., "taxonomy": [...], "database": {video_id: {"subset": "training", "duration": 92.18,
        "annotations": [{"label": "Dodgeball", "segment": [5.46, 86.71]}, ...]}}}

Real files contain invalid instances: zero-length, reversed, duplicate. `read_annotations` drops and reports them;
`read_annotation_columns` keeps them, as the official evaluator counts them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from avloc.errors import FormatError, InputError, did_you_mean
from avloc.formats.bsn import bsn_database
from avloc.formats.json_file import read_json
from avloc.system.atomic import atomic_write
from avloc.system.text import json_text, pluralize
from avloc.types import Instance, VideoAnnotation
from avloc.vocabulary import Subset

SAME_S = 1e-3
"""Instances of one label whose ends differ by less are duplicates, as in OpenTAD. ActivityNet 1.2 has 34 exact ones."""


class SegmentColumns(TypedDict, total=False):
    """Labelled segments as columns for `metrics.SegmentTable.from_columns`; `score` for detections only."""

    video: list[str]
    label: list[str]
    start_s: np.ndarray
    end_s: np.ndarray
    score: np.ndarray


class SameTimes:
    """Instances, to be found by label and times within `SAME_S`."""

    def __init__(self, instances: Iterable[Instance] = ()) -> None:
        self._cells: dict[tuple[str, float, float], list[Instance]] = {}
        for instance in instances:
            self.add(instance)

    def add(self, instance: Instance) -> None:
        cell = instance.label, instance.start_s // SAME_S, instance.end_s // SAME_S
        self._cells.setdefault(cell, []).append(instance)

    def have(self, label: str, start_s: float, end_s: float) -> bool:
        """Whether one has this label, and both its ends differ by less than `SAME_S`."""
        first, last = start_s // SAME_S, end_s // SAME_S
        near = (self._cells.get((label, first + k, last + j), ()) for k in (-1, 0, 1) for j in (-1, 0, 1))
        return any(abs(i.start_s - start_s) < SAME_S and abs(i.end_s - end_s) < SAME_S for cell in near for i in cell)


@dataclass(frozen=True)
class AnnotationIssue:
    """An invalid or suspicious instance, and what was done with it.

    Args:
        kind: "zero-length", "reversed", "duplicate", "starts before 0", "ends before 0", "starts after the end" or
            "ends after the end" (of the video).
        action: "dropped", "cut" or "kept".
    """

    kind: str
    action: str
    video_id: str
    label: str
    start_s: float
    end_s: float

    def __str__(self) -> str:
        return f"{self.video_id} {self.label!r} {self.start_s:g}-{self.end_s:g} s"


@dataclass(frozen=True)
class AnnotationReport:
    """All issues of a file, in file order."""

    issues: tuple[AnnotationIssue, ...]

    def of(self, kind: str) -> tuple[AnnotationIssue, ...]:
        """The issues of one kind."""
        return tuple(issue for issue in self.issues if issue.kind == kind)

    def notes(self, unchanged: bool = False) -> tuple[str, ...]:
        """One line per kind, with its count and up to three examples.

        Args:
            unchanged: for scores computed from `read_annotation_columns`, which neither drops nor cuts instances.
        """
        lines = []
        for kind in dict.fromkeys(issue.kind for issue in self.issues):
            found = self.of(kind)
            examples = "; ".join(str(issue) for issue in found[:3]) + ("; ..." if len(found) > 3 else "")
            words = kind if len(found) == 1 else re.sub(r"^(start|end)s", r"\1", kind)
            action = "left unchanged" if unchanged else found[0].action
            lines.append(f"{pluralize(len(found), 'instance')} {words}, {action}: {examples}")
        return tuple(lines)


def read_database(path: Path | str) -> dict[str, Any]:
    """A JSON file with ground truth, in ActivityNet's schema; BSN's is brought into it. Raises as `read_json`."""
    return bsn_database(path, read_json(path))


def read_annotations(
    path: Path | str, subset: str | None = None
) -> tuple[tuple[VideoAnnotation, ...], AnnotationReport]:
    """Read ground truth and report its issues.

    Instances that are zero-length, reversed, entirely before 0, or duplicates (same label, both ends within a
    millisecond) are dropped; a start before 0 is set to 0. Instances that end or start after the video's end are kept:
    evaluators count them, and the duration is wrong as often (THUMOS14).

    Args:
        subset: "training", "validation" or "testing" (also train, val, test); None for all videos.

    Raises:
        InputError: no such file, or no video in that subset.
        FormatError: not JSON or not ActivityNet's schema.
    """
    return parse_annotations(path, read_database(path), subset)


def parse_annotations(
    path: Path | str, content: Mapping[str, Any], subset: str | None = None
) -> tuple[tuple[VideoAnnotation, ...], AnnotationReport]:
    """`read_annotations` of what `read_database` returns; `path` is named in errors."""
    issues: list[AnnotationIssue] = []
    annotations = []
    for video_id, entry in _database(path, content, subset).items():
        duration_s = _duration_s(path, video_id, entry)
        rows = [_instance(path, video_id, row) for row in _rows(path, video_id, entry)]
        instances = tuple(valid_instances(video_id, duration_s, rows, issues))
        annotations.append(VideoAnnotation(video_id, duration_s, _subset(entry), instances))
    return tuple(annotations), AnnotationReport(tuple(issues))


def read_annotation_columns(path: Path | str, subset: str | None = None) -> SegmentColumns:
    """Read ground truth as columns, every instance unchanged, for parity with the official evaluator.

    >>> truth = SegmentTable.from_columns(**read_annotation_columns("gt.json", "validation"))  # doctest: +SKIP
    """
    return parse_annotation_columns(path, read_database(path), subset)


def parse_annotation_columns(path: Path | str, content: Mapping[str, Any], subset: str | None = None) -> SegmentColumns:
    """`read_annotation_columns` of what `read_database` returns; `path` is named in errors."""
    database = _database(path, content, subset)
    return segment_columns(path, {video: _rows(path, video, entry) for video, entry in database.items()}, scored=False)


def write_annotations(path: Path | str, annotations: Iterable[VideoAnnotation], version: str = "avloc 1") -> None:
    """Write ground truth in ActivityNet's schema, atomically.

    Raises:
        InputError: duplicate video.
    """
    database: dict[str, Any] = {}
    for video in annotations:
        if video.video_id in database:
            raise InputError(f"video {video.video_id!r} is annotated twice; merge its instances")
        rows = [{"label": i.label, "segment": [i.start_s, i.end_s]} for i in video.instances]
        database[video.video_id] = {"subset": video.subset, "duration": video.duration_s, "annotations": rows}
    content = {"version": version, "taxonomy": [], "database": database}
    atomic_write(path, json_text(content, ensure_ascii=False, indent=1) + "\n")


def segment_columns(path: Path | str, rows: Mapping[str, Sequence[Any]], scored: bool) -> SegmentColumns:
    """Columns of {video_id: [{"label", "segment", "score"}, ...]}; single rows are checked only to explain an error."""
    try:
        flat = [row for found in rows.values() for row in found]
        segments = [row["segment"] for row in flat]
        columns = SegmentColumns(
            video=[video for video, found in rows.items() for _ in found],
            label=[row["label"] for row in flat],
            start_s=_numbers([start for start, _ in segments]),
            end_s=_numbers([end for _, end in segments]),
        )
        if scored:
            columns["score"] = _numbers([row["score"] for row in flat])
        if not set(map(type, columns["label"])) <= {str}:
            raise TypeError("labels")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        for video, found in rows.items():
            for row in found:
                check_row(path, video, row, scored)
        raise FormatError(f"{path}: its segments cannot be read ({error!r})") from error
    return columns


def check_row(path: Path | str, video_id: str, row: Any, scored: bool) -> None:
    """Raise FormatError unless `row` is {"label": text, "segment": [number, number]} (and "score": number)."""
    where = f"{path}: video {video_id!r}"
    if not isinstance(row, dict) or not isinstance(row.get("label"), str):
        raise FormatError(f'{where}: expected {{"label": text, "segment": [start, end]}}, got {str(row)[:80]}')
    if not row["label"].strip():
        raise FormatError(
            f"{where}: expected a label, got {row['label'][:40]!r} at {row.get('segment')}; remove or fix it"[:300]
        )
    segment = row.get("segment")
    if not (isinstance(segment, list) and len(segment) == 2 and all(map(_is_number, segment))):
        raise FormatError(f"{where}: a segment is [start, end] in seconds, got {str(segment)[:80]}")
    if scored and not _is_number(row.get("score")):
        raise FormatError(f"{where}: a score is a number, got {str(row.get('score'))[:80]}")


def _database(path: Path | str, content: Mapping[str, Any], subset: str | None) -> dict[str, dict[str, Any]]:
    database = content.get("database")
    if not isinstance(database, dict):
        got = ", ".join(list(content)[:6]) or "nothing"
        hint = "; this is a submission (detections), not ground truth" if "results" in content else ""
        raise FormatError(f'{path}: expected ActivityNet\'s "database": {{video_id: ...}}, got {got}{hint}')
    for video_id, entry in database.items():
        if not isinstance(entry, dict):
            raise FormatError(f"{path}: video {video_id!r}: expected an object, got {type(entry).__name__}")
    if subset is None:
        return database
    wanted = subset_name(subset)
    chosen = {video_id: entry for video_id, entry in database.items() if _subset(entry) == wanted}
    if not chosen:
        raise InputError(
            f"{path}: no video in subset {subset!r}.{did_you_mean(wanted, set(map(_subset, database.values())))}"
        )
    return chosen


def subset_name(name: str) -> str:
    """ActivityNet's name of a subset, as in `VideoAnnotation.subset` ("Val": "validation"); other names are kept."""
    known = Subset.parse(name)
    return name.strip() if known is None else known.value


def _subset(entry: Mapping[str, Any]) -> str:
    return subset_name(str(entry.get("subset", "")))


def _duration_s(path: Path | str, video_id: str, entry: Mapping[str, Any]) -> float:
    value = entry.get("duration", "nothing")
    if not _is_number(value) or not 0 < value < math.inf:
        raise FormatError(f"{path}: video {video_id!r}: expected a duration in seconds, got {value!r}")
    return float(value)


def _rows(path: Path | str, video_id: str, entry: Mapping[str, Any]) -> list[Any]:
    rows = entry.get("annotations", [])  # absent in withheld test sets
    if not isinstance(rows, list):
        raise FormatError(f"{path}: video {video_id!r}: annotations must be a list, got {type(rows).__name__}")
    return rows


def _instance(path: Path | str, video_id: str, row: Any) -> tuple[str, float, float]:
    check_row(path, video_id, row, scored=False)
    start_s, end_s = map(float, row["segment"])
    if not (math.isfinite(start_s) and math.isfinite(end_s)):
        raise FormatError(f"{path}: video {video_id!r}: segment times must be finite, got {row['segment']}")
    return row["label"], start_s, end_s


def valid_instances(
    video_id: str, duration_s: float, rows: list[tuple[str, float, float]], issues: list[AnnotationIssue]
) -> Iterator[Instance]:
    """Valid instances of (label, start, end) rows; what was dropped, cut or suspicious is appended to `issues`."""
    kept = SameTimes()
    for label, start_s, end_s in rows:
        issue = _issue(label, start_s, end_s, duration_s, kept)
        if issue is not None:
            issues.append(AnnotationIssue(*issue, video_id, label, start_s, end_s))
            if issue[1] == "dropped":
                continue
        instance = Instance(max(start_s, 0.0), end_s, label)
        kept.add(instance)
        yield instance


def _issue(label: str, start_s: float, end_s: float, duration_s: float, kept: SameTimes) -> tuple[str, str] | None:
    if start_s == end_s:
        return "zero-length", "dropped"
    if end_s < start_s:
        return "reversed", "dropped"
    if kept.have(label, start_s, end_s):
        return "duplicate", "dropped"
    if start_s >= duration_s:
        return "starts after the end", "kept"
    if start_s < 0:
        return ("starts before 0", "cut") if end_s > 0 else ("ends before 0", "dropped")
    return ("ends after the end", "kept") if end_s > duration_s else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers(values: list[Any]) -> np.ndarray:
    if not set(map(type, values)) <= {int, float}:
        raise TypeError("numbers")
    return np.array(values, dtype=np.float64)
