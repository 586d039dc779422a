"""Draft labels of `avloc tag`: a table of one row per video and tag, which `read_labels` takes as labels.

    video,label,keep,score,start_s,end_s,sense,path
    dog1.mp4,dog,yes,0.97,3.0,8.0,both,/videos/dog1.mp4     a draft; keep=no strikes it out
    dog1.mp4,rain,no,0.31,0.0,4.0,audio,/videos/dog1.mp4    less likely: offered, not used
    park.mp4,,,,,,,/videos/park.mp4                         nothing found: background only

start_s and end_s are the stretch in which the tag is most likely. Rows added by a person have no score.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from avloc.errors import FormatError, InputError, reading
from avloc.formats.labels import TableReader, is_kept, read_text
from avloc.system.atomic import atomic_write, sweep_beside
from avloc.system.text import csv_text

COLUMNS = ("video", "label", "keep", "score", "start_s", "end_s", "sense", "path")
SENSES = ("audio", "frames", "both", "")


@dataclass(frozen=True)
class TagRow:
    """A draft label of a video; an empty label stands for a video without any.

    Args:
        keep: whether it counts as a label.
        score: calibrated probability; None for a person's own label.
        start_s, end_s: where it is most likely; None for a person's own label.
        sense: "audio", "frames", "both", or "".
        path: of the video file; "" if unknown.
    """

    video: str
    label: str
    keep: bool = True
    score: float | None = None
    start_s: float | None = None
    end_s: float | None = None
    sense: str = ""
    path: str = ""


def write_tags(path: Path | str, rows: Iterable[TagRow]) -> None:
    """Write draft labels.

    Raises:
        InputError: a label that `read_labels` could not read back: it contains `;`, or is "background".
    """
    table: list[tuple[object, ...]] = [COLUMNS]
    for row in rows:
        if ";" in row.label or row.label.strip().lower() == "background":
            raise InputError(f"{row.video}: the label {row.label!r} cannot be written to {path}; use another word")
        keep = "" if not row.label else "yes" if row.keep else "no"
        times = ("" if t is None else f"{t:.2f}" for t in (row.start_s, row.end_s))
        score = "" if row.score is None else f"{row.score:.3f}"
        table.append((row.video, row.label, keep, score, *times, row.sense, row.path))
    sweep_beside(Path(path))
    atomic_write(path, csv_text(table))


def is_tags(path: Path | str) -> bool:
    """Whether a file has the header of `write_tags`."""
    source = Path(path)
    if source.suffix.lower() != ".csv" or not source.is_file():
        return False
    with reading(source), source.open(encoding="utf-8-sig", errors="replace") as file:
        return {"video", "label", "keep", "score"} <= set(_header(source, file.readline(4096))[1])


def read_tags(path: Path | str) -> tuple[TagRow, ...]:
    """Read draft labels, as written, or as saved by a spreadsheet (separated by commas, semicolons or tabs).

    Raises:
        InputError: no such file. FormatError: a missing column, or a cell that cannot be read; with line numbers.
    """
    text = read_text(path)
    delimiter, header = _header(path, text.partition("\n")[0])
    lacking = [name for name in ("video", "label", "keep") if name not in header]
    if lacking:
        raise FormatError(f"{path}: expected the table of `avloc tag`, the column {lacking[0]!r} is missing")
    reader = TableReader(path, text, delimiter)
    next(reader)
    rows = ((reader.line_num, dict(zip(header, cells, strict=False))) for cells in reader if any(cells))
    return tuple(_row(path, line, cells) for line, cells in rows)


def _header(path: Path | str, line: str) -> tuple[str, list[str]]:
    """(separator, columns) of the first line."""
    rows = {sign: next(TableReader(path, line, sign), []) for sign in ",;\t"}
    found = [(sign, [cell.strip().lower() for cell in row]) for sign, row in rows.items()]
    return max(found, key=lambda item: len(item[1]))


def _row(path: Path | str, line: int, cells: Mapping[str, str]) -> TagRow:
    text = {name: cells.get(name, "").strip() for name in COLUMNS}
    if not text["video"]:
        raise FormatError(f"{path}: line {line}: expected a video name in column 'video'")
    if text["sense"] not in SENSES:
        raise FormatError(f"{path}: line {line}: expected the sense audio, frames or both, got {text['sense']!r}")
    numbers = {name: _number(path, line, name, text[name]) for name in ("score", "start_s", "end_s")}
    keep = is_kept(path, line, text["keep"])
    return TagRow(text["video"], text["label"], keep, **numbers, sense=text["sense"], path=text["path"])


def _number(path: Path | str, line: int, name: str, cell: str) -> float | None:
    try:
        value = float(cell.replace(",", ".")) if cell else None  # 0,97 in some languages
    except ValueError:
        value = -1.0
    if value is not None and not 0 <= value < 1e9:
        raise FormatError(f"{path}: line {line}: expected a number of at least 0 in column {name}, got {cell!r}")
    return value
