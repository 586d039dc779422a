"""The labelled segments of a video, its frame times, and text helpers: shared by all formats.

Conventions
    Times are seconds on the video's clock, written to the millisecond. Frame numbers come from presentation times,
    never from time x fps, so they are correct for variable frame rates.
    A frame belongs to [start_s, end_s) if it is first shown in it; times within half a millisecond are equal.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import takewhile
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float

from avloc.errors import FormatError, InputError
from avloc.formats.untrusted.bombs import read_document
from avloc.mediafile import Media
from avloc.metrics.overlap import lanes
from avloc.system.text import nfc, pluralize, printable
from avloc.types import Detection, Instance, exact

Labelled = Instance | Detection


@dataclass(frozen=True)
class Row:
    """A labelled interval on the clock of an annotation tool, before `cut_to`; times may be negative."""

    start_s: float | Fraction
    end_s: float | Fraction
    label: str
    score: float | None = None


MOST_COPIES = 500_000
"""Of the segments of a document: segments times files may be any number."""

_NO_XML = "\ufffe\uffff"
_HALF_MS = 0.0005
_ROOT = re.compile(r"^(file:)?/*([A-Za-z]:)?/*")
"""What a path on this or another machine, or its URL, begins with."""

_TABLE_WORDS = re.compile(r"\.BirdNET\.(results|selection\.table)$|(\.Table\.\d+)?\.selections$")
"""BirdNET-Analyzer: dog.BirdNET.results.txt; Raven: dog.Table.1.selections.txt."""
_SCORED = re.compile(r"^(?P<label>.*) \((?P<score>-?\d+\.\d{4})\)$", re.DOTALL)


@dataclass(frozen=True)
class VideoSegments:
    """Detections or ground truth of one video, as written to and read from every format.

    Args:
        video_id: name of the video in every table; kept in Unicode's form NFC.
        segments: Detections (with score) or Instances (without).
        duration_s: None if the source format does not state it.
        media: the video file if available; some formats refer to it.
        frame_times_s: (n,) presentation times of all frames, ascending. None: frames are counted at the
            average fps.
    """

    video_id: str
    segments: tuple[Labelled, ...]
    duration_s: float | None = None
    media: Media | None = None
    frame_times_s: Float[np.ndarray, " n"] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "video_id", nfc(self.video_id))

    @property
    def file_name(self) -> str:
        """Name of the video file; the video's id if the file is unknown."""
        return self.media.path.name if self.media is not None else self.video_id

    @property
    def length_s(self) -> float:
        """Duration in seconds; if unknown, the end of the last segment."""
        known = self.duration_s or (self.media.duration_s if self.media is not None else 0.0)
        return known or max((s.end_s for s in self.segments), default=0.0)

    @property
    def labels(self) -> tuple[str, ...]:
        """Distinct labels in order of first appearance."""
        return tuple(self._by_label)

    @cached_property
    def _by_label(self) -> dict[str, list[Labelled]]:
        found: dict[str, list[Labelled]] = {}
        for item in self.segments:
            found.setdefault(item.label, []).append(item)
        return found

    @property
    def by_time(self) -> list[Labelled]:
        """Segments in order of time."""
        return sorted(self.segments, key=lambda s: (s.start_s, s.end_s))

    def rows(self, label: str) -> list[list[Labelled]]:
        """Segments of a class in the fewest rows without overlap, to the millisecond; each row is in order of time."""
        return lanes(self._by_label.get(label, ()), milliseconds)

    def frame_times(self) -> Float[np.ndarray, " n"]:
        """Presentation times of the frames in seconds.

        Raises:
            InputError: neither frame times nor the video file are known.
        """
        if self.frame_times_s is not None:
            return self.frame_times_s
        if self.media is None:
            raise InputError(f"{self.video_id}: this format counts frames, so it needs the video; give --videos FOLDER")
        count = max(1, math.ceil(self.media.duration_s * float(self.media.frame_rate) - 1e-6))
        return np.arange(count) / float(self.media.frame_rate)


def frame_span(times_s: Float[np.ndarray, " n"], start_s: float, end_s: float) -> tuple[int, int]:
    """First and last frame (inclusive, counted from 0) that are first shown in [start_s, end_s).

    If no frame begins in the segment, the frame shown at its start.
    """
    first = int(np.searchsorted(times_s, start_s - _HALF_MS, "left"))
    stop = int(np.searchsorted(times_s, end_s - _HALF_MS, "left"))
    return (first, stop - 1) if stop > first else (frame_at(times_s, start_s),) * 2


def frame_at(times_s: Float[np.ndarray, " n"], time_s: float) -> int:
    """Index of the frame shown at a time, counted from 0."""
    return max(0, int(np.searchsorted(times_s, time_s + _HALF_MS, "right")) - 1)


def milliseconds(segment: Labelled) -> tuple[int, int]:
    """Start and end in whole milliseconds, at least one apart."""
    start = round(segment.start_s * 1000)
    return start, max(round(segment.end_s * 1000), start + 1)


def clean(text: str) -> str:
    """Text for a single line: line ends, tabs, control characters and characters invalid in XML become spaces."""
    return "".join(" " if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in _NO_XML else c for c in text)


def scored_text(segment: Labelled) -> str:
    """`label (0.8712)` for a detection, `label` for an instance."""
    label = clean(segment.label)
    return f"{label} ({segment.score:.4f})" if isinstance(segment, Detection) else label


def unscored_text(text: str) -> tuple[str, float | None]:
    """Inverse of `scored_text`: ("label", 0.8712), or (text, None) without a score."""
    match = _SCORED.match(text)
    return (match["label"], float(match["score"])) if match else (text, None)


