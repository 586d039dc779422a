"""VGG Image Annotator 3 (video): its CSV of temporal segments, and its general CSV. Cells are JSON.

# CSV_HEADER = metadata_id,file_list,temporal_segment_start,temporal_segment_end,metadata
"1_a1","[""dog.mp4""]",1.500,2.750,"{""TEMPORAL-SEGMENTS"":""barking""}"
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avloc.errors import FormatError
from avloc.formats.labels import TableReader
from avloc.interchange.segments import Labelled, VideoSegments, milliseconds, name_files, read_lines, segment
from avloc.system.atomic import atomic_write
from avloc.system.text import csv_text, json_text, nfc, pluralize
from avloc.types import Detection

_COLUMNS = ("metadata_id", "file_list", "temporal_segment_start", "temporal_segment_end", "metadata")
_LABEL, _SCORE = "TEMPORAL-SEGMENTS", "score"


def write_via(path: Path | str, videos: Sequence[VideoSegments]) -> None:
    """Write all videos' segments as a CSV of temporal segments; the score is a second attribute."""
    head = "# Exported by avloc for VGG Image Annotator (http://www.robots.ox.ac.uk/~vgg/software/via)\n"
    head += f"# CSV_HEADER = {','.join(_COLUMNS)}\n"
    rows: list[Sequence[object]] = []
    for number, video in enumerate(videos, start=1):
        for k, item in enumerate(video.segments):
            start, end = (ms / 1000 for ms in milliseconds(item))
            facts = {_LABEL: item.label} | ({_SCORE: repr(item.score)} if isinstance(item, Detection) else {})
            files = json_text([video.file_name], ensure_ascii=False)
            rows.append([f"{number}_{k}", files, start, end, json_text(facts, ensure_ascii=False)])
    atomic_write(path, head + csv_text(rows, csv.QUOTE_NONNUMERIC))


def read_via(path: Path | str, notes: list[str] | None = None) -> tuple[VideoSegments, ...]:
    """Read either CSV; videos are named after their files. Rows without two times (frames, regions) are skipped.

    The label is the attribute TEMPORAL-SEGMENTS, or the only attribute besides `score`. Option ids are replaced by
    their names if the file has them (`# ATTRIBUTE = `).

    Raises:
        InputError: no such file. FormatError: no header, or an invalid row.
    """
    header, attributes, lines = _header(path)
    found: dict[str, list[Labelled]] = {}
    skipped = shared = 0
    reader = TableReader(path, "".join(lines))
    for row in reader:
        if not row:
            continue
        where = f"{path}: row {reader.line_num} after the header"
        try:
            cells = dict(zip(header, row, strict=True))
            names, times = json.loads(cells["file_list"]), _times(cells)
            facts = json.loads(cells["metadata"])
            file = nfc(str(names[0]))
        except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
            raise FormatError(f"{where}: expected {','.join(header)}, got {','.join(row)[:80]!r} ({error})") from None
        if len(times) != 2 or times[0] == times[1]:
            skipped += 1
            continue
        try:
            label, score = _label(where, facts, attributes)
        except (AttributeError, TypeError, ValueError) as error:
            raise FormatError(f"{where}: its attributes are not in VIA's format ({error!r})") from error
        shared += len(names) > 1
        found.setdefault(file, []).append(segment(where, times[0], times[1], label, score))
    if skipped and notes is not None:
        notes.append(f"{path}: skipped {pluralize(skipped, 'row')} without a start and an end")
    if shared and notes is not None:
        notes.append(f"{path}: {pluralize(shared, 'row')} of a view of several files; given to the first file")
    ids = name_files(found, path, notes)
    videos: dict[str, list[Labelled]] = {}
    for file, rows in found.items():
        videos.setdefault(ids[file], []).extend(rows)
    return tuple(VideoSegments(video, tuple(rows)) for video, rows in videos.items())


def _header(path: Path | str) -> tuple[list[str], Mapping[str, Any], list[str]]:
    header: list[str] = []
    attributes: Mapping[str, Any] = {}
    lines = []
    for line in read_lines(path):
        if line.startswith("# CSV_HEADER"):
            header = [cell.strip() for cell in line.partition("=")[2].strip().strip(",").split(",")]
        elif line.startswith(("# ATTRIBUTE =", "# ATTRIBUTES =")):
            try:
                attributes = json.loads(line.partition("=")[2])
            except (ValueError, RecursionError) as error:
                raise FormatError(f"{path}: its attributes are not JSON ({error})") from error
        elif not line.startswith("#") and line.strip():
            lines.append(line + "\n")
    if "file_list" not in header or "metadata" not in header:
        raise FormatError(f"{path}: expected a VIA 3 CSV with a line `# CSV_HEADER = metadata_id,file_list,...`")
    return header, attributes, lines


def _times(cells: Mapping[str, str]) -> list[float]:
    if "temporal_coordinates" in cells:
        return [float(t) for t in json.loads(cells["temporal_coordinates"])]
    return [float(cells["temporal_segment_start"]), float(cells["temporal_segment_end"])]


def _label(where: str, facts: Mapping[str, Any], attributes: Mapping[str, Any]) -> tuple[str, float | None]:
    named: dict[str, str] = {}
    for key, value in facts.items():
        about = attributes.get(key, {})
        about = about if isinstance(about, Mapping) else {"aname": about}
        options = about.get("options") or {}
        named[str(about.get("aname", key))] = str(options.get(value, value)).removeprefix("_DEFAULT")
    score = named.pop(_SCORE, None)
    label = (
        named.get(_LABEL) or named.get("TEMPORAL_SEGMENTS") or (next(iter(named.values())) if len(named) == 1 else "")
    )
    if not label:
        got = ", ".join(named) or "none"
        raise FormatError(f"{where}: expected one attribute that holds the label, got {got}; export only that one")
    return label, float(score) if score else None
