"""Corrections: what a person has stated about when classes occur in a video. JSON, one item a line.

    {"version": "avloc corrections 2", "taxonomy": [], "database": {
    "v_01": {"subset": "training", "duration": 10.0, "checked": true, "annotations": [
     {"label": "dog", "segment": [1.2, 3.0]}
     ], "deleted": [
     {"label": "cat", "segment": [5.0, 6.5]}
     ], "points": [
     ]}
    }}

ActivityNet's ground truth with three further keys per video, so that every reader of ground truth reads the file:

    annotations  segments that are right: added, moved, renamed or accepted
    deleted      detections that are wrong: background, except where an annotation covers them
    untouched    detections neither confirmed nor deleted: annotations with "untouched": true, which say nothing as long
                 as the video is not checked
    points       {"label", "time"}: the class occurs at that time, its extent is unknown
    checked      true: the annotations are complete, the rest of the video is background; false: the rest is unknown

Videos are sorted by name and items by time, so that files can be kept and merged in version control. Other ground truth
("avloc corrections" of earlier versions included) counts as checked. Points may also be a table (CSV) with the columns
video,time,label, the times in seconds.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from avloc.errors import FormatError, reading
from avloc.formats.annotations import (
    AnnotationIssue,
    AnnotationReport,
    SameTimes,
    parse_annotations,
    read_database,
)
from avloc.formats.labels import TableReader, read_text
from avloc.system.atomic import atomic_write
from avloc.system.text import json_text
from avloc.types import Instance

VERSION = "avloc corrections 2"
_FIRST = "avloc corrections"
POINT_COLUMNS = ("video", "time", "label")


@dataclass(frozen=True)
class Point:
    """A class occurs at a time (a point label, as in SF-Net and LACP)."""

    time_s: float
    label: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.time_s) and self.time_s >= 0):
            raise ValueError(f"a point needs a time of 0 s or more, got {self.time_s}")


@dataclass(frozen=True)
class VideoCorrections:
    """What is stated about one video.

    Args:
        duration_s: None if the file does not state it.
        subset: as in `VideoAnnotation.subset`; "" if unknown.
        present, deleted, points, checked: as in the file; see above.
        untouched: annotations that say nothing yet; none in a checked video.
    """

    video_id: str
    duration_s: float | None
    present: tuple[Instance, ...] = ()
    deleted: tuple[Instance, ...] = ()
    points: tuple[Point, ...] = ()
    checked: bool = False
    subset: str = ""
    untouched: tuple[Instance, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes stated to occur, sorted."""
        return tuple(sorted({i.label for i in self.present} | {p.label for p in self.points}))

    @property
    def contradiction(self) -> str:
        """Two statements that exclude each other, in words; "" if there are none."""
        right, present, deleted = SameTimes(self.present), _Union(self.present), _Union(self.deleted)
        for wrong in self.deleted:
            if right.have(wrong.label, wrong.start_s, wrong.end_s):
                return f"{_words(wrong)} is both right and deleted"
        for point in self.points:
            if present.covers(point):
                continue
            if deleted.covers(point):
                return f"{point.label!r} occurs at {point.time_s:g} s and is deleted there"
            if self.checked:
                return f"{point.label!r} occurs at {point.time_s:g} s, but the video is checked without it there"
        return ""


def is_corrections(path: Path) -> bool:
    """Whether a JSON file begins as `write_corrections` begins it."""
    with reading(path), path.open("rb") as file:
        return f'"version": "{_FIRST}'.encode() in file.read(100)


def read_corrections(path: Path) -> tuple[tuple[VideoCorrections, ...], tuple[str, ...]]:
    """Corrections or ground truth in JSON, or points in CSV; and a note about each kind of invalid instance.

    Raises:
        InputError: no such file. FormatError: it is neither, a later version, or contradicts itself.
    """
    if path.suffix.lower() == ".csv":
        return read_points(path), ()
    return parse_corrections(path, read_database(path))


