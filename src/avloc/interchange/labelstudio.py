"""Label Studio: tasks with timeline labels for import, and the labelling configuration for them.

Label Studio counts frames from 1, both ends included, and ignores presentation times: it shows frame
floor(time x fps) + 1 at the fps given. Each task therefore states its own fps (`$fps` in the configuration; a wrong
value shifts the labels), and a range runs from the tick at which its first frame is presented to that of its last.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avloc.errors import InputError
from avloc.interchange.segments import Labelled, VideoSegments, clean, frame_span
from avloc.system.atomic import atomic_write
from avloc.system.text import json_text
from avloc.types import Detection

_CONTROL, _OBJECT = "videoLabels", "video"


def write_labelstudio(path: Path | str, videos: Sequence[VideoSegments], url_prefix: str = "") -> None:
    """Write import JSON: detections as predictions, instances as annotations.

    Args:
        url_prefix: prepended to the file name, such as "/data/local-files/?d=videos/" for local storage.

    Raises:
        InputError: a video's file, and so its frames, are unknown.
    """
    tasks = [_task(number, video, url_prefix) for number, video in enumerate(videos, start=1)]
    atomic_write(path, json_text(tasks, ensure_ascii=False, indent=1) + "\n")


def write_labelstudio_config(path: Path | str, labels: Sequence[str]) -> None:
    """Write the labelling configuration (XML) for tasks with these labels; control characters become spaces."""
    view = ET.Element("View")
    control = ET.SubElement(view, "TimelineLabels", {"name": _CONTROL, "toName": _OBJECT})
    for label in labels:
        ET.SubElement(control, "Label", {"value": clean(label)})
    ET.SubElement(
        view, "Video", {"name": _OBJECT, "value": f"${_OBJECT}", "frameRate": "$fps", "timelineHeight": "120"}
    )
    ET.indent(view, "  ")
    atomic_write(path, ET.tostring(view, encoding="unicode") + "\n")


def _task(number: int, video: VideoSegments, url_prefix: str) -> dict[str, Any]:
    if video.media is None:
        raise InputError(f"{video.video_id}: Label Studio counts frames, so it needs the video; give --videos FOLDER")
    results = [_region(f"v{number}s{k}", video, s) for k, s in enumerate(video.segments)]
    claimed = [r for r, s in zip(results, video.segments, strict=True) if isinstance(s, Detection)]
    known = [r for r, s in zip(results, video.segments, strict=True) if not isinstance(s, Detection)]
    task: dict[str, Any] = {
        "data": {
            "video": url_prefix + video.file_name,
            "fps": float(video.media.frame_rate),
            "video_id": video.video_id,
        }
    }
    if claimed or not known:
        best = max((s.score for s in video.segments if isinstance(s, Detection)), default=0.0)
        task["predictions"] = [{"model_version": "avloc", "score": best, "result": claimed}]
    if known:
        task["annotations"] = [{"result": known}]
    return task


def _region(name: str, video: VideoSegments, item: Labelled) -> dict[str, Any]:
    first, last = ticks(video, item)
    region: dict[str, Any] = {
        "id": name,
        "type": "timelinelabels",
        "from_name": _CONTROL,
        "to_name": _OBJECT,
        "value": {"ranges": [{"start": first, "end": last}], "timelinelabels": [clean(item.label)]},
    }
    return region | ({"score": item.score} if isinstance(item, Detection) else {})


def ticks(video: VideoSegments, item: Labelled) -> tuple[int, int]:
    """First and last tick of a segment on Label Studio's clock, counted from 1."""
    assert video.media is not None
    times_s = video.frame_times()
    rate = float(video.media.frame_rate)
    first, last = frame_span(times_s, item.start_s, item.end_s)
    start, end = (round(float(times_s[k]) * rate) + 1 for k in (first, min(last, len(times_s) - 1)))
    return start, max(start, end)
