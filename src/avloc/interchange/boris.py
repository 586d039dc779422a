"""BORIS projects (.boris): one observation per video; each segment is the START and STOP of a state event.

BORIS cannot import events, so a complete project is written: ethogram, subjects, observations. An event is
[time_s, subject, behaviour, modifier, comment, frame]; the comment of a START holds the score, and frames are counted
from 0 by presentation time. BORIS pairs STARTs and STOPs by subject and behaviour, so overlapping segments of one class
get different subjects: `overlap 2`, `overlap 3`. BORIS's ethogram refuses a `|` in a code: such a label is the
description of its behaviour, and the code has `¦` instead.
"""

from __future__ import annotations

import re
import string
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

from avloc.errors import FormatError, InputError
from avloc.formats.json_file import parse_json
from avloc.formats.untrusted.bombs import gunzip
from avloc.interchange.segments import (
    Labelled,
    Row,
    VideoSegments,
    check_copies,
    cut_to,
    frame_at,
    milliseconds,
    name_files,
)
from avloc.system.atomic import atomic_write
from avloc.system.text import json_text, pluralize
from avloc.types import Detection, exact

_KEYS = string.ascii_lowercase + string.digits
_PLAYERS = 8
_SCORE = re.compile(r"^score (-?\d+(?:\.\d+)?)$")


def write_boris(path: Path | str, videos: Sequence[VideoSegments]) -> None:
    """Write a project with one observation per video. Videos without a file get their id as file name."""
    labels = list(dict.fromkeys(label for video in videos for label in video.labels))
    codes = _codes(labels)
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
        "behaviors_conf": {str(k): _behaviour(k, label, codes[label]) for k, label in enumerate(labels)},
        "behavioral_categories": [],
        "independent_variables": {},
        "coding_map": {},
        "behaviors_coding_map": [],
        "converters": {},
        "observations": {video.video_id: _observation(video, now, codes) for video in videos},
    }
    atomic_write(path, json_text(project, ensure_ascii=False, indent=1) + "\n")


def _subject(lane: int) -> str:
    return "" if lane == 0 else f"overlap {lane + 1}"


def _codes(labels: Sequence[str]) -> dict[str, str]:
    """{label: its code}; codes are unique."""
    codes = {label: label for label in labels if "|" not in label}
    taken = {*codes}
    for label in labels:
        code = label.replace("|", "¦")
        while label not in codes and code in taken:
            code += "'"
        taken.add(codes.setdefault(label, code))
    return codes


def _behaviour(number: int, label: str, code: str) -> dict[str, Any]:
    return {
        "type": "State event",
        "key": _KEYS[number] if number < len(_KEYS) else "",
        "code": code,
        "description": label if code != label else "",
        "category": "",
        "modifiers": {},
        "excluded": "",
        "coding map": "",
    }


