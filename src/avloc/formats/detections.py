"""Detections on disk: a table (CSV) and ActivityNet's submission format (JSON).

    segments.csv    video,start_s,end_s,label,score
    segments.json   {"version": ..., "results": {video_id: [{"label", "segment": [start, end], "score"}]},
                     "external_data": {"used": ..., "details": ...}}

Times are in seconds with three decimals; scores round-trip exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avloc.errors import FormatError, InputError
from avloc.formats.annotations import SegmentColumns, segment_columns
from avloc.formats.json_file import read_json
from avloc.formats.labels import TableReader, read_text
from avloc.system.atomic import atomic_write
from avloc.system.text import csv_text, json_text
from avloc.types import Detection

COLUMNS = ("video", "start_s", "end_s", "label", "score")


def write_segments_csv(path: Path | str, detections: Mapping[str, Sequence[Detection]]) -> None:
    """Write {video_id: detections} as a table, one row per detection, in the given order."""
    rows: list[tuple[str, ...]] = [COLUMNS]
    for video_id, found in detections.items():
        rows += [(video_id, *_times(d), d.label, repr(float(d.score))) for d in found]
    atomic_write(path, csv_text(rows))


def write_segments_json(
    path: Path | str,
    detections: Mapping[str, Sequence[Detection]],
    version: str = "VERSION 1.3",
    external_data: Mapping[str, Any] | None = None,
) -> None:
    """Write {video_id: detections} in ActivityNet's submission schema.

    Args:
        version: of the data set, as ActivityNet's submissions name it.
        external_data: {"used": bool, "details": text}, required by the schema.
    """
    results: dict[str, list[dict[str, Any]]] = {}
    for video_id, found in detections.items():
        times = [tuple(map(float, _times(d))) for d in found]
        results[video_id] = [
            {"label": d.label, "segment": list(segment), "score": float(d.score)}
            for d, segment in zip(found, times, strict=True)
        ]
    content = {
        "version": version,
        "results": results,
        "external_data": dict(external_data or {"used": False, "details": ""}),
    }
    atomic_write(path, json_text(content, ensure_ascii=False) + "\n")


def read_detections(path: Path | str, video_ids: Iterable[str] | None = None) -> dict[str, tuple[Detection, ...]]:
    """Read detections from a .csv or .json(.gz) file; a file without detections is valid.

    Args:
        video_ids: the expected names. A leading `v_` is added or removed where only that matches (ActivityNet's video
            files are named v_<id>, its tables say <id>); other names stay.

    Raises:
        InputError: no such file, or another suffix.
        FormatError: invalid file, or an invalid row (end <= start, NaN score), which is named. To score such rows, use
            `read_detection_columns`.
    """
    columns, order = _read(path)
    names = rename_videos(path, [*order, *dict.fromkeys(columns["video"])], video_ids)
    found: dict[str, list[Detection]] = {names[video]: [] for video in order}
    numbers = zip(*(columns[key].tolist() for key in ("start_s", "end_s", "score")), strict=True)
    for video, label, (start_s, end_s, score) in zip(columns["video"], columns["label"], numbers, strict=True):
        try:
            detection = Detection(start_s, end_s, label, score)
        except ValueError as error:
            raise FormatError(f"{path}: video {video!r}, label {label!r}: {error}; remove or fix it") from error
        found.setdefault(names[video], []).append(detection)
    return {video: tuple(detections) for video, detections in found.items()}


def read_detection_columns(path: Path | str, video_ids: Iterable[str] | None = None) -> SegmentColumns:
    """Read detections as columns, ten times faster; rows are not validated.

    >>> found = SegmentTable.from_columns(**read_detection_columns("segments.json"))  # doctest: +SKIP
    """
    return read_submission(path, video_ids)[0]


def read_submission(path: Path | str, video_ids: Iterable[str] | None = None) -> tuple[SegmentColumns, tuple[str, ...]]:
    """`read_detection_columns` and the videos that the file names; JSON also names those without detections.

    >>> columns, videos = read_submission("segments.json")  # doctest: +SKIP
    """
    columns, order = _read(path)
    names = rename_videos(path, [*order, *dict.fromkeys(columns["video"])], video_ids)
    columns["video"] = [names[video] for video in columns["video"]]
    return columns, tuple(dict.fromkeys(names.values()))


def _times(detection: Detection) -> tuple[str, str]:
    """Start and end with three decimals, in full for segments that would become empty."""
    start, end = f"{detection.start_s:.3f}", f"{detection.end_s:.3f}"
    return (start, end) if start != end else (repr(float(detection.start_s)), repr(float(detection.end_s)))


def _read(path: Path | str) -> tuple[SegmentColumns, list[str]]:
    """Columns, and the videos that JSON names, with or without detections."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes if suffix.lower() != ".gz"]
    kind = suffixes[-1] if suffixes else ""
    if kind == ".csv":
        return _read_csv(path), []
    if kind == ".json":
        return _read_json(path)
    raise InputError(f"{path}: detections are read from .csv, .json or .json.gz, got {kind or 'no suffix'}")


