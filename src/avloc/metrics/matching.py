"""Match detections to ground-truth instances by ActivityNet's rules, without a loop over detections.

The rules, for one class and one t-IoU threshold: detections of all videos are taken in order of descending score. Each
considers the instances of its class in its video, by descending t-IoU, and takes the first that reaches the threshold
and is still free: a true positive. A detection that takes none is a false positive.

This greedy assignment is the unique stable matching in which every instance prefers the better-ranked detection.
Deferred acceptance (Gale and Shapley 1962) finds it: all detections of all videos and classes propose at once, rejected
ones propose to their next instance, and a few rounds suffice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from avloc.errors import InputError
from avloc.metrics.overlap import paired_t_iou
from avloc.metrics.table import Annotations, Detections, SegmentTable, as_tables, recode
from avloc.types import Short

_FREE = np.iinfo(np.int64).max

_BLOCK = 1 << 20
"""Pairs compared at once."""

_MOST_COMPARED, _MOST_PAIRS = 10**9, 10**7
"""Pairs of a detection and an instance of one class and video: in all, and of those that reach the lowest t-IoU."""


@dataclass(frozen=True, repr=False)
class Matches(Short):
    """Which detection takes each instance, at every threshold.

    Args:
        t_iou: thresholds.
        found: detections of the ground truth's classes, by class, then by descending score.
        truth: instances, with the same indices of videos and classes.
        takers: per threshold, the row of `found` that takes each instance, -1 for a missed one.
    """

    t_iou: Float[np.ndarray, " t"]
    found: SegmentTable
    truth: SegmentTable
    takers: tuple[Int[np.ndarray, " m"], ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes that have instances, in alphabetical order."""
        return self.truth.labels

    @property
    def first(self) -> Int[np.ndarray, " c1"]:
        """First row of each class in `found`, and the end of the last one's."""
        return np.searchsorted(self.found.label, np.arange(len(self.classes) + 1))

    @property
    def positives(self) -> Int[np.ndarray, " c"]:
        """Instances of each class."""
        return np.bincount(self.truth.label, minlength=len(self.classes))

    @property
    def hits(self) -> tuple[Int[np.ndarray, " _"], ...]:
        """Per threshold, the rows of `found` that are true positives, ascending."""
        return tuple(true_positives(taker) for taker in self.takers)


def match_detections(
    detections: Detections,
    annotations: Annotations,
    t_iou: Sequence[float] | Float[np.ndarray, " t"],
    videos: Sequence[str] | None = None,
    *,
    as_toolkit: bool = False,
) -> Matches:
    """Match detections to instances at every threshold.

    Args:
        detections, annotations, t_iou, as_toolkit: as in `detection_scores`.
        videos: rows of other videos are left out, and `video` indexes this list; None takes all videos.

    Raises:
        InputError: no instance, or a threshold outside (0, 1].

    Detections of equal score keep their order. Of instances with equal t-IoU the later one in time comes first, so
    that their order in the file does not matter. `as_toolkit` orders as the ActivityNet toolkit's reversed sort does:
    a NaN score ranks first, of equal scores the last in the file comes first, and likewise of instances.
    """
    thresholds = np.asarray(t_iou, dtype=np.float64)
    if thresholds.ndim != 1 or not len(thresholds) or not ((thresholds > 0) & (thresholds <= 1)).all():
        raise InputError(f"t-IoU thresholds must lie in (0, 1], got {thresholds.tolist()}")
    found, truth = as_tables(detections, annotations)
    if videos is not None:
        truth = truth.take(truth.in_videos(videos))
    if not len(truth):
        raise InputError("the ground truth has no instance to score against: expected at least one; check the subset")
    classes = tuple(sorted({truth.labels[i] for i in np.unique(truth.label)}))
    names = tuple(sorted({*truth.videos, *found.videos}) if videos is None else videos)
    truth, found = _align(truth, names, classes), _align(found, names, classes)
    found = found.take(_rank(found, as_toolkit))
    pairs = _pairs(found, truth, thresholds.min(), as_toolkit)
    takers = tuple(_match(pairs, threshold, len(truth)) for threshold in thresholds)
    return Matches(thresholds, found, truth, takers)


def true_positives(taker: Int[np.ndarray, " m"]) -> Int[np.ndarray, " _"]:
    """Rows of the detections that took an instance, ascending."""
    return np.sort(taker[taker >= 0])


class _Pairs(NamedTuple):
    """Detections and the instances they could take, by detection, then by descending t-IoU."""

    detection: Int[np.ndarray, " p"]
    instance: Int[np.ndarray, " p"]
    t_iou: Float[np.ndarray, " p"]


