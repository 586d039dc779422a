"""Saved corrections as the page gets them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from avloc.formats.corrections import VideoCorrections
from avloc.system.text import fingerprint


def statements(video: VideoCorrections) -> dict[str, Any]:
    """What the file states about a video, with its version; segments are [start_s, end_s, label]."""
    rows = {
        name: [[i.start_s, i.end_s, i.label] for i in items]
        for name, items in (("present", video.present), ("untouched", video.untouched), ("deleted", video.deleted))
    }
    points = [[p.time_s, p.label] for p in video.points]
    return {"version": version_of(video), "checked": video.checked, **rows, "points": points}


def version_of(video: VideoCorrections) -> str:
    """Hash of all that is stated about a video; "" stands for none."""
    return fingerprint(asdict(video))
