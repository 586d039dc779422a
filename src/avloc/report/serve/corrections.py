"""Corrections saved from the page, in a file beside the detections. Several windows and servers may write it.

Every video has a version, a hash of what the file states about it. A save names the versions it is based on; a video
that has changed since is not written but answered with what is there now, so that the page can merge the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avloc.errors import FormatError
from avloc.formats.corrections import VideoCorrections, parse_corrections, read_corrections, write_corrections
from avloc.formats.json_file import json_object
from avloc.report.corrections import statements, version_of
from avloc.system.locks import file_lock

BASED_ON = "based_on"
"""Key of a save: {video_id: version that the page has read, "" if the video was not in the file}."""


@dataclass(frozen=True)
class Saved:
    """What became of a save.

    Args:
        versions: {video_id: version} of the videos that are in the file as sent.
        conflicts: {video_id: what the file states} of the videos that have changed since they were read.
    """

    versions: Mapping[str, str]
    conflicts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def save_corrections(content: bytes, path: Path) -> Saved:
    """Merge corrections sent by the page into a file; other videos in the file are kept.

    Without `based_on`, what is sent replaces what is there.

    Raises:
        FormatError: the content or the file is damaged. InputError: the file cannot be written, or its lock is held.
    """
    source = Path("posted.json")
    database = json_object(source, content)
    sent = {video.video_id: video for video in parse_corrections(source, database)[0]}
    based_on = database.get(BASED_ON)
    if based_on is not None and not (isinstance(based_on, dict) and all(isinstance(v, str) for v in based_on.values())):
        raise FormatError(f"{BASED_ON} is an object of one version per video")
    with file_lock(path):
        there = _read(path)
        stale = {} if based_on is None else {v: there.get(v) for v in sent if _is_stale(v, sent, there, based_on)}
        kept = {video: one for video, one in sent.items() if video not in stale}
        if kept:
            write_corrections(path, {**there, **kept}.values())
        now = _read(path)
    return Saved(
        {video: version_of(now[video]) for video in kept},
        {video: statements(one) if one is not None else {"version": ""} for video, one in stale.items()},
    )


def saved_corrections(path: Path) -> dict[str, dict[str, Any]]:
    """{video_id: statements} of a file; {} if there is none. Raises FormatError if it is damaged."""
    return {video: statements(one) for video, one in _read(path).items()}


def _is_stale(
    video: str,
    sent: Mapping[str, VideoCorrections],
    there: Mapping[str, VideoCorrections],
    based_on: Mapping[str, str],
) -> bool:
    current = there.get(video)
    version = version_of(current) if current is not None else ""
    return version != based_on.get(video, "") and current != sent[video]  # a save sent twice is no conflict


def _read(path: Path) -> dict[str, VideoCorrections]:
    return {video.video_id: video for video in read_corrections(path)[0]} if path.is_file() else {}
