"""Weak labels: which classes occur in which video. A table, as exported from a spreadsheet.

    video,labels,subset
    v_01.mp4,dog;rain,train
    v_02,,validation          empty cell: background only

Columns: `video`, `labels` (or `label`), and optionally `subset` (or `split`): train, validation or test; the default is
train. In a column `keep` (of `avloc tag`), no strikes the labels of a row out. Several labels of a video are separated
by `;` in one cell or given in one row each. The column separator is a comma, a semicolon or a tab. UTF-8, with or
without a byte-order mark; any line ends.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from avloc.errors import FormatError, InputError, did_you_mean
from avloc.formats.untrusted.bombs import read_document
from avloc.system.atomic import atomic_write
from avloc.system.text import csv_text, nfc, pluralize
from avloc.vocabulary import VIDEO_EXTENSIONS, Subset

HEADER = {
    "video": ("video", "video_id"),
    "labels": ("labels", "label"),
    "subset": ("subset", "split"),
    "keep": ("keep",),
}
TAG_FACTS = ("score", "start_s", "end_s", "sense", "path")
"""Further columns of the table of `avloc tag`, for people."""

_KEEP = {"": True, "yes": True, "y": True, "true": True, "1": True, "no": False, "n": False, "false": False, "0": False}


@dataclass(frozen=True)
class LabelRow:
    """Labels and subset of one video. No label: background only."""

    video_id: str
    labels: tuple[str, ...]
    subset: str


@dataclass(frozen=True)
class LabelTable:
    """One row per video, in order of first appearance; `notes` reports what was merged or ignored."""

    rows: tuple[LabelRow, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def classes(self) -> tuple[str, ...]:
        """All labels, sorted."""
        return tuple(sorted({label for row in self.rows for label in row.labels}))

    def subset(self, name: str) -> tuple[LabelRow, ...]:
        """Rows of "train", "validation" or "test"."""
        return tuple(row for row in self.rows if row.subset == name)


@dataclass(frozen=True)
class VideoMatch:
    """Labels matched with available videos.

    Args:
        found: {id of an available video: its row}.
        missing: labelled videos that are not available.
        unlabelled: available videos without a row.
    """

    found: dict[str, LabelRow]
    missing: tuple[str, ...]
    unlabelled: tuple[str, ...]


def read_labels(path: Path | str) -> LabelTable:
    """Read weak labels in the format described above.

    Rows of one video are merged. Extensions of video files are removed from video names.

    Raises:
        InputError: no such file.
        FormatError: not UTF-8, no header, wrong number of cells, no video name, unknown subset, or contradictory rows
            of a video; with line numbers.
    """
    lines = _Lines(path)
    videos: dict[str, _Video] = {}
    for line, cells in lines.rows():
        video_id = _video_id(cells["video"])
        if not video_id:
            raise FormatError(f"{path}: line {line}: expected a video name in column {lines.names['video']!r}")
        video = videos.setdefault(video_id, _Video(video_id))
        kept, subset = is_kept(path, line, cells.get("keep", "")), _subset(path, line, cells.get("subset", ""))
        video.add(path, line, _labels(path, line, cells["labels"]), subset, kept)
    if not videos:
        raise FormatError(f"{path}: expected one row per video after the header, got none")
    notes = [*lines.notes, *(note for video in videos.values() for note in video.notes)]
    unsaid = [video.video_id for video in videos.values() if not video.subset]
    if "subset" in lines.names and unsaid:
        notes.append(f"{pluralize(len(unsaid), 'video')} with an empty subset used for training, first {unsaid[0]!r}")
    table = LabelTable(tuple(video.row() for video in videos.values()))
    return replace(table, notes=(*notes, *_doubtful(table.classes)))


def write_labels(path: Path | str, table: LabelTable) -> None:
    """Write weak labels as `read_labels` reads them.

    Raises:
        InputError: a label that contains `;`, is empty or is "background": it could not be read back.
    """
    rows = [("video", "labels", "subset")]
    for row in table.rows:
        wrong = [label for label in row.labels if ";" in label or label.lower() == "background" or not label.strip()]
        if wrong:
            raise InputError(f"{row.video_id}: the label {wrong[0]!r} cannot be written to {path}; rename it")
        rows.append((row.video_id, ";".join(row.labels), row.subset))
    atomic_write(path, csv_text(rows))


def match_videos(table: LabelTable, available_ids: Iterable[str]) -> VideoMatch:
    """Match labelled videos with available ones.

    A labelled name is tried unchanged, then without its extension, then without its folders.

    Raises:
        InputError: two rows match the same video.
    """
    available = list(dict.fromkeys(available_ids))
    known = set(available)
    found: dict[str, LabelRow] = {}
    missing = []
    for row in table.rows:
        name = next((candidate for candidate in _spellings(row.video_id) if candidate in known), None)
        if name is None:
            missing.append(row.video_id)
        elif name in found:
            raise InputError(
                f"the labels of {found[name].video_id!r} and {row.video_id!r} both match the video {name!r}; "
                "keep one of them, or use the exact name"
            )
        else:
            found[name] = row
    return VideoMatch(found, tuple(missing), tuple(video for video in available if video not in found))


def read_text(path: Path | str) -> str:
    """Read UTF-8 text, in Unicode's form NFC. Other encodings are an error: a wrong guess silently corrupts names."""
    source = Path(path)
    if not source.is_file():
        raise InputError(
            f"{source}: expected a table (CSV); it {'is a folder' if source.is_dir() else 'does not exist'}"
        )
    raw = read_document(source)
    advice = "save it as 'CSV UTF-8 (comma delimited)'"
    if raw.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise FormatError(f"{source}: expected a CSV text file, got an Excel workbook; {advice}")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in raw:
        raise FormatError(f"{source}: expected UTF-8 text, got UTF-16 or binary data; {advice}")
    try:
        return nfc(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise FormatError(
            f"{source}: line {line}: expected UTF-8 text, got the byte 0x{raw[error.start]:02x} "
            f"(perhaps Latin-1 or Windows-1252); {advice}"
        ) from error


class TableReader:
    """csv.reader whose errors are FormatError with the line number."""

    def __init__(self, path: Path | str, text: str, delimiter: str = ",") -> None:
        self.path = path
        self._reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        try:
            return next(self._reader)
        except csv.Error as error:
            raise FormatError(
                f"{self.path}: line {self.line_num}: expected a table row ({error}); is a quote missing?"
            ) from error

    @property
    def line_num(self) -> int:
        """Lines read so far."""
        return self._reader.line_num


class _Lines:
    """Rows of a table with a header, whose separator is detected from the header."""

    def __init__(self, path: Path | str) -> None:
        self.path = path
        self.text = read_text(path)
        self.offset = 0
        first, newline, rest = self.text.partition("\n")
        if first.strip().lower().startswith("sep="):  # Excel's own separator line
            self.text, self.offset = rest, len(newline)
        self.header, self.delimiter, self.names = self._find_header()
        known = {*self.names.values(), *(TAG_FACTS if "keep" in self.names else ())}
        others = [name for name in self.header if name not in known and name]
        self.notes = [f"ignored columns: {', '.join(map(repr, others))}"] if others else []

    def _find_header(self) -> tuple[list[str], str, dict[str, str]]:
        first = next((line for line in self.text.splitlines() if line.strip()), "")
        for delimiter in ",;\t":
            header = [cell.strip() for cell in next(TableReader(self.path, first, delimiter), [])]
            lower = {cell.lower(): cell for cell in reversed(header)}
            names = {key: lower[name] for key, choices in HEADER.items() for name in reversed(choices) if name in lower}
            if "video" in names and "labels" in names:
                return header, delimiter, names
        raise FormatError(
            f"{self.path}: expected a header `video,labels` or `video,labels,subset` in the first line, "
            f"got {first[:80]!r}; add one"
        )

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """(line number, {"video", "labels", "subset", "keep"}) of every non-blank row."""
        reader = TableReader(self.path, self.text, self.delimiter)
        columns = {key: self.header.index(name) for key, name in self.names.items()}
        header_seen = False
        for row in reader:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if not header_seen:
                header_seen = True
                continue
            line = reader.line_num + self.offset
            extra = [cell for cell in cells[len(self.header) :] if cell]
            if extra or len(cells) <= max(columns["video"], columns["labels"]):
                raise FormatError(
                    f"{self.path}: line {line}: expected {len(self.header)} columns as in the header, got {len(cells)}"
                    f"; quote cells that contain {self.delimiter!r}, or give each label its own row"
                )
            yield line, {key: cells[i] if i < len(cells) else "" for key, i in columns.items()}


@dataclass
class _Video:
    """Rows of one video, merged while reading."""

    video_id: str
    subset: str = ""
    subset_line: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    struck: dict[str, int] = field(default_factory=dict)
    empty_line: int = 0
    notes: list[str] = field(default_factory=list)

    def add(self, path: Path | str, line: int, labels: tuple[str, ...], subset: str, kept: bool) -> None:
        if subset and self.subset and subset != self.subset:
            raise FormatError(
                f"{path}: video {self.video_id!r} is in subset {self.subset!r} in line {self.subset_line} and in "
                f"{subset!r} in line {line}; keep one"
            )
        if subset and not self.subset:
            self.subset, self.subset_line = subset, line
        other = self.struck if kept else self.labels
        told = "{!r}: {!r} is kept and struck out, lines {} and {}: kept".format
        self.notes += [told(self.video_id, label, other[label], line) for label in labels if label in other]
        if not kept:
            self.struck.update(dict.fromkeys(labels, line))
            return
        earlier = next(iter(self.labels.values()), self.empty_line)
        if (not labels and self.labels) or (labels and self.empty_line):
            raise FormatError(
                f"{path}: video {self.video_id!r} has labels in only one of the lines {earlier} and {line}; "
                "keep one (without labels: background only)"
            )
        repeated = [label for label in labels if label in self.labels] or [""] * bool(self.empty_line)
        if repeated and len(repeated) == max(1, len(labels)):
            self.notes.append(f"line {line} repeats line {earlier} for {self.video_id!r}: merged")
        self.labels.update({label: line for label in labels if label not in self.labels})
        if not labels and not self.empty_line:
            self.empty_line = line

    def row(self) -> LabelRow:
        return LabelRow(self.video_id, tuple(self.labels), self.subset or "train")


def _labels(path: Path | str, line: int, cell: str) -> tuple[str, ...]:
    labels = tuple(dict.fromkeys(part.strip() for part in cell.split(";") if part.strip()))
    if any(label.lower() == "background" for label in labels):
        raise FormatError(f"{path}: line {line}: background is not a label; leave the cell empty for background only")
    return labels


def _doubtful(classes: Sequence[str]) -> Iterator[str]:
    """A note for each suspicious class: differs from another in case or spaces only, or combines several."""
    spelt: dict[str, list[str]] = {}
    for label in classes:
        spelt.setdefault(_folded(label), []).append(label)
    for same in spelt.values():
        if len(same) > 1:
            yield f"{' and '.join(map(repr, same))} differ only in case or spaces and count as {len(same)} classes"
    split = {label: [part.strip() for part in re.split(r"[|,]", label)] for label in classes}
    sets = Counter(frozenset(map(_folded, parts)) for parts in split.values())
    for label, parts in split.items():
        joined = any(_folded(part) in spelt for part in parts) or sets[frozenset(map(_folded, parts))] > 1
        if len(parts) > 1 and joined:  # not "Guitar, acoustic" alone: names of AudioSet contain commas
            yield f"{label!r} counts as one class; separate the labels of a video by ;, as in {';'.join(parts)}"


def _folded(label: str) -> str:
    return "".join(label.split()).casefold()


def is_kept(path: Path | str, line: int, cell: str) -> bool:
    """Whether a cell of the column `keep` says yes; empty: yes. Raises FormatError for other words."""
    if (kept := _KEEP.get(cell.strip().lower())) is None:
        raise FormatError(f"{path}: line {line}: expected yes or no in column keep, got {cell!r}")
    return kept


def _subset(path: Path | str, line: int, cell: str) -> str:
    if not cell:
        return ""
    subset = Subset.parse(cell)
    if subset is None:
        hint = did_you_mean(cell.lower(), [known.short for known in Subset])
        raise FormatError(f"{path}: line {line}: expected subset train, validation or test, got {cell!r}.{hint}")
    return subset.short


def _video_id(cell: str) -> str:
    stem, dot, suffix = cell.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in VIDEO_EXTENSIONS else cell


def _spellings(video_id: str) -> Iterator[str]:
    bare = video_id.replace("\\", "/").rpartition("/")[2]
    for name in (video_id, bare):
        yield name
        stem, dot, _ = name.rpartition(".")
        if dot and stem:
            yield stem
