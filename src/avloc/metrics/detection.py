"""Average precision of temporal detections, by ActivityNet's rules and without its loops.

The rules, for one class and one t-IoU threshold. Detections of all videos are taken from the highest score down. A
detection looks at the true instances of its class in its video, from the highest t-IoU down, and takes the first that
reaches the threshold and that no earlier detection has taken: a true positive. If there is none it is a false one.
The area under the precision envelope over recall is the average precision.

The same without loops. "Everyone takes, in order of rank, the best that is left" is the only stable matching when all
instances prefer the better rank. So it may be found by deferred acceptance (Gale and Shapley 1962), in which all
detections of all videos and classes ask at once, and those turned away ask again; a few rounds suffice.

Differs from the ActivityNet toolkit: ties have a rule (below); a label that the ground truth does not have is counted
instead of raising; a pair whose union has length 0 has t-IoU 0, where the toolkit's 0/0 passes every threshold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from avloc.errors import InputError
from avloc.metrics.overlap import paired_t_iou
from avloc.metrics.table import Annotations, Detections, SegmentTable, as_tables, recode
from avloc.types import Detection, DetectionScores, VideoAnnotation

__all__ = ["T_IOU_THRESHOLDS", "detection_scores", "whole_video_detections"]

T_IOU_THRESHOLDS: tuple[float, ...] = tuple(np.linspace(0.5, 0.95, 10).tolist())
"""ActivityNet's ten thresholds, 0.5:0.05:0.95, to the bit."""

NOBODY = np.iinfo(np.int64).max


def detection_scores(
    detections: Detections,
    annotations: Annotations,
    t_iou: Sequence[float] | Float[np.ndarray, " t"] = T_IOU_THRESHOLDS,
    *,
    as_toolkit: bool = False,
) -> DetectionScores:
    """Average precision of each class at each t-IoU threshold.

    Args:
        detections: {video_id: detections}, or a table.
        annotations: ground truth of the subset to be scored, or a table of its instances. Its classes are the ones
            that are averaged.
        t_iou: thresholds in (0, 1]; a t-IoU equal to the threshold passes.
        as_toolkit: let pairs whose union has length 0 pass every threshold, as the ActivityNet toolkit does. Only to
            show that nothing else differs.

    Returns:
        Scores in [0, 1]; classes in alphabetical order.

    Raises:
        InputError: no instance in the ground truth, or a threshold outside (0, 1].

    Detections of equal score are ranked as they come; apart from that the order of the input does not matter. Of
    instances with equal t-IoU the later one is asked first. For what odd input counts as, see `DetectionCounts`.
    """
    thresholds = check_thresholds(t_iou)
    found, truth = as_tables(detections, annotations)
    if not len(truth):
        raise InputError("the ground truth has no instance to score against: expected at least one; check the subset")
    classes = tuple(sorted({truth.labels[i] for i in np.unique(truth.label)}))
    videos = tuple(sorted({*truth.videos, *found.videos}))
    truth = align(truth, videos, classes)
    found = align(found, videos, classes)
    found = found.take(ranked(found))

    pairs = candidates(found, truth, thresholds.min(), np.inf if as_toolkit else 0.0)
    hits = [found_rows(match(pairs, threshold, len(truth))) for threshold in thresholds]
    first = np.searchsorted(found.label, np.arange(len(classes) + 1))
    positives = np.bincount(truth.label, minlength=len(classes))
    ap = np.array([average_precision(rows, first, positives) for rows in hits])
    return DetectionScores(t_iou=thresholds, classes=classes, ap=ap)


def whole_video_detections(
    videos: Iterable[VideoAnnotation] | Mapping[str, float], labels: Mapping[str, Sequence[str]] | None = None
) -> dict[str, tuple[Detection, ...]]:
    """The trivial baseline: each class of a video, claimed over all of it with score 1.

    Args:
        videos: ground truth, or {video_id: duration in seconds}.
        labels: {video_id: its classes}; needed with durations, and taken instead of the ground truth's own otherwise.

    Raises:
        InputError: durations without labels, or a labelled video without a duration.

    On ActivityNet 1.2's validation set, in the order of the annotation file, it reaches an average mAP of 0.204 (0.361
    at t-IoU 0.5): print it beside every result. All its scores are equal, so the order of the videos matters: over
    random orders the average is 0.205 with a standard deviation of 0.002.
    """
    if isinstance(videos, Mapping):
        if labels is None:
            raise InputError("durations alone do not say which classes occur: give labels={video_id: classes}")
        durations = dict(videos)
    else:
        annotations = list(videos)
        durations = {v.video_id: v.duration_s for v in annotations}
        if labels is None:
            labels = {v.video_id: [i.label for i in v.instances] for v in annotations}
    missing = sorted(set(labels) - set(durations))
    if missing:
        raise InputError(f"{len(missing)} labelled videos have no duration, first {missing[0]!r}")
    return {
        video: tuple(Detection(0.0, durations[video], label, 1.0) for label in sorted(set(names)))
        for video, names in labels.items()
    }