def parse_corrections(path: Path, content: Mapping[str, Any]) -> tuple[tuple[VideoCorrections, ...], tuple[str, ...]]:
    """`read_corrections` of the content of a JSON file."""
    version = str(content.get("version", ""))
    if version.startswith(_FIRST) and version not in (_FIRST, VERSION):
        raise FormatError(f"{path}: expected at most {VERSION!r}, got {version!r}; update avloc")
    annotations, report = parse_annotations(path, content)
    issues = list(report.issues)
    found = []
    for truth in annotations:
        entry, video = content["database"][truth.video_id], truth.video_id
        checked = entry.get("checked", version != VERSION)
        if not isinstance(checked, bool):
            raise FormatError(f"{path}: video {video!r}: checked is true or false, got {str(checked)[:40]!r}")
        untouched = _untouched(entry)
        # what the page and `avloc convert` have written where they knew no subset
        unknown = version.startswith("avloc") and version != VERSION and truth.subset == "validation"
        one = VideoCorrections(
            video,
            truth.duration_s,
            tuple(i for i in truth.instances if checked or i not in untouched),
            _deleted(path, video, truth.duration_s, entry, issues),
            _points(path, video, entry),
            checked,
            "" if unknown else truth.subset,
            tuple(i for i in truth.instances if not checked and i in untouched),
        )
        if one.contradiction:
            raise FormatError(f"{path}: video {video!r}: {one.contradiction}; keep one")
        found.append(one)
    return tuple(found), AnnotationReport(tuple(issues)).notes()


def read_points(path: Path) -> tuple[VideoCorrections, ...]:
    """Points of a table with the columns video,time,label; further columns are an error."""
    reader = TableReader(path, read_text(path))
    header = tuple(cell.strip() for cell in next(reader, []))
    if sorted(header) != sorted(POINT_COLUMNS):
        raise FormatError(f"{path}: expected the header {','.join(POINT_COLUMNS)}, got {','.join(header)[:80]!r}")
    points: dict[str, list[Point]] = {}
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        where = f"{path}: line {reader.line_num}"
        if len(row) != len(header):
            raise FormatError(f"{where}: expected 3 cells as in the header, got {len(row)}")
        cells = dict(zip(header, map(str.strip, row), strict=True))
        if not cells["video"] or not cells["label"]:
            raise FormatError(f"{where}: expected a video and a label, got {','.join(row)[:80]!r}")
        try:
            points.setdefault(cells["video"], []).append(Point(float(cells["time"]), cells["label"]))
        except ValueError:
            raise FormatError(f"{where}: expected a time in seconds, got {cells['time']!r}") from None
    return tuple(VideoCorrections(video, None, points=tuple(of)) for video, of in points.items())


def write_corrections(path: Path, videos: Iterable[VideoCorrections]) -> None:
    """Write corrections, atomically; the same corrections give the same file.

    Raises:
        FormatError: a video without a duration or twice, or one that contradicts itself.
    """
    entries = {}
    for video in sorted(videos, key=lambda video: video.video_id):
        if video.contradiction or video.duration_s is None or video.video_id in entries:
            why = video.contradiction or ("no duration" if video.duration_s is None else "there twice")
            raise FormatError(f"{path}: video {video.video_id!r} cannot be written: {why}")
        entries[video.video_id] = _entry(_in_milliseconds(path, video))
    head = f'{{"version": {_text(VERSION)}, "taxonomy": [], "database": {{\n'
    atomic_write(path, head + ",\n".join(f"{_text(name)}: {entry}" for name, entry in entries.items()) + "\n}}\n")


def _entry(video: VideoCorrections) -> str:
    head = _text({"subset": video.subset, "duration": video.duration_s, "checked": video.checked})[:-1]
    lists: dict[str, list[dict[str, Any]]] = {
        name: [{"label": i.label, "segment": [i.start_s, i.end_s]} for i in _ordered(items)]
        for name, items in (("annotations", (*video.present, *video.untouched)), ("deleted", video.deleted))
    }
    untouched = {*video.untouched}
    for item, row in zip(_ordered((*video.present, *video.untouched)), lists["annotations"], strict=True):
        if item in untouched:
            row["untouched"] = True
    lists["points"] = [
        {"label": p.label, "time": p.time_s} for p in sorted(video.points, key=lambda p: (p.time_s, p.label))
    ]
    texts = [f'"{name}": [\n{"".join(_lines(items))} ]' for name, items in lists.items()]
    return f"{head}, {', '.join(texts)}}}"


