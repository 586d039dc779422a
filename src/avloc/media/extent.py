"""From where to where a video lasts, and its clock: `measure`.

Time 0 is where players start to count. Browsers (measured with Chromium) count an mp4, mov, mkv or webm on the file's
own clock, so a stream that starts late starts late; other formats, whose clock starts anywhere, they do not play, and
mpv and VLC count them from the earliest stream. Files of the first kind whose clock starts after more than `LATE_S`
(recorded live streams) are counted in the second way. Encoders put a few milliseconds of padding before the audio: if
the first frame starts within a frame and `PADDING_S`, time 0 is the first frame, and frame k of n fps stays at k / n.

The end is that of the last frame or audio sample. Many headers are wrong or state none (a streamed webm, a cut
recording). So the last packets are read, without decoding, from a seek close to the end. The header's duration is used
only if the file is truncated (the decoder then finds out how much is there), or if the end cannot be read.

Formats whose time stamps may start anew (`joins.DISCONTINUOUS`) are read from start to end, and so is a file whose last
packets fall back in time. Measured: 200 MB of transport stream per second of CPU.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import av.container
import av.error

from avloc.media.complete import appended_at, is_complete
from avloc.media.container import open_container, packets, seek
from avloc.media.joins import BACK_S, DISCONTINUOUS, Recording, Scan, recordings, steps
from avloc.mediafile import FileClock

LATE_S = 60
PADDING_S = Fraction(1, 20)

_OWN_CLOCK = ("mov", "matroska")

_STATES_DURATION = ("mov", "matroska", "avi", "flv", "asf")
"""Formats whose header states a duration; for others ffmpeg estimates it from the bit rate."""


@dataclass(frozen=True)
class Extent:
    """Length of a video, its clock, and what is wrong in the header, if anything."""

    duration_s: Fraction
    clock: FileClock
    note: str = ""


def measure(
    container: av.container.InputContainer,
    path: Path,
    video: av.VideoStream,
    sounds: Sequence[av.AudioStream],
    first_s: Fraction | None,
    frame_s: Fraction,
) -> Extent:
    """Measure a video; `container` is read and then at any position.

    Args:
        path: of the container, to open it again.
        video, sounds: the chosen streams.
        first_s: time stamp of the first frame that can be decoded; None without time stamps.
        frame_s: length of a frame, where packets state none.
    """
    shown = {video.index, *(stream.index for stream in sounds)}
    discontinuous = bool(container.format.flags & DISCONTINUOUS)
    stated = _Stated.of(container, video, first_s or Fraction(0))
    scan = None if discontinuous else _scan_end(container, video, first_s or Fraction(0), stated.video_s, frame_s)
    whole = scan is None or stated.is_later_than(scan) or _falls_back(scan)
    if scan is None or whole:
        with open_container(path) as again:
            scan = _scan(again, frame_s)
        found = recordings(scan, video.index)
    else:
        found = [Recording([run for runs in scan.runs.values() for run in runs])]
    starts = found[0].starts()
    if first_s is None or video.index not in starts:  # no time stamps
        length_s = max(scan.length_s(video.index), frame_s)
        return Extent(length_s, FileClock(end_s=length_s))

    if discontinuous and not any(run.spans(float(first_s)) for run in found[0].runs):
        first_s = starts[video.index]  # the first frame's stamp is an outlier
    ends = _ends(found)
    origin_s = _origin_s(container, found[0], first_s, frame_s, discontinuous)
    video_end_s = max(ends.get(video.index, first_s) - origin_s, first_s - origin_s + frame_s)
    duration_s = max([video_end_s, *(end - origin_s for stream, end in ends.items() if stream in shown)])
    note = ""
    if stated.is_later_than(scan) and len(found) == 1 and stated.end_s is not None:
        if is_complete(path, container.format.name):
            said = float(stated.end_s - origin_s)
            note = f"its header states {said:.1f} s, the file is complete with {float(duration_s):.1f} s"
        elif stated.video_s is not None:
            video_end_s = max(video_end_s, stated.video_s)
            duration_s = max(duration_s, video_end_s)
    begins = appended_at(path, container.format.name)
    if begins is not None:
        note = f"another recording begins at byte {begins}, which players do not read; split the file there"
    made = steps(scan, found) if whole else ()
    return Extent(duration_s, FileClock(origin_s, duration_s, video_end_s, made, len(found) - 1), note)


@dataclass(frozen=True)
class _Stated:
    """What the header states: length of the video stream, and end of the file on its clock."""

    first_s: Fraction
    video_s: Fraction | None
    end_s: Fraction | None

    @classmethod
    def of(cls, container: av.container.InputContainer, video: av.VideoStream, first_s: Fraction) -> _Stated:
        end_s = None
        if container.duration:
            end_s = Fraction(container.duration + (container.start_time or 0), av.time_base)
        length_s = video.duration * Fraction(video.time_base) if video.duration and video.time_base else None
        trusted = container.format.name.startswith(_STATES_DURATION)
        return cls(first_s, length_s or (end_s - first_s if end_s is not None else None), end_s if trusted else None)

    def is_later_than(self, scan: Scan) -> bool:
        """Whether the file ends noticeably before."""
        ends = [run.end_s for runs in scan.runs.values() for run in runs]
        if self.end_s is None or not ends:
            return False
        return max(ends) < self.end_s - max(Fraction(1), (self.end_s - self.first_s) / 20)


def _scan_end(
    container: av.container.InputContainer,
    video: av.VideoStream,
    first_s: Fraction,
    stated_s: Fraction | None,
    frame_s: Fraction,
) -> Scan | None:
    """The packets from shortly before the stated end to the real one; None if that finds none of the video."""
    # the frame shown last may come well before others in the file
    if not stated_s or not seek(
        container, video, first_s + max(Fraction(0), stated_s - max(Fraction(2), 20 * frame_s))
    ):
        return None
    scan = _scan(container, frame_s)
    return scan if video.index in scan.runs else None  # only audio at the end, or a truncated file


def _scan(container: av.container.InputContainer, frame_s: Fraction) -> Scan:
    """Read packets from the current position to the end of the file."""
    lengths_s = {stream.index: frame_s for stream in container.streams.video}
    scan = Scan(bool(container.format.flags & DISCONTINUOUS), lengths_s)
    with contextlib.suppress(av.error.FFmpegError):
        for packet in packets(container, [*container.streams.video, *container.streams.audio]):
            scan.add(packet)
    return scan


def _falls_back(scan: Scan) -> bool:
    return any(b.first < a.last - BACK_S for runs in scan.runs.values() for a, b in pairwise(runs))


def _ends(found: list[Recording]) -> dict[int, Fraction]:
    """The end of each stream, on the mended clock."""
    ends: dict[int, Fraction] = {}
    for recording in found:
        for stream, end in recording.ends().items():
            ends[stream] = max(ends.get(stream, end), end)
    return ends


def _origin_s(
    container: av.container.InputContainer, first: Recording, first_s: Fraction, frame_s: Fraction, scanned: bool
) -> Fraction:
    """The time stamp of time 0; see the top of this file."""
    if scanned:
        starts = list(first.starts().values())
    else:
        streams = [*container.streams.video, *container.streams.audio]
        starts = [s.start_time * Fraction(s.time_base) for s in streams if s.start_time is not None and s.time_base]
    start_s = min([first_s, *starts])
    if container.format.name.startswith(_OWN_CLOCK) and 0 <= start_s <= LATE_S:
        start_s = Fraction(0)
    return first_s if first_s - start_s < min(frame_s, PADDING_S) else start_s