class Pairs(NamedTuple):
    """Detections and the instances they could take; by rank of the detection, then from its highest t-IoU down."""

    detection: Int[np.ndarray, " p"]
    instance: Int[np.ndarray, " p"]
    t_iou: Float[np.ndarray, " p"]


def check_thresholds(t_iou: Sequence[float] | Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
    thresholds = np.asarray(t_iou, dtype=np.float64)
    if thresholds.ndim != 1 or not len(thresholds) or not ((thresholds > 0) & (thresholds <= 1)).all():
        raise InputError(f"t-IoU thresholds must lie in (0, 1], got {thresholds.tolist()}")
    return thresholds


def align(table: SegmentTable, videos: tuple[str, ...], classes: tuple[str, ...]) -> SegmentTable:
    """The same rows with common indices; those of other classes are left out, as nobody averages them."""
    video, label = recode(table.videos, videos)[table.video], recode(table.labels, classes)[table.label]
    known = label >= 0
    start_s, end_s, score = (column[known].astype(np.float64) for column in (table.start_s, table.end_s, table.score))
    return SegmentTable(videos, classes, video[known], label[known], start_s, end_s, score)


def ranked(table: SegmentTable) -> Int[np.ndarray, " n"]:
    """Rows by class, then from the highest score down; equal scores as they came."""
    order = np.argsort(-np.where(np.isnan(table.score), -np.inf, table.score), kind="stable")
    narrow = table.label.astype(np.min_scalar_type(len(table.labels)))  # numpy sorts small integers by radix
    return order[np.argsort(narrow[order], kind="stable")]


def candidates(found: SegmentTable, truth: SegmentTable, floor: float, empty: float) -> Pairs:
    """All pairs of one class and video whose t-IoU reaches `floor`."""
    group_found = found.video * len(truth.labels) + found.label
    group_truth = truth.video * len(truth.labels) + truth.label
    by_group = np.lexsort((-truth.end_s, -truth.start_s, group_truth))  # later first: the rule for ties
    first = np.searchsorted(group_truth[by_group], group_found, side="left")
    count = np.searchsorted(group_truth[by_group], group_found, side="right") - first

    detection = np.repeat(np.arange(len(found)), count)
    offset = np.arange(len(detection)) - np.repeat(np.cumsum(count) - count, count)
    instance = by_group[np.repeat(first, count) + offset]
    overlap = paired_t_iou(
        found.start_s[detection], found.end_s[detection], truth.start_s[instance], truth.end_s[instance], empty
    )
    near = overlap >= floor
    detection, instance, overlap = detection[near], instance[near], overlap[near]
    order = np.lexsort((-overlap, detection))
    return Pairs(detection[order], instance[order], overlap[order])


def match(pairs: Pairs, threshold: float, instances: int) -> Int[np.ndarray, " m"]:
    """Row of the detection that takes each instance, NOBODY for those missed. Deferred acceptance; see above."""
    near = pairs.t_iou >= threshold
    detection, instance = pairs.detection[near], pairs.instance[near]
    suitor, choice, choices = np.unique(detection, return_index=True, return_counts=True)
    stop = choice + choices
    holder = np.full(instances, NOBODY)  # the best-ranked that asked; detections are rows by rank
    asking = np.ones(len(suitor), dtype=bool)
    while asking.any():
        np.minimum.at(holder, instance[choice[asking]], suitor[asking])
        asking = holder[instance[choice]] != suitor  # turned away, now or when a better one came
        choice = choice + asking
        left = choice < stop
        suitor, choice, stop, asking = suitor[left], choice[left], stop[left], asking[left]
    return holder


def found_rows(holder: Int[np.ndarray, " m"]) -> Int[np.ndarray, " h"]:
    """Rows of the true positives, ascending."""
    return np.sort(holder[holder < NOBODY])


def average_precision(
    hits: Int[np.ndarray, " h"], first: Int[np.ndarray, " c1"], positives: Int[np.ndarray, " c"]
) -> Float[np.ndarray, " c"]:
    """Area under the precision envelope, per class.

    Args:
        hits: rows of the true positives, ascending.
        first: where each class's rows begin, and where the last one's end.
        positives: instances of each class.
    """
    ap = np.zeros(len(positives))
    bounds = np.searchsorted(hits, first)
    for c, (start, stop) in enumerate(pairwise(bounds)):
        # Recall rises only at true positives, and between two of them precision falls: they are all that counts.
        precision = np.arange(1, stop - start + 1) / (hits[start:stop] - first[c] + 1)
        envelope = np.maximum.accumulate(precision[::-1])
        ap[c] = envelope.sum() / positives[c]
    return ap
