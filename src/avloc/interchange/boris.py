"""BORIS projects (.boris): one observation per video; each segment is the START and STOP of a state event.

BORIS cannot import events, so a complete project is written: ethogram, subjects, observations. An event is
[time_s, subject, behaviour, modifier, comment, frame]; the comment of a START holds the score, and frames are counted
from 0 by presentation time. BORIS pairs STARTs and STOPs by subject and behaviour, so overlapping segments of one class
get different subjects: `overlap 2`, `overlap 3`.
"""

from __future__ import annotations

import json
import re
import string
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from avloc.errors import FormatError, InputError
from avloc.formats.untrusted.bombs import gunzip
from avloc.interchange.segments import Labelled, VideoSegments, frame_at, milliseconds, segment
from avloc.system.atomic import atomic_write
from avloc.system.text import pluralize
from avloc.types import Detection

_KEYS = string.ascii_lowercase + string.digits
_PLAYERS = 8
_SCORE = re.compile(r"^score (-?\d+(?:\.\d+)?)$")


def write_boris(path: Path | str, videos: Sequence[VideoSegments]) -> None:
    """Write a project with one observation per video. Videos without a file get their id as file name."""
    labels = list(dict.fromkeys(label for video in videos for label in video.labels))
    depth = max((len(video.rows(label)) for video in videos for label in video.labels), default=1)
    now = datetime.now(UTC).isoformat(timespec="seconds").removesuffix("+00:00")
    project = {
        "time_format": "hh:mm:ss",
        "project_date": now,
        "project_name": Path(path).stem,
        "project_description": "detections by avloc",
        "project_format_version": "7.0",
        "subjects_conf": {
            str(k): {"key": "", "name": _subject(k + 1), "description": "segments that overlap others of their class"}
            for k in range(depth - 1)
        },
        "behaviors_conf": {str(k): _behaviour(k, label) for k, label in enumerate(labels)},
        "behavioral_categories": [],
        "independent_variables": {},
        "coding_map": {},
        "behaviors_coding_map": [],
        "converters": {},
        "observations": {video.video_id: _observation(video, now) for video in videos},
    }
    atomic_write(path, json.dumps(project, ensure_ascii=False, indent=1) + "\n")


def _subject(lane: int) -> str:
    return "" if lane == 0 else f"overlap {lane + 1}"


def _behaviour(number: int, label: str) -> dict[str, Any]:
    return {
        "type": "State event",
        "key": _KEYS[number] if number < len(_KEYS) else "",
        "code": label,
        "description": "",
        "category": "",
        "modifiers": {},
        "excluded": "",
        "coding map": "",
    }


def _observation(video: VideoSegments, date: str) -> dict[str, Any]:
    name = str(video.media.path.resolve()) if video.media is not None else video.file_name
    rate = float(video.media.frame_rate) if video.media is not None else 0.0
    return {
        "file": {str(k): [name] if k == 1 else [] for k in range(1, _PLAYERS + 1)},
        "type": "MEDIA",
        "date": date,
        "description": "",
        "time offset": 0.0,
        "events": _events(video),
        "observation time interval": [0, 0],
        "independent_variables": {},
        "visualize_spectrogram": False,
        "visualize_waveform": False,
        "close_behaviors_between_videos": False,
        "scan_sampling_time": 0,
        "media_info": {
            "length": {name: video.length_s},
            "fps": {name: rate},
            "hasVideo": {name: True},
            "hasAudio": {name: bool(video.media and video.media.has_audio)},
            "offset": {str(k): 0.0 for k in range(1, _PLAYERS + 1)},
        },
    }


def _events(video: VideoSegments) -> list[list[Any]]:
    times_s = video.frame_times() if video.media is not None or video.frame_times_s is not None else None
    events: list[tuple[float, int, list[Any]]] = []
    for label in video.labels:
        for lane, row in enumerate(video.rows(label)):
            for item in row:
                comment = f"score {item.score:.4f}" if isinstance(item, Detection) else ""
                for order, ms, note in zip((1, 0), milliseconds(item), (comment, ""), strict=True):
                    time_s = ms / 1000
                    frame = "NA" if times_s is None else frame_at(times_s, time_s)
                    events.append((time_s, order, [time_s, _subject(lane), label, "", note, frame]))
    # at equal times, a STOP comes before the next START of the same behaviour
    return [event for _, _, event in sorted(events, key=lambda e: e[:2])]


