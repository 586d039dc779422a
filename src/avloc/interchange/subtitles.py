"""WebVTT and SRT subtitles: detections as captions over the video.

A cue's text is `label (score)`, or `label` for ground truth. WebVTT is also read: the label is the cue's text without
mark-up.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from avloc.errors import FormatError
from avloc.interchange.segments import (
    Row,
    VideoSegments,
    clean,
    cut_to,
    milliseconds,
    read_lines,
    scored_text,
    unscored_text,
)
from avloc.system.atomic import atomic_write
from avloc.system.text import pluralize
from avloc.types import exact

_STAMP = r"(?:(\d+):)?([0-5]\d):([0-5]\d)[.,](\d{3})"
_TIMES = re.compile(rf"^\s*{_STAMP}\s*-->\s*{_STAMP}(?:\s.*)?$")
_STYLE = re.compile(r"\{(?=\\|\w:)")  # of ASS and MicroDVD, in SRT too
_OTHER_BLOCK = re.compile(r"^(NOTE|STYLE|REGION)(\s|$)")
_HLS = re.compile(r"^X-TIMESTAMP-MAP\s*=\s*(.*)$")
_HLS_ZERO = re.compile(r"^(MPEGTS:0+,LOCAL:[0:.]+|LOCAL:[0:.]+,MPEGTS:0+)$")


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
        cues.append(f"{number}\n{_stamp(start, ',')} --> {_stamp(end, ',')}\n{_without_tags(scored_text(item))}\n")
    atomic_write(path, "\n".join(cues))


def read_vtt(path: Path | str, notes: list[str] | None = None) -> tuple[VideoSegments, ...]:
    """Read one video, named after the file. The full text of a cue is its label.

    Blocks are told apart as in the W3C's WebVTT, section 6.1: a block with a line of times is a cue, also under an
    identifier that begins with NOTE, and a further line of times begins a further cue. Cues of zero length, and text
    that is not in a cue, are skipped and noted. HLS's X-TIMESTAMP-MAP (RFC 8216, section 3.5) relates the cues to the
    transport stream's own clock, which is not the video's; it is noted, and times are left as stated.

    Raises:
        InputError: no such file. FormatError: not WebVTT, or a cue that ends before it starts.
    """
    lines = [line.rstrip("\r") for line in read_lines(path)]
    if not re.match(r"WEBVTT(\s|$)", lines[0]):
        raise FormatError(f"{path}: expected WebVTT, whose first line is WEBVTT, got {lines[0][:40]!r}")
    said: list[str] = [] if notes is None else notes
    found: list[Row] = []
    stray = 0
    header = True
    for block in _blocks(lines):
        mapped = next((match for line in block if header and (match := _HLS.match(line))), None)
        if mapped is not None and not _HLS_ZERO.match(mapped[1].replace(" ", "")):
            said.append(f"{path}: X-TIMESTAMP-MAP={mapped[1]} is not applied; times are left as the cues state them")
        cues = _cues(path, block)
        stray += not cues and not header and not _OTHER_BLOCK.match(block[0])
        found += cues
        header = False
    if stray:
        said.append(f"{path}: left out {pluralize(stray, 'block')} of text without times")
    return (VideoSegments(Path(path).stem, tuple(cut_to(str(path), found, notes=said))),)


def _without_arrow(text: str) -> str:
    """Text for the WebVTT header and for SRT, which have no escapes: an arrow would be read as a cue."""
    return text.replace("-->", "→")


def _without_tags(text: str) -> str:
    """Text for SRT, of which players leave out `<x>` and `{\\x}` as mark-up."""
    return _STYLE.sub("(", _without_arrow(text)).replace("<", "‹").replace(">", "›")


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
    return [block for block in blocks if block]


def _cues(path: Path | str, block: Sequence[str]) -> list[Row]:
    places = [i for i, line in enumerate(block) if "-->" in line and not (i == 0 and _OTHER_BLOCK.match(line))]
    return [_cue(path, block[i:end]) for i, end in pairwise([*places, len(block)])]


def _cue(path: Path | str, lines: Sequence[str]) -> Row:
    match = _TIMES.match(lines[0])
    if match is None:
        raise FormatError(f"{path}: expected HH:MM:SS.mmm --> HH:MM:SS.mmm, got {lines[0][:60]!r}")
    marked, end, plain = " ".join(lines[1:]).rpartition(">")  # every < before the last > begins a tag
    text = re.sub(r"<[^>]*>", "", marked + end) + plain
    try:
        text = html.unescape(text).strip()
    except ValueError as error:
        raise FormatError(f"{path}: {text[:60]!r} has the number of a character that is none ({error})") from None
    groups = match.groups()
    try:
        return Row(_seconds(groups[:4]), _seconds(groups[4:]), *unscored_text(text))
    except ValueError as error:
        raise FormatError(f"{path}: expected a time in hours, minutes and seconds ({error})") from None


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, ms = (int(exact(part or 0)) for part in parts)
    return (((hours * 60 + minutes) * 60 + seconds) * 1000 + ms) / 1000
