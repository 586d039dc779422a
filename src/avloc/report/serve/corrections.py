"""Corrections saved from the page, as ground truth in a file beside the detections."""

from __future__ import annotations

import tempfile
from pathlib import Path

from avloc.formats.annotations import read_annotations, write_annotations
from avloc.types import VideoAnnotation


def save_corrections(content: bytes, path: Path) -> int:
    """Merge ActivityNet ground truth sent by the page into a file; other videos in the file are kept.

    Returns:
        The number of videos received.

    Raises:
        FormatError: the content is not in ActivityNet's schema. InputError: the file cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "posted.json"
        draft.write_bytes(content)
        new, _ = read_annotations(draft)
    known: dict[str, VideoAnnotation] = {}
    if path.is_file():
        known = {a.video_id: a for a in read_annotations(path)[0]}
    known |= {a.video_id: a for a in new}
    write_annotations(path, known.values(), version="avloc corrections")
    return len(new)
