"""Raven selection tables for bioacoustics: tab-separated, one row per selection."""

from __future__ import annotations

from pathlib import Path

from avloc.interchange.segments import VideoSegments, clean, milliseconds
from avloc.system.atomic import atomic_write
from avloc.types import Detection

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
