"""Rows that an evaluation protocol may remove before scoring. None is removed by default.

Evaluators differ: the ActivityNet toolkit takes files as they are (after removing the videos blocked on YouTube),
OpenTAD removes repeated and empty instances, W-TALC removes detections that touch THUMOS14's ambiguous segments.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

import numpy as np
from jaxtyping import Bool

from avloc.metrics.table import SegmentTable


def repeated_rows(truth: SegmentTable, tolerance_s: float = 1e-3) -> Bool[np.ndarray, " n"]:
    """Rows that repeat an earlier one: same video and label, both ends within the tolerance (OpenTAD's rule)."""
    kept: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    repeated = np.zeros(len(truth), dtype=bool)
    columns = (truth.video.tolist(), truth.label.tolist(), truth.start_s.tolist(), truth.end_s.tolist())
    for row, (video, label, start_s, end_s) in enumerate(zip(*columns, strict=True)):
        earlier = kept[video, label]
        if any(abs(start_s - s) <= tolerance_s and abs(end_s - e) <= tolerance_s for s, e in earlier):
            repeated[row] = True
        else:
            earlier.append((start_s, end_s))
    return repeated


def empty_rows(table: SegmentTable) -> Bool[np.ndarray, " n"]:
    """Zero-length and reversed rows (OpenTAD removes such instances)."""
    return ~(table.end_s > table.start_s)


def touching_rows(table: SegmentTable, segments: Iterable[tuple[str, float, float]]) -> Bool[np.ndarray, " n"]:
    """Rows that overlap one of the segments (video, start, end), in seconds."""
    index = {name: k for k, name in enumerate(table.videos)}
    touching = np.zeros(len(table), dtype=bool)
    for video, start_s, end_s in segments:
        overlap = np.minimum(table.end_s, end_s) > np.maximum(table.start_s, start_s)
        touching |= (table.video == index.get(video, -1)) & overlap
    return touching


def without_videos(table: SegmentTable, videos: Collection[str]) -> SegmentTable:
    """The rows of other videos."""
    return table.take(~table.in_videos(videos))