def _ordered(items: Iterable[Instance]) -> list[Instance]:
    return sorted(items, key=lambda i: (i.start_s, i.end_s, i.label))


def _untouched(entry: Mapping[str, Any]) -> set[Instance]:
    """Annotations marked as untouched; `parse_annotations` has checked the rows."""
    rows = [row for row in entry.get("annotations", []) if row.get("untouched") is True]
    spans = [(*map(float, row["segment"]), row["label"]) for row in rows]
    return {Instance(max(start_s, 0.0), end_s, label) for start_s, end_s, label in spans if max(start_s, 0.0) < end_s}


def _lines(items: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f" {_text(dict(item))}{',' if k < len(items) else ''}\n" for k, item in enumerate(items, start=1)]


def _text(value: Any) -> str:
    return json_text(value, ensure_ascii=False)


def _in_milliseconds(path: Path, video: VideoCorrections) -> VideoCorrections:
    """Times to the millisecond, as detections are written; in full where rounded ones would contradict each other."""
    rounded = replace(
        video,
        present=tuple(map(_rounded, video.present)),
        untouched=tuple(map(_rounded, video.untouched)),
        deleted=tuple(map(_rounded, video.deleted)),
        points=tuple(replace(p, time_s=round(p.time_s, 3)) for p in video.points),
    )
    if rounded == video:
        return video
    try:
        parse_corrections(path, {"version": VERSION, "database": {video.video_id: json.loads(_entry(rounded))}})
    except FormatError:
        return video
    return rounded


def _rounded(item: Instance) -> Instance:
    """To the millisecond; in full where the segment would become empty."""
    start_s, end_s = round(item.start_s, 3), round(item.end_s, 3)
    return replace(item, start_s=start_s, end_s=end_s) if start_s < end_s else item


def _deleted(
    path: Path, video: str, duration_s: float, entry: Mapping[str, Any], issues: list[AnnotationIssue]
) -> tuple[Instance, ...]:
    content = {"database": {video: {"duration": duration_s, "annotations": entry.get("deleted", [])}}}
    (found,), report = parse_annotations(path, content)
    issues += report.issues
    return found.instances


def _points(path: Path, video: str, entry: Mapping[str, Any]) -> tuple[Point, ...]:
    rows = entry.get("points", [])
    if not isinstance(rows, list):
        raise FormatError(f"{path}: video {video!r}: points must be a list, got {type(rows).__name__}")
    found = []
    for row in rows:
        try:
            if isinstance(row["time"], bool) or not isinstance(row["label"], str) or not row["label"].strip():
                raise TypeError
            found.append(Point(float(row["time"]), row["label"]))
        except (TypeError, KeyError, ValueError):
            raise FormatError(
                f'{path}: video {video!r}: expected {{"label": text, "time": seconds}}, got {str(row)[:80]}'
            ) from None
    return tuple(found)


class _Union:
    """Where each class occurs: its instances, merged where they touch."""

    def __init__(self, items: Iterable[Instance]) -> None:
        self._of: dict[str, tuple[list[float], list[float]]] = {}
        for item in sorted(items, key=lambda i: i.start_s):
            starts, ends = self._of.setdefault(item.label, ([], []))
            if ends and item.start_s <= ends[-1]:
                ends[-1] = max(ends[-1], item.end_s)
            else:
                starts.append(item.start_s)
                ends.append(item.end_s)

    def covers(self, point: Point) -> bool:
        starts, ends = self._of.get(point.label, ([], []))
        number = bisect_right(starts, point.time_s)
        return number > 0 and point.time_s < ends[number - 1]


def _words(item: Instance) -> str:
    return f"{item.label!r} {item.start_s:g}-{item.end_s:g} s"
