"""What changed between two results: the detections of each video, matched by class and overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from avloc.metrics import t_iou
from avloc.types import Detection

SAME_S = 0.05
"""Detections whose ends both differ by less are the same: two frames at 40 fps."""


@dataclass(frozen=True)
class VideoChanges:
    """The detections of one video before and after.

    Args:
        moved: (before, after) pairs of one class that overlap, and whose start or end differs by `SAME_S` or more.
        same: number of pairs that differ by less.
        added, lost: detections without a counterpart.
    """

    moved: tuple[tuple[Detection, Detection], ...]
    same: int
    added: tuple[Detection, ...]
    lost: tuple[Detection, ...]

    @property
    def shift_s(self) -> float:
        """Mean distance, in seconds, of the starts and ends of the moved detections; 0 if none moved."""
        ends = [abs(a - b) for old, new in self.moved for a, b in _ends(old, new)]
        return float(np.mean(ends)) if ends else 0.0


def video_changes(before: Sequence[Detection], after: Sequence[Detection]) -> VideoChanges:
    """Match detections of one class one to one, the largest t-IoU first, then by time."""
    pairs: dict[int, int] = {}
    if before and after:
        overlap = t_iou(_spans(before), _spans(after))
        overlap[np.array([d.label for d in before])[:, None] != np.array([d.label for d in after])] = 0.0
        rows, columns = np.nonzero(overlap)
        taken: set[int] = set()
        for k in np.argsort(-overlap[rows, columns], kind="stable"):
            i, j = int(rows[k]), int(columns[k])
            if i not in pairs and j not in taken:
                pairs[i] = j
                taken.add(j)
    matched = [(before[i], after[j]) for i, j in sorted(pairs.items())]
    moved = tuple(pair for pair in matched if any(abs(a - b) >= SAME_S for a, b in _ends(*pair)))
    new = {*pairs.values()}
    return VideoChanges(
        moved,
        len(matched) - len(moved),
        tuple(d for j, d in enumerate(after) if j not in new),
        tuple(d for i, d in enumerate(before) if i not in pairs),
    )


def result_changes(
    before: Mapping[str, Sequence[Detection]], after: Mapping[str, Sequence[Detection]]
) -> dict[str, VideoChanges]:
    """{video_id: changes} of every video of either result."""
    videos = dict.fromkeys([*before, *after])
    return {video: video_changes(before.get(video, ()), after.get(video, ())) for video in videos}


def _spans(found: Sequence[Detection]) -> np.ndarray:
    return np.array([(d.start_s, d.end_s) for d in found])


def _ends(a: Detection, b: Detection) -> tuple[tuple[float, float], ...]:
    return (a.start_s, b.start_s), (a.end_s, b.end_s)
