"""Audacity label tracks: `start<TAB>end<TAB>label`, seconds; labels of detections end in ` (score)`."""

from __future__ import annotations

from pathlib import Path

from avloc.errors import FormatError
from avloc.interchange.segments import (
    Labelled,
    VideoSegments,
    milliseconds,
    number_in,
    read_lines,
    scored_text,
    segment,
    table_stem,
    unscored_text,
)
from avloc.system.atomic import atomic_write
from avloc.system.text import pluralize


def write_audacity(path: Path | str, video: VideoSegments) -> None:
    """Write one video's segments as a label track, in order of time, with Audacity's six decimals."""
    rows = []
    for item in video.by_time:
        start, end = milliseconds(item)
        rows.append(f"{start / 1000:.6f}\t{end / 1000:.6f}\t{scored_text(item)}\n")
    atomic_write(path, "".join(rows))


def read_audacity(path: Path | str, notes: list[str] | None = None) -> tuple[VideoSegments, ...]:
    """Read one video, named after the file; a fourth column of numbers is the score, as BirdNET-Analyzer writes it.

    Skipped and noted: point labels (zero length), labels without text, frequencies, other further columns.

    Raises:
        InputError: no such file. FormatError: an invalid line.
    """
    found: list[Labelled] = []
    points = unlabelled = frequencies = further = 0
    for number, raw in enumerate(read_lines(path), start=1):
        line = raw.rstrip("\r")
        if not line.strip():
            continue
        if line.startswith("\\"):  # the frequencies of the label before
            frequencies += 1
            continue
        cells = line.split("\t")
        try:
            start_s, end_s, text = float(cells[0]), float(cells[1]), cells[2] if len(cells) > 2 else ""
        except (ValueError, IndexError):
            raise FormatError(f"{path}: line {number}: expected start<TAB>end<TAB>label, got {line[:60]!r}") from None
        if start_s == end_s:
            points += 1
            continue
        if not text.strip():
            unlabelled += 1
            continue
        label, score = unscored_text(text)
        if len(cells) > 3 and (given := number_in(cells[3])) is not None:
            label, score = text, given
        further += any(cell.strip() for cell in cells[3 if score is None or len(cells) < 4 else 4 :])
        found.append(segment(f"{path}: line {number}", start_s, end_s, label, score))
    if notes is not None:
        said = (
            (points, f"skipped {pluralize(points, 'point label')} of zero length"),
            (unlabelled, f"left out {pluralize(unlabelled, 'segment')} without a label"),
            (frequencies, f"left out the frequencies of {pluralize(frequencies, 'label')}"),
            (further, f"left out further columns of {pluralize(further, 'label')}"),
        )
        notes += [f"{path}: {text}" for count, text in said if count]
    return (VideoSegments(table_stem(path), tuple(found)),)