def _observation(video: VideoSegments, date: str, codes: Mapping[str, str]) -> dict[str, Any]:
    name = str(video.media.path.resolve()) if video.media is not None else video.file_name
    rate = float(video.media.frame_rate) if video.media is not None else 0.0
    return {
        "file": {str(k): [name] if k == 1 else [] for k in range(1, _PLAYERS + 1)},
        "type": "MEDIA",
        "date": date,
        "description": "",
        "time offset": 0.0,
        "events": _events(video, codes),
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


def _events(video: VideoSegments, codes: Mapping[str, str]) -> list[list[Any]]:
    times_s = video.frame_times() if video.media is not None or video.frame_times_s is not None else None
    events: list[tuple[float, int, list[Any]]] = []
    for label in video.labels:
        for lane, row in enumerate(video.rows(label)):
            for item in row:
                comment = f"score {item.score:.4f}" if isinstance(item, Detection) else ""
                for order, ms, note in zip((1, 0), milliseconds(item), (comment, ""), strict=True):
                    time_s = ms / 1000
                    frame = "NA" if times_s is None else frame_at(times_s, time_s)
                    events.append((time_s, order, [time_s, _subject(lane), codes[label], "", note, frame]))
    # at equal times, a STOP comes before the next START of the same behaviour
    return [event for _, _, event in sorted(events, key=lambda e: e[:2])]


def read_boris(path: Path | str, notes: list[str] | None = None) -> tuple[VideoSegments, ...]:
    """Read a project (.boris, .boris.gz): one video per media file, named after it.

    BORIS adds the observation's time offset, and the creation time of the file if the observation says so, to the
    position in player 1, whose files play one after another (write_event.py, core.py: getLaps). A further player shows
    its files at that position minus its own offset (core.py: sync_time). So each file gets the segments in its span, on
    its own clock. Observations of one file are merged and noted.

    Point events, STARTs without a STOP, and observations of pictures are skipped and noted.

    Raises:
        InputError: no such file. FormatError: not a BORIS project, or a queue of files whose lengths are not stated.
    """
    project = _load(Path(path))
    said: list[str] = [] if notes is None else notes
    try:
        return _videos(path, project, said)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise FormatError(f"{path}: its observations are not in BORIS's format ({error!r})") from error


@dataclass(frozen=True)
class _File:
    """A media file of an observation.

    Args:
        start_s, end_s: its span on the clock of the events; an end of None is open.
        length_s: as the project states it.
        player: "1", "2", ...
    """

    name: str
    start_s: Fraction
    end_s: Fraction | None
    length_s: float | None
    player: str


def _videos(path: Path | str, project: dict[str, Any], notes: list[str]) -> tuple[VideoSegments, ...]:
    behaviours = project.get("behaviors_conf", {}).values()
    states = {b.get("code"): _label(b) for b in behaviours if "state" in str(b.get("type", "")).lower()}
    watched: list[tuple[str, _File, list[Labelled]]] = []
    copies = 0
    for name, observation in project["observations"].items():
        where = f"{path}: observation {name!r}"
        if observation.get("type") == "IMAGES":
            notes.append(f"{where}: skipped, it is of pictures, which have no time in a video")
            continue
        rows = _rows(where, observation, states, notes)
        files = _files(where, name, observation, notes)
        copies += len(rows) * (len(files) - 1)
        check_copies(path, copies)
        for file in files:
            span = f"{where}: {file.name}" if len(files) > 1 else where
            watched.append((name, file, cut_to(span, rows, file.start_s, file.end_s, notes)))
    ids = name_files((file.name for _, file, _ in watched), path, notes)
    by_video: dict[str, list[tuple[str, _File, list[Labelled]]]] = {video_id: [] for video_id in ids.values()}
    for found in watched:
        by_video[ids[found[1].name]].append(found)
    return tuple(_merged(path, video_id, of_video, notes) for video_id, of_video in by_video.items())


def _rows(where: str, observation: dict[str, Any], states: Mapping[Any, str], notes: list[str]) -> list[Row]:
    events = [_event(where, event) for event in observation.get("events", [])]
    found, unended = _paired([e for e in events if e[2] in states])
    points = sum(1 for e in events if e[2] not in states)
    if points:
        notes.append(f"{where}: skipped {pluralize(points, 'point event')}")
    if unended:
        notes.append(f"{where}: skipped {pluralize(unended, 'state')} without a STOP")
    return [replace(row, label=states[row.label]) for row in found]


def _label(behaviour: Mapping[str, Any]) -> str:
    """The code, or the description where the code is what `_codes` makes of it."""
    code, described = str(behaviour.get("code")), str(behaviour.get("description"))
    return described if "|" in described and code.rstrip("'") == described.replace("|", "¦").rstrip("'") else code


def _files(where: str, name: str, observation: dict[str, Any], notes: list[str]) -> list[_File]:
    """The observation's media files with their spans on the clock of its events."""
    zero_s = exact(observation.get("time offset") or 0)
    listed = observation.get("file")
    players = {key: files for key, files in listed.items() if files} if isinstance(listed, dict) else {}
    if not players:  # live
        return [_File(name, zero_s, None, None, "1")]
    facts = observation.get("media_info", {})
    found = [file for key, names in players.items() for file in _queue(where, observation, key, names, zero_s)]
    if observation.get("media_creation_date_as_offset") and "media_creation_time" not in facts:
        raise FormatError(f"{where}: expected media_creation_time, as its times count from the creation of the media")
    if len(players) > 1:
        notes.append(f"{where}: {len(players)} players show {', '.join(f.name for f in found)}; each gets the segments")
    return found


def _queue(where: str, observation: dict[str, Any], player: str, names: Sequence[str], zero_s: Fraction) -> list[_File]:
    facts = observation.get("media_info", {})
    # BORIS shifts the players that follow player 1, if they have one file
    shifted = player != "1" and len(names) == 1
    here_s = zero_s + (exact(facts.get("offset", {}).get(player) or 0) if shifted else 0)
    created = facts.get("media_creation_time", {}) if observation.get("media_creation_date_as_offset") else {}
    files: list[_File] = []
    for number, name in enumerate(names, start=1):
        length = facts.get("length", {}).get(name)
        last = number == len(names)
        if not length and not last:
            raise FormatError(
                f"{where}: expected the length of {name}, after which the next file plays; got {length!r}"
            )
        start_s = here_s + exact(created.get(name) or 0)
        end_s = None if last and (player == "1" or not length) else start_s + exact(length)
        if files and files[-1].end_s is not None and start_s < files[-1].end_s:
            raise FormatError(f"{where}: by their creation times, {files[-1].name} and {name} overlap; correct them")
        files.append(_File(str(name), start_s, end_s, float(length) if length else None, player))
        here_s += exact(length or 0)
    return files


def _merged(
    path: Path | str, video_id: str, watched: Sequence[tuple[str, _File, list[Labelled]]], notes: list[str]
) -> VideoSegments:
    """The segments of all observations of a video."""
    observations = list(dict.fromkeys(repr(name) for name, _, _ in watched))
    if len(observations) > 1:
        notes.append(
            f"{path}: {video_id}: observations {', '.join(observations)} are of this video, which gets the segments of "
            "all; to compare observers, export each observation to its own project"
        )
    found = [segment for _, _, segments in watched for segment in segments]
    length = max((file.length_s for _, file, _ in watched if file.length_s), default=None)
    return VideoSegments(video_id, tuple(sorted(found, key=lambda s: (s.start_s, s.end_s))), length)


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path}: expected a BORIS project; no such file")
    try:
        project = parse_json(path, gunzip(path) if path.suffix == ".gz" else None)
    except (ValueError, RecursionError, EOFError, zlib.error) as error:
        raise FormatError(f"{path}: expected a BORIS project in JSON ({error})") from error
    if not isinstance(project, dict) or not isinstance(project.get("observations"), dict):
        raise FormatError(f'{path}: expected a BORIS project with "observations"')
    return project


def _event(where: str, event: Any) -> tuple[Fraction, str, str, str, str]:
    try:
        time_s, subject, code = exact(event[0]), str(event[1]), str(event[2])
    except (TypeError, ValueError, IndexError, KeyError):
        raise FormatError(
            f"{where}: expected an event [time, subject, behaviour, modifier, comment], got {str(event)[:60]}"
        ) from None
    modifier, comment = (str(event[k]) if len(event) > k else "" for k in (3, 4))
    return time_s, subject, code, modifier, comment


def _paired(events: Sequence[tuple[Fraction, str, str, str, str]]) -> tuple[list[Row], int]:
    """Intervals of alternating STARTs and STOPs, and the number of STARTs without a STOP."""
    running: dict[tuple[str, str, str], tuple[Fraction, str]] = {}
    found = []
    for time_s, subject, code, modifier, comment in sorted(events, key=lambda e: e[0]):
        key = (subject, code, modifier)
        if key not in running:
            running[key] = (time_s, comment)
            continue
        start_s, first_comment = running.pop(key)
        score = _SCORE.match(first_comment)
        found.append(Row(start_s, time_s, code, float(score[1]) if score else None))
    return found, len(running)