def read_boris(path: Path | str, notes: list[str] | None = None) -> tuple[VideoSegments, ...]:
    """Read a project (.boris, .boris.gz): one video per observation, named after its first media file.

    Point events and STARTs without a STOP are skipped and noted.

    Raises:
        InputError: no such file. FormatError: not a BORIS project.
    """
    project = _load(Path(path))
    try:
        return _videos(path, project, notes)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise FormatError(f"{path}: its observations are not in BORIS's format ({error!r})") from error


def _videos(path: Path | str, project: dict[str, Any], notes: list[str] | None) -> tuple[VideoSegments, ...]:
    states = {
        b.get("code") for b in project.get("behaviors_conf", {}).values() if "state" in str(b.get("type", "")).lower()
    }
    videos = []
    for name, observation in project["observations"].items():
        events = [_event(path, name, event) for event in observation.get("events", [])]
        found, unended = _paired(f"{path}: observation {name!r}", [e for e in events if e[2] in states])
        points = sum(1 for e in events if e[2] not in states)
        if notes is not None and points:
            notes.append(f"{path}: observation {name!r}: skipped {pluralize(points, 'point event')}")
        if notes is not None and unended:
            notes.append(f"{path}: observation {name!r}: skipped {pluralize(unended, 'state')} without a STOP")
        file, length = _media(observation)
        videos.append(VideoSegments(Path(file).stem if file else name, tuple(found), length))
    return tuple(videos)


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path}: expected a BORIS project; no such file")
    try:
        project = json.loads(gunzip(path) if path.suffix == ".gz" else path.read_bytes())
    except (ValueError, RecursionError, EOFError, zlib.error) as error:
        raise FormatError(f"{path}: expected a BORIS project in JSON ({error})") from error
    if not isinstance(project, dict) or not isinstance(project.get("observations"), dict):
        raise FormatError(f'{path}: expected a BORIS project with "observations"')
    return project


def _event(path: Path | str, name: str, event: Any) -> tuple[float, str, str, str, str]:
    try:
        time_s, subject, code = float(event[0]), str(event[1]), str(event[2])
    except (TypeError, ValueError, IndexError, KeyError):
        raise FormatError(
            f"{path}: observation {name!r}: expected an event [time, subject, behaviour, modifier, comment], "
            f"got {str(event)[:60]}"
        ) from None
    modifier, comment = (str(event[k]) if len(event) > k else "" for k in (3, 4))
    return time_s, subject, code, modifier, comment


def _paired(where: str, events: Sequence[tuple[float, str, str, str, str]]) -> tuple[list[Labelled], int]:
    """Segments of alternating STARTs and STOPs, and the number of STARTs without a STOP."""
    running: dict[tuple[str, str, str], tuple[float, str]] = {}
    found = []
    for time_s, subject, code, modifier, comment in sorted(events, key=lambda e: e[0]):
        key = (subject, code, modifier)
        if key not in running:
            running[key] = (time_s, comment)
            continue
        start_s, first_comment = running.pop(key)
        score = _SCORE.match(first_comment)
        found.append(segment(where, start_s, time_s, code, float(score[1]) if score else None))
    return sorted(found, key=lambda s: (s.start_s, s.end_s)), len(running)


def _media(observation: dict[str, Any]) -> tuple[str, float | None]:
    """Path of the first media file, with forward slashes, and its length in seconds if stated."""
    files = observation.get("file")
    listed = files.get("1") if isinstance(files, dict) else None
    if not listed:
        return "", None
    length = observation.get("media_info", {}).get("length", {}).get(listed[0])
    return str(listed[0]).replace("\\", "/"), float(length) if length else None
