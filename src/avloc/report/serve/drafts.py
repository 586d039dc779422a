"""Draft labels ticked on the page, saved in their table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from avloc.errors import FormatError
from avloc.formats.json_file import json_object
from avloc.formats.tags import TagRow, read_tags, write_tags
from avloc.system.locks import file_lock


def save_tags(content: bytes, path: Path) -> int:
    """Write what was ticked, struck out and added on the page; scores and moments stay as they are in the table.

    Args:
        content: JSON {"videos": {video: {label: whether it is kept}}}; labels that are not in the table are added.

    Returns:
        The number of videos received.

    Raises:
        FormatError: other JSON, or a video that is not in the table. InputError: the file cannot be written.
    """
    chosen = _checked(json_object(Path("posted.json"), content).get("videos"))
    with file_lock(path):
        rows = read_tags(path)
        paths = {row.video: row.path for row in rows}
        unknown = sorted(chosen.keys() - paths.keys())
        if unknown:
            raise FormatError(f"{path}: there is no video {unknown[0]!r} in it")
        merged = [_merged(row, chosen.get(row.video, {})) for row in rows]
        known = {(row.video, row.label) for row in rows}
        added = [
            TagRow(video, label, keep, path=paths[video])
            for video, labels in chosen.items()
            for label, keep in labels.items()
            if (video, label) not in known
        ]
        labelled = {row.video for row in added}
        kept = [row for row in merged if row.label or row.video not in labelled]
        order = {video: k for k, video in enumerate(paths)}
        write_tags(path, sorted([*kept, *added], key=lambda row: order[row.video]))
    return len(chosen)


def _merged(row: TagRow, chosen: dict[str, bool]) -> TagRow:
    keep = chosen.get(row.label, row.keep)
    return TagRow(row.video, row.label, keep, row.score, row.start_s, row.end_s, row.sense, row.path)


def _checked(videos: Any) -> dict[str, dict[str, bool]]:
    if not isinstance(videos, dict):
        raise FormatError('expected {"videos": {video: {label: true or false}}}')
    for video, labels in videos.items():
        if not isinstance(labels, dict) or not all(
            label.strip() and isinstance(k, bool) for label, k in labels.items()
        ):
            raise FormatError(f"{video}: expected {{label: true or false}}")
    return {video: {label.strip(): keep for label, keep in labels.items()} for video, labels in videos.items()}
