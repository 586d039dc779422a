"""OpenTimelineIO: a timeline for video editors. One track holds the video with a marker per segment; below it, one
track per class holds the segments as clips in place, and an audio track the audio.

Editors count whole frames at a constant rate, and most know only the rates of SMPTE timecode. Positions are the
presentation times of a segment's first frame and of the first frame after it, on a clock of the SMPTE rate that is
nearest to the video's average fps: within half a frame of that clock. Exact seconds are in the metadata.
Plain JSON in the schema that every version of the library reads (Clip.1, Marker.2).
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from avloc.errors import InputError
from avloc.interchange.segments import Labelled, VideoSegments, frame_span
from avloc.system.atomic import atomic_write
from avloc.system.text import json_text
from avloc.types import Detection

_SMPTE = tuple(map(Fraction, (24, 25, 30, 48, 50, 60)))
_NTSC = tuple(Fraction(1000 * rate, 1001) for rate in (24, 30, 60))
"""SMPTE ST 12-1 and ST 12-3; OpenTimelineIO's `RationalTime.is_smpte_timecode_rate`."""


def write_otio(path: Path | str, video: VideoSegments) -> None:
    """Write one video's segments as a timeline.

    Raises:
        InputError: the video file is unknown.
    """
    if video.media is None:
        raise InputError(f"{video.video_id}: a timeline needs the video; give --videos FOLDER")
    builder = _Builder(video)
    tracks = [builder.track("video", [builder.clip(video.video_id, 0, builder.total, markers=True)])]
    for label in video.labels:
        tracks += [builder.track(label, builder.cuts(row)) for row in video.rows(label)]
    if video.media.has_audio:
        tracks.append(builder.track("audio", [builder.clip(video.video_id, 0, builder.total)], "Audio"))
    timeline = {
        "OTIO_SCHEMA": "Timeline.1",
        "name": video.video_id,
        "metadata": {},
        "global_start_time": None,
        "tracks": {**_item("Stack.1", "tracks"), "children": tracks},
    }
    atomic_write(path, json_text(timeline, ensure_ascii=False, indent=1) + "\n")


def smpte_rate(frame_rate: Fraction) -> float:
    """The rate of SMPTE timecode that is nearest to a frame rate; of NTSC's only for a video that has it.

    12 fps gives 24, not 23.976: OpenTimelineIO's adapter for Final Cut X fails at NTSC's rates.
    """
    ntsc = min(_NTSC, key=lambda rate: abs(rate - frame_rate))
    if abs(ntsc - frame_rate) < Fraction(1, 100):
        return float(ntsc)
    return float(min(_SMPTE, key=lambda rate: abs(rate - frame_rate)))


def _item(schema: str, name: str) -> dict[str, Any]:
    return {
        "OTIO_SCHEMA": schema,
        "name": name,
        "metadata": {},
        "source_range": None,
        "effects": [],
        "markers": [],
        "enabled": True,
    }


def _facts(item: Labelled) -> dict[str, Any]:
    facts: dict[str, Any] = {"start_s": item.start_s, "end_s": item.end_s, "label": item.label}
    return {"avloc": facts | ({"score": item.score} if isinstance(item, Detection) else {})}


class _Builder:
    """Builds the parts of one video's timeline; positions are whole frames at its SMPTE rate."""

    def __init__(self, video: VideoSegments) -> None:
        assert video.media is not None
        self.video, self.media = video, video.media
        self.rate = smpte_rate(video.media.frame_rate)
        self.times_s = np.append(video.frame_times(), video.media.duration_s)
        self.total = max(1, round(video.media.duration_s * self.rate))

    def span(self, item: Labelled) -> tuple[int, int]:
        """[start, stop) of a segment in frames at the SMPTE rate."""
        first, last = frame_span(self.times_s[:-1], item.start_s, item.end_s)
        end = len(self.times_s) - 1
        start, stop = (round(float(self.times_s[min(k, end)]) * self.rate) for k in (first, last + 1))
        return start, max(stop, start + 1)

    def time(self, frames: int) -> dict[str, Any]:
        return {"OTIO_SCHEMA": "RationalTime.1", "rate": self.rate, "value": float(frames)}

    def range(self, start: int, stop: int) -> dict[str, Any]:
        return {
            "OTIO_SCHEMA": "TimeRange.1",
            "start_time": self.time(start),
            "duration": self.time(stop - start),
        }

    def track(self, name: str, children: list[dict[str, Any]], kind: str = "Video") -> dict[str, Any]:
        return {**_item("Track.1", name), "kind": kind, "children": children}

    def clip(self, name: str, start: int, stop: int, markers: bool = False) -> dict[str, Any]:
        reference = {
            "OTIO_SCHEMA": "ExternalReference.1",
            "name": "",
            "metadata": {},
            "target_url": self.media.path.resolve().as_uri(),
            "available_range": self.range(0, self.total),
        }
        clip = {**_item("Clip.1", name), "source_range": self.range(start, stop), "media_reference": reference}
        return clip | ({"markers": [self.marker(s) for s in self.video.segments]} if markers else {})

    def marker(self, item: Labelled) -> dict[str, Any]:
        return {
            "OTIO_SCHEMA": "Marker.2",
            "name": item.label,
            "color": "GREEN",
            "comment": f"score {item.score:.4f}" if isinstance(item, Detection) else "",
            "marked_range": self.range(*self.span(item)),
            "metadata": _facts(item),
        }

    def cuts(self, row: list[Labelled]) -> list[dict[str, Any]]:
        """Clips at their positions, with gaps between them."""
        children: list[dict[str, Any]] = []
        here = 0
        for item in row:
            start, stop = self.span(item)
            start = max(start, here)
            if start >= stop:  # it shares its only frame with the segment before
                continue
            if start > here:
                children.append({**_item("Gap.1", ""), "source_range": self.range(0, start - here)})
            children.append({**self.clip(item.label, start, stop), "metadata": _facts(item)})
            here = stop
        return children
