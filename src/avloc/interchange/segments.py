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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from avloc.errors import FormatError, InputError
from avloc.metrics.overlap import lanes
from avloc.system.text import nfc, printable
from avloc.types import Detection, Instance, Media

Labelled = Instance | Detection

_NO_XML = "\ufffe\uffff"
_HALF_MS = 0.0005
_SCORED = re.compile(r"^(?P<label>.*) \((?P<score>-?\d+\.\d{4})\)$", re.DOTALL)


@dataclass(frozen=True)
class VideoSegments:
    """Detections or ground truth of one video, as written to and read from every format.

    Args:
        video_id: name of the video in every table; kept in Unicode's form NFC.
        segments: Detections (with score) or Instances (without).
        duration_s: None if the source format does not state it.
        media: the video file if available; some formats refer to it.
        frame_times_s: (n,) presentation times of all frames, ascending from 0. None: frames are counted at the
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
        return tuple(dict.fromkeys(s.label for s in self.segments))

    @property
    def by_time(self) -> list[Labelled]:
        """Segments in order of time."""
        return sorted(self.segments, key=lambda s: (s.start_s, s.end_s))

    def rows(self, label: str) -> list[list[Labelled]]:
        """Segments of a class in the fewest rows without overlap, to the millisecond; each row is in order of time."""
        return lanes((s for s in self.segments if s.label == label), milliseconds)

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


def read_lines(path: Path | str) -> Sequence[str]:
    """Lines of a UTF-8 text file in Unicode's form NFC; a byte-order mark is removed.

    Raises:
        InputError: no such file. FormatError: not UTF-8.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"{source}: no such file")
    try:
        return nfc(source.read_text(encoding="utf-8-sig")).split("\n")
    except UnicodeDecodeError as error:
        raise FormatError(f"{source}: expected text in UTF-8 ({error}); save it as UTF-8") from error
