"""Raven selection tables for bioacoustics: tab-separated, one row per selection (and view). BirdNET writes them too.

`Begin Time (s)` counts over all files of the table; `File Offset (s)` is the same time in the file `Begin File`.
"""

from __future__ import annotations

from pathlib import Path

from avloc.errors import FormatError
from avloc.interchange.segments import (
    Labelled,
    VideoSegments,
    clean,
    milliseconds,
    name_files,
    read_lines,
    segment,
    table_stem,
)
from avloc.system.atomic import atomic_write
from avloc.system.text import pluralize
from avloc.types import Detection, exact

_COLUMNS = (
    "Selection",
    "View",
    "Channel",
    "Begin Time (s)",
    "End Time (s)",
    "Low Freq (Hz)",
    "High Freq (Hz)",
    "Begin File",
    "Annotation",
    "Score",
)
_START, _END, _OFFSET = "Begin Time (s)", "End Time (s)", "File Offset (s)"
_LABELS = ("Annotation", "Common Name", "Species", "Label", "Class")
_SCORES = ("Score", "Confidence")
_FILES = ("Begin Path", "Begin File")
_OF_THE_ROW = {
    "Selection",
    "View",
    "Channel",
    _START,
    _END,
    _OFFSET,
    "Begin Path",
    "Begin File",
    "End Path",
    "End File",
}


def write_raven(path: Path | str, video: VideoSegments) -> None:
    """Write one video's segments as a selection table over the full frequency band, in order of time."""
    rate_hz = video.media.audio_rate_hz if video.media is not None else 0
    top_hz = rate_hz / 2 or 8000.0  # audio unknown: the band of the audio features
    rows = ["\t".join(_COLUMNS)]
    for number, item in enumerate(video.by_time, start=1):
        start, end = (f"{ms / 1000:.3f}" for ms in milliseconds(item))
        score = f"{item.score:.4f}" if isinstance(item, Detection) else ""
        cells = [str(number), "Spectrogram 1", "1", start, end, "0.0", f"{top_hz:.1f}"]
        rows.append("\t".join([*cells, clean(video.file_name), clean(item.label), score]))
    atomic_write(path, "\n".join(rows) + "\n")


def is_raven(line: str) -> bool:
    """Whether the first line of a text file is the header of a selection table."""
    return {_START, _END} <= set(line.split("\t"))


def read_raven(path: Path | str, notes: list[str] | None = None) -> tuple[VideoSegments, ...]:
    """Read a selection table: one video per `Begin Path` or `Begin File`, else one named after the table.

    The label is the column Annotation, Common Name, Species, Label or Class, the score the column Score or Confidence.
    Other columns, rows of BirdNET that say `nocall`, and rows without a label are skipped and noted.

    Raises:
        InputError: no such file. FormatError: no column of labels, an invalid row, or several files without
            `File Offset (s)`.
    """
    lines = [line.rstrip("\r") for line in read_lines(path)]
    header = [name.strip() for name in lines[0].split("\t")]
    label, score, file = (next((n for n in names if n in header), None) for names in (_LABELS, _SCORES, _FILES))
    if label is None or not is_raven(lines[0]):
        raise FormatError(
            f"{path}: expected the columns {_START}, {_END} and one of {', '.join(_LABELS)}, got "
            + ", ".join(header)[:200]
        )
    found: dict[str, dict[tuple[str, ...], Labelled]] = {}
    nothing = unlabelled = 0
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        cells = line.split("\t")
        if "nocall" in cells:
            nothing += 1
            continue
        where = f"{path}: line {number}"
        if len(cells) != len(header):
            raise FormatError(f"{where}: expected {len(header)} cells as in the header, got {len(cells)}")
        row = dict(zip(header, cells, strict=True))
        if not row[label].strip():
            unlabelled += 1
            continue
        try:
            start_s, end_s = exact(row[_START].strip()), exact(row[_END].strip())
            offset_s = exact(row[_OFFSET].strip()) if row.get(_OFFSET, "").strip() else start_s
            value = exact(row[score].strip()) if score and row[score].strip() else None
        except ValueError as error:
            raise FormatError(f"{where}: expected numbers of seconds and a score ({error})") from None
        item = segment(
            where,
            float(offset_s),
            float(offset_s + end_s - start_s),
            row[label],
            None if value is None else float(value),
        )
        # a selection is listed once per view
        key = (row.get("Selection", str(number)), row[_START], row[_END], row[label])
        found.setdefault(row[file] if file else "", {}).setdefault(key, item)
    if len(found) > 1 and _OFFSET not in header:
        raise FormatError(
            f"{path}: expected the column {_OFFSET}, as the times of {len(found)} files count over all of them; add "
            "this measurement in Raven"
        )
    if notes is not None:
        ignored = [name for name in header if name not in {*_OF_THE_ROW, label, score, file}]
        notes += [f"{path}: left out the columns {', '.join(ignored)}"] if ignored else []
        notes += [f"{path}: left out {pluralize(nothing, 'row')} of no call"] if nothing else []
        notes += [f"{path}: left out {pluralize(unlabelled, 'segment')} without a label"] if unlabelled else []
    ids = name_files((name for name in found if name), path, notes)
    videos: dict[str, list[Labelled]] = {} if found else {table_stem(path): []}
    for name, items in found.items():
        videos.setdefault(ids.get(name, table_stem(path)), []).extend(items.values())
    return tuple(VideoSegments(video, tuple(items)) for video, items in videos.items())
