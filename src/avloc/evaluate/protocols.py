"""Evaluation rules of each data set: thresholds, and rows to remove first."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from avloc.datasets.collection import Interval
from avloc.errors import InputError, did_you_mean
from avloc.metrics import T_IOU_THRESHOLDS, SegmentTable, empty_rows, repeated_rows, touching_rows, without_videos
from avloc.system.text import pluralize


@dataclass(frozen=True)
class Protocol:
    """Rules by which detections are scored.

    Args:
        t_iou: thresholds.
        dedupe: remove instances that repeat another (both ends within a millisecond).
        drop_empty: remove zero-length and reversed instances.
        as_toolkit: treat ties and 0/0 as the ActivityNet toolkit does; see `metrics.detection_scores`.
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
"""By name. avloc reports `activitynet`; `activitynet-toolkit` differs in ties and undefined values."""


def find_protocol(name: str) -> Protocol:
    """One of PROTOCOLS.

    Raises:
        InputError: no such protocol; names similar ones.
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
    """Remove the rows that the protocol excludes.

    Args:
        blocked: videos to remove from both sides (no longer on YouTube).
        ambiguous: segments; detections that touch one are removed.

    Returns:
        Detections, instances, and notes on what was removed.
    """
    notes = []
    if blocked:
        before = len(found), len(truth)
        found, truth = without_videos(found, blocked), without_videos(truth, blocked)
        gone = f"{pluralize(before[0] - len(found), 'detection')} and {pluralize(before[1] - len(truth), 'instance')}"
        notes.append(f"left out {gone} in {pluralize(len(blocked), 'blocked video')}")
    if ambiguous:
        touching = touching_rows(found, [(i.video_id, i.start_s, i.end_s) for i in ambiguous])
        found = found.take(~touching)
        gone = pluralize(int(touching.sum()), "detection")
        notes.append(f"left out {gone} overlapping {pluralize(len(ambiguous), 'ambiguous segment')}")
    if protocol.dedupe:
        repeated = repeated_rows(truth)
        truth = truth.take(~repeated)
        if repeated.any():
            notes.append(f"left out {pluralize(int(repeated.sum()), 'repeated instance')} ({protocol.name})")
    if protocol.drop_empty:
        empty = empty_rows(truth)
        truth = truth.take(~empty)
        if empty.any():
            notes.append(
                f"left out {pluralize(int(empty.sum()), 'zero-length or reversed instance')} ({protocol.name})"
            )
    return found, truth, tuple(notes)
