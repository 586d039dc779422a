"""By which rules a data set's numbers are published: thresholds, and what is taken out first."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from avloc.datasets.collection import Interval
from avloc.errors import InputError, did_you_mean
from avloc.metrics import T_IOU_THRESHOLDS, SegmentTable, empty_rows, repeated_rows, touching_rows, without_videos

__all__ = ["PROTOCOLS", "Protocol", "find_protocol", "prepare"]


@dataclass(frozen=True)
class Protocol:
    """How detections are scored.

    Args:
        t_iou: thresholds.
        dedupe: leave out instances that repeat another (both ends within a millisecond).
        drop_empty: leave out instances that do not end after they start.
        as_toolkit: count what the ActivityNet toolkit's 0/0 counts; see `metrics.detection_scores`.
    """

    name: str
    t_iou: tuple[float, ...]
    dedupe: bool = False
    drop_empty: bool = False
    as_toolkit: bool = False


def _steps(first: float, last: float, count: int) -> tuple[float, ...]:
    return tuple(np.linspace(first, last, count).tolist())


PROTOCOLS = {
    p.name: p
    for p in (
        Protocol("activitynet", T_IOU_THRESHOLDS),
        Protocol("activitynet-toolkit", T_IOU_THRESHOLDS, as_toolkit=True),
        Protocol("opentad", T_IOU_THRESHOLDS, dedupe=True, drop_empty=True),
        Protocol("thumos14", _steps(0.1, 0.7, 7)),
        Protocol("unav", _steps(0.1, 0.9, 9), dedupe=True),
    )
}
"""By name. `activitynet` is what avloc reports; the toolkit's differs by how a pair without length is counted."""


def find_protocol(name: str) -> Protocol:
    """One of PROTOCOLS.

    Raises:
        InputError: no such protocol; its neighbours are named.
    """
    if name not in PROTOCOLS:
        raise InputError(f"there is no protocol {name!r}.{did_you_mean(name, PROTOCOLS)}")
    return PROTOCOLS[name]


def prepare(
    found: SegmentTable,
    truth: SegmentTable,
    protocol: Protocol,
    blocked: Collection[str] = (),
    ambiguous: Sequence[Interval] = (),
) -> tuple[SegmentTable, SegmentTable, tuple[str, ...]]:
    """Both sides without what the protocol leaves out.

    Args:
        blocked: videos that are taken out of both sides (YouTube no longer has them).
        ambiguous: detections that touch one of these stretches are taken out.

    Returns:
        Detections, instances, and a sentence for everything that was taken out.
    """
    notes = []
    if blocked:
        before = len(found), len(truth)
        found, truth = without_videos(found, blocked), without_videos(truth, blocked)
        gone = f"{before[0] - len(found)} detections and {before[1] - len(truth)} instances"
        notes.append(f"{gone} lie in {len(blocked)} blocked videos and are left out")
    if ambiguous:
        touching = touching_rows(found, [(i.video_id, i.start_s, i.end_s) for i in ambiguous])
        found = found.take(~touching)
        notes.append(f"{int(touching.sum())} detections touch one of {len(ambiguous)} ambiguous stretches: left out")
    if protocol.dedupe:
        repeated = repeated_rows(truth)
        truth = truth.take(~repeated)
        if repeated.any():
            notes.append(f"{int(repeated.sum())} instances repeat another and are left out ({protocol.name})")
    if protocol.drop_empty:
        empty = empty_rows(truth)
        truth = truth.take(~empty)
        if empty.any():
            notes.append(f"{int(empty.sum())} instances have no length and are left out ({protocol.name})")
    return found, truth, tuple(notes)