def _align(table: SegmentTable, videos: tuple[str, ...], classes: tuple[str, ...]) -> SegmentTable:
    """The rows of these videos and classes, with indices into both."""
    video, label = recode(table.videos, videos)[table.video], recode(table.labels, classes)[table.label]
    known = (label >= 0) & (video >= 0)
    start_s, end_s, score = (column[known].astype(np.float64) for column in (table.start_s, table.end_s, table.score))
    return SegmentTable(videos, classes, video[known], label[known], start_s, end_s, score)


def _rank(table: SegmentTable, as_toolkit: bool) -> Int[np.ndarray, " n"]:
    """Row order: by class, then by descending score; equal and NaN scores as in `match_detections`."""
    if as_toolkit:
        order = np.argsort(table.score, kind="stable")[::-1]
    else:
        order = np.argsort(-np.where(np.isnan(table.score), -np.inf, table.score), kind="stable")
    narrow = table.label.astype(np.min_scalar_type(len(table.labels)))  # numpy sorts small integers by radix
    return order[np.argsort(narrow[order], kind="stable")]


def _pairs(found: SegmentTable, truth: SegmentTable, lowest: float, as_toolkit: bool) -> _Pairs:
    """All pairs of one class and video with a t-IoU of at least `lowest`."""
    group_found = found.video * len(truth.labels) + found.label
    group_truth = truth.video * len(truth.labels) + truth.label
    tied = (-np.arange(len(truth)),) if as_toolkit else (-truth.end_s, -truth.start_s)
    by_group = np.lexsort((*tied, group_truth))
    parts: list[tuple[np.ndarray, ...]] = []
    kept = 0
    for detection, instance in pair_blocks(group_found, group_truth, by_group, "of one class and video"):
        spans = found.start_s[detection], found.end_s[detection], truth.start_s[instance], truth.end_s[instance]
        overlap = paired_t_iou(*spans, undefined=np.inf if as_toolkit else 0.0)
        near = overlap >= lowest
        parts.append((detection[near], instance[near], overlap[near]))
        kept += len(parts[-1][0])
        _check_count(kept, _MOST_PAIRS, f"with a t-IoU of at least {lowest:g}")
    detection, instance, overlap = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((-overlap, detection))
    return _Pairs(detection[order], instance[order], overlap[order])


def pair_blocks(
    group_found: Int[np.ndarray, " n"], group_truth: Int[np.ndarray, " m"], by_group: Int[np.ndarray, " m"], which: str
) -> Iterator[tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"]]]:
    """Pairs of a detection and an instance of one group, in blocks; all pairs of a detection are in one block.

    Args:
        by_group: the instances ordered by group.
        which: the pairs in words, for the error.

    Raises:
        InputError: more than 10^9 pairs.
    """
    first = np.searchsorted(group_truth[by_group], group_found, side="left")
    count = np.searchsorted(group_truth[by_group], group_found, side="right") - first
    compared = int(count.sum())
    _check_count(compared, _MOST_COMPARED, which)
    blocks = np.searchsorted(np.cumsum(count), np.arange(_BLOCK, compared, _BLOCK), side="right")
    for rows in np.split(np.arange(len(group_found)), np.unique(blocks)):
        many = count[rows]
        detection = np.repeat(rows, many)
        offset = np.arange(len(detection)) - np.repeat(np.cumsum(many) - many, many)
        yield detection, by_group[np.repeat(first[rows], many) + offset]


def _check_count(pairs: int, most: int, which: str) -> None:
    if pairs > most:
        raise InputError(
            f"expected at most {most} pairs of a detection and an instance {which}, got {pairs}; keep the best "
            "detections of each video"
        )


def _match(pairs: _Pairs, threshold: float, instances: int) -> Int[np.ndarray, " m"]:
    """Row of the detection that takes each instance, -1 for a missed one, by deferred acceptance."""
    near = pairs.t_iou >= threshold
    detection, instance = pairs.detection[near], pairs.instance[near]
    suitor, choice, choices = np.unique(detection, return_index=True, return_counts=True)
    stop = choice + choices
    holder = np.full(instances, _FREE)  # best-ranked proposer so far; detections are rows by rank
    asking = np.ones(len(suitor), dtype=bool)
    while asking.any():
        np.minimum.at(holder, instance[choice[asking]], suitor[asking])
        asking = holder[instance[choice]] != suitor  # rejected, now or when a better one came
        choice = choice + asking
        left = choice < stop
        suitor, choice, stop, asking = suitor[left], choice[left], stop[left], asking[left]
    return np.where(holder < _FREE, holder, -1)