def segment(where: str, start_s: float, end_s: float, label: str, score: float | None = None) -> Labelled:
    """A segment read from a file. FormatError naming `where` if it is invalid."""
    if "\0" in label or printable(label) != label:
        raise FormatError(f"{where}: {label!r}: the label contains a NUL or a lone surrogate; correct or remove it")
    label = nfc(label)
    try:
        if score is None:
            return Instance(start_s, end_s, label)
        return Detection(start_s, end_s, label, score)
    except ValueError as error:
        raise FormatError(f"{where}: {label!r}: {error}; correct or remove it") from error


def cut_to(
    where: str,
    found: Iterable[Row],
    start_s: Fraction = Fraction(0),
    end_s: Fraction | None = None,
    notes: list[str] | None = None,
) -> list[Labelled]:
    """Rows on an annotation tool's clock as segments of the file that runs from `start_s` to `end_s` on that clock.

    Args:
        where: names the file in messages.
        end_s: None if open.
        notes: receives a line if rows lie partly or wholly outside the file, or have no length or label.
    """
    kept: list[Labelled] = []
    outside = cut = points = unlabelled = 0
    for row in found:
        if not row.label.strip():
            unlabelled += 1
            continue
        a, b = exact(row.start_s) - start_s, exact(row.end_s) - start_s
        if a == b:
            points += 1
            continue
        first, last = (max(a, Fraction(0)), b if end_s is None else min(b, end_s - start_s)) if a < b else (a, b)
        if a < b and first >= last:
            outside += 1
            continue
        cut += (first, last) != (a, b)
        kept.append(segment(where, float(first), float(last), row.label, row.score))
    if notes is not None:
        said = (
            (points, "left out {} of zero length"),
            (unlabelled, "left out {} without a label"),
            (outside, "left out {} outside this file"),
            (cut, "cut {} at the ends of this file"),
        )
        notes += [f"{where}: {text.format(pluralize(count, 'segment'))}" for count, text in said if count]
    return kept


def check_copies(path: Path | str, copies: int) -> None:
    """Refuse a document whose segments would be compared with, or given to, too many files.

    Args:
        copies: segments times further files that show them.

    Raises:
        FormatError: above `MOST_COPIES`.
    """
    if copies > MOST_COPIES:
        raise FormatError(
            f"{path}: its segments are of several files each, {copies} copies in all, above the limit of "
            f"{MOST_COPIES}; split it"
        )


def name_files(files: Iterable[str], where: Path | str = "", notes: list[str] | None = None) -> dict[str, str]:
    """{path or URL of a media file, as another tool states it: video_id}.

    The id is the name without extension. Different files of one name keep the parts of their paths that differ:
    monday/cam1.mp4 and tuesday/cam1.mp4. A path that is the end of another is the same file.

    Args:
        where: names the tool's file in the note.
        notes: receives a line if there are different files of one name.
    """
    paths = {file: PurePosixPath(_ROOT.sub("", nfc(file).replace("\\", "/"))) for file in files}
    longest = _longest(paths.values())
    whole = {file: longest[path] for file, path in paths.items()}
    alike: dict[str, set[PurePosixPath]] = {}
    for path in whole.values():
        alike.setdefault(path.stem, set()).add(path)
    apart_by_path = {path: name for same in alike.values() for path, name in _apart(same).items()}
    names = {file: apart_by_path[path] for file, path in whole.items()}
    apart = sorted({names[file] for file, path in whole.items() if names[file] != path.stem})
    if apart and notes is not None:
        notes.append(
            f"{where}: {', '.join(apart)} are taken for different videos, as their paths differ; if they are one, "
            "correct the paths in that tool"
        )
    return names


def _longest(paths: Iterable[PurePosixPath]) -> dict[PurePosixPath, PurePosixPath]:
    """{path: the longest that ends with it}; of several, the first."""
    order = {path: (-len(path.parts), number) for number, path in enumerate(dict.fromkeys(paths))}
    found = {path: path for path in order}
    ends: list[PurePosixPath] = []  # each is the end of the next
    for path in [*sorted(order, key=lambda p: p.parts[::-1]), None]:
        while ends and (path is None or path.parts[-len(ends[-1].parts) :] != ends[-1].parts):
            end = ends.pop()
            if ends:
                found[ends[-1]] = min(found[ends[-1]], found[end], key=order.__getitem__)
        ends += [] if path is None else [path]
    return found


def _apart(alike: set[PurePosixPath]) -> dict[PurePosixPath, str]:
    """{path: the part in which it differs from others of its name}; with its extension if only that differs."""
    if len(alike) == 1:
        return {path: path.stem for path in alike}
    bare = {path: path.with_suffix("") for path in alike}
    stated = {path: path for path in alike} if len({*bare.values()}) < len(alike) else bare
    parents = [path.parent.parts for path in alike]
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(min(parents), max(parents), strict=False)))
    return {path: "/".join(stated[path].parts[shared:]) for path in alike}


def table_stem(path: Path | str) -> str:
    """The video's name in the file name of a table: BirdNET and Raven append words to it."""
    return _TABLE_WORDS.sub("", Path(path).stem)


def number_in(cell: str) -> float | None:
    """The finite number in a cell of a table, or None."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def read_lines(path: Path | str) -> Sequence[str]:
    """Lines of a UTF-8 text file in Unicode's form NFC; a byte-order mark is removed.

    Raises:
        InputError: no such file. FormatError: not UTF-8.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"{source}: no such file")
    try:
        text = read_document(source).decode("utf-8-sig")
        return nfc(text.replace("\r\n", "\n").replace("\r", "\n")).split("\n")
    except UnicodeDecodeError as error:
        raise FormatError(f"{source}: expected text in UTF-8 ({error}); save it as UTF-8") from error