def _read_json(path: Path | str) -> tuple[SegmentColumns, list[str]]:
    content = read_json(path)
    results = content.get("results")
    if not isinstance(results, dict):
        got = ", ".join(list(content)[:6]) or "nothing"
        hint = "; this is ground truth, not detections" if "database" in content else ""
        raise FormatError(f'{path}: expected ActivityNet\'s "results": {{video_id: [...]}}, got {got}{hint}')
    for video_id, found in results.items():
        if not isinstance(found, list):
            raise FormatError(f"{path}: video {video_id!r}: expected a list, got {type(found).__name__}")
    return segment_columns(path, results, scored=True), list(results)


def csv_header(path: Path | str) -> list[str]:
    """Names of the columns of a table."""
    return _header(TableReader(path, read_text(path)))


def _header(reader: TableReader) -> list[str]:
    return [cell.strip() for cell in next(reader, [])]


def _read_csv(path: Path | str) -> SegmentColumns:
    reader = TableReader(path, read_text(path))
    header = _header(reader)
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise FormatError(
            f"{path}: expected the header {','.join(COLUMNS)}, got {','.join(header)[:80] or 'nothing'} "
            f"(no {', '.join(missing)})"
        )
    place = [header.index(name) for name in COLUMNS]
    columns: tuple[list[Any], ...] = ([], [], [], [], [])
    for row in reader:
        if not row:
            continue
        if len(row) != len(header):
            raise FormatError(
                f"{path}: line {reader.line_num}: expected {len(header)} cells as in the header, got {len(row)}"
            )
        for column, name, i in zip(columns, COLUMNS, place, strict=True):
            try:
                column.append(row[i] if name in ("video", "label") else float(row[i]))
            except ValueError:
                raise FormatError(f"{path}: line {reader.line_num}: {name} must be a number, got {row[i]!r}") from None
    video, start_s, end_s, label, score = columns
    return SegmentColumns(
        video=video,
        label=label,
        start_s=np.array(start_s, dtype=np.float64),
        end_s=np.array(end_s, dtype=np.float64),
        score=np.array(score, dtype=np.float64),
    )


def rename_videos(path: Path | str, names: Iterable[str], video_ids: Iterable[str] | None) -> dict[str, str]:
    """{name in a file: its spelling in `video_ids`, with or without a leading `v_`, else the name itself}.

    Raises:
        FormatError: two names of the file are the same video.
    """
    known = set(video_ids or ())
    renamed: dict[str, str] = {}
    owner: dict[str, str] = {}
    for name in dict.fromkeys(names):
        other = name[2:] if name.startswith("v_") else f"v_{name}"
        renamed[name] = other if name not in known and other in known else name
        if owner.setdefault(renamed[name], name) != name:
            raise FormatError(f"{path}: {owner[renamed[name]]!r} and {name!r} are the same video; keep one name")
    return renamed
