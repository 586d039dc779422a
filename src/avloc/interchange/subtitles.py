"""WebVTT and SRT subtitles: detections as captions over the video.

A cue's text is `label (score)`, or `label` for ground truth. WebVTT is also read: the label is the cue's text without
mark-up.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path

from avloc.errors import FormatError
from avloc.interchange.segments import (
    Labelled,
    VideoSegments,
    clean,
    milliseconds,
    read_lines,
    scored_text,
    segment,
    unscored_text,
)
from avloc.system.atomic import atomic_write

_STAMP = r"(?:(\d{2,}):)?(\d{2}):(\d{2})\.(\d{3})"
_TIMES = re.compile(rf"^\s*{_STAMP}[ \t]+-->[ \t]+{_STAMP}(?:\s.*)?$")
_BLOCKS = ("NOTE", "STYLE", "REGION", "WEBVTT")


def write_vtt(path: Path | str, video: VideoSegments) -> None:
    """Write one video's segments as WebVTT, in order of time."""
    cues = [f"WEBVTT - {html.escape(_without_arrow(clean(video.video_id)), quote=False)}\n"]
    for number, item in enumerate(video.by_time, start=1):
        start, end = milliseconds(item)
        text = html.escape(scored_text(item), quote=False)
        cues.append(f"{number}\n{_stamp(start, '.')} --> {_stamp(end, '.')}\n{text}\n")
    atomic_write(path, "\n".join(cues))


def write_srt(path: Path | str, video: VideoSegments) -> None:
    """Write one video's segments as SubRip, in order of time."""
    cues = []
    for number, item in enumerate(video.by_time, start=1):
        start, end = milliseconds(item)
        cues.append(f"{number}\n{_stamp(start, ',')} --> {_stamp(end, ',')}\n{_without_arrow(scored_text(item))}\n")
    atomic_write(path, "\n".join(cues))


def read_vtt(path: Path | str, notes: list[str] | None = None) -> tuple[VideoSegments, ...]:
    """Read one video, named after the file. The full text of a cue is its label.

    Raises:
        InputError: no such file. FormatError: not WebVTT, or a cue that ends before it starts.
    """
    lines = [line.rstrip("\r") for line in read_lines(path)]
    if not lines[0].startswith("WEBVTT"):
        raise FormatError(f"{path}: expected WebVTT, whose first line is WEBVTT, got {lines[0][:40]!r}")
    found = [cue for block in _blocks(lines) if (cue := _cue(path, block)) is not None]
    return (VideoSegments(Path(path).stem, tuple(found)),)


def _without_arrow(text: str) -> str:
    """Text for the WebVTT header and for SRT, which have no escapes: an arrow would be read as a cue."""
    return text.replace("-->", "→")


def _stamp(milliseconds_: int, point: str) -> str:
    seconds, ms = divmod(milliseconds_, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{point}{ms:03d}"


def _blocks(lines: Sequence[str]) -> list[list[str]]:
    blocks: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if block and not block[0].startswith(_BLOCKS)]


def _cue(path: Path | str, block: list[str]) -> Labelled | None:
    place = next((i for i, line in enumerate(block[:2]) if "-->" in line), None)
    if place is None:
        return None
    match = _TIMES.match(block[place])
    if match is None:
        raise FormatError(f"{path}: expected HH:MM:SS.mmm --> HH:MM:SS.mmm, got {block[place][:60]!r}")
    text = html.unescape(re.sub(r"<[^>]*>", "", " ".join(block[place + 1 :]))).strip()
    label, score = unscored_text(text)
    groups = match.groups()
    return segment(f"{path}", _seconds(groups[:4]), _seconds(groups[4:]), label, score)


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, ms = (int(part or 0) for part in parts)
    return (((hours * 60 + minutes) * 60 + seconds) * 1000 + ms) / 1000
