"""Which of two results is better, and is it more than the luck of the test videos? A paired bootstrap over videos.

Videos are drawn with replacement, as often as the test set has videos; both results are scored on the same draws, and
the difference is looked at (Efron and Tibshirani, "An introduction to the bootstrap", 1993).

Why no draw is scored anew. Copies of a video never share an instance, so which detections hit is settled once, on the
videos as they are. A draw only says how often each rank of the list stands there. The copies of a true positive
raise recall one by one, and precision rises along them, so in the precision envelope all of them count with the
precision at the last: average precision is a weighted sum over the true positives, with no approximation.

What to know of it. Copies of a video lift each other's precision, so a draw's mAP is higher than the set's, by a tenth
or two where mAP is low. Both sides rise alike: whether a difference is real is judged rightly (equal methods are called
different about as often as 5 % promise, tests/test_bootstrap.py), but its interval leans away from 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int, Num

from avloc.errors import InputError
from avloc.metrics.detection import T_IOU_THRESHOLDS
from avloc.metrics.matching import match_detections
from avloc.metrics.table import Annotations, Detections

__all__ = ["Difference", "draw_videos", "paired_difference", "resampled_mean_ap", "resampled_ratio"]

_CELLS = 4_000_000  # draws x detections of a class that are held at a time


@dataclass(frozen=True)
class Difference:
    """How much a first result is ahead of a second, in the units of the scores.

    Args:
        observed: on the videos as they are.
        low, high: 95 % of the draws lie between (percentiles).
        p: two-sided: twice the share of draws on the rarer side of 0, at least 1 / (draws + 1), at most 1.
        draws: how many.
    """

    observed: float
    low: float
    high: float
    p: float
    draws: int

    @property
    def real(self) -> bool:
        """Whether 0 lies outside the interval."""
        return self.low > 0 or self.high < 0


def draw_videos(count: int, draws: int = 2000, seed: int = 0) -> Int[np.ndarray, "r n"]:
    """How often each of `count` videos is drawn; row 0 is the set as it is, then `draws` rows that each sum to `count`.

    The same arguments give the same draws: that is what makes a comparison paired.

    Raises:
        InputError: fewer than two videos.
    """
    if count < 2:
        raise InputError(f"a bootstrap over videos needs at least two of them, got {count}")
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=draws)
    return np.concatenate([np.ones((1, count), dtype=np.int64), drawn])


def resampled_mean_ap(
    detections: Detections,
    annotations: Annotations,
    videos: Sequence[str],
    times: Int[np.ndarray, "r n"],
    t_iou: Sequence[float] | Float[np.ndarray, " t"] = T_IOU_THRESHOLDS,
) -> Float[np.ndarray, "r t"]:
    """mAP of every draw at every threshold, as `detection_scores` would give it for the videos drawn.

    Args:
        detections, annotations: as in `detection_scores`; rows of other videos than `videos` are left out.
        videos: the n names that the columns of `times` stand for, those without an instance included.
        times: how often each is there, from `draw_videos`.

    A class without an instance in a draw is not in that draw's mean; a draw without any instance is NaN.

    Raises:
        InputError: no instance, a threshold outside (0, 1], or `times` of another width than `videos`.
    """
    if times.shape[1] != len(videos):
        raise InputError(f"{len(videos)} videos, but draws of {times.shape[1]}")
    matches = match_detections(detections, annotations, t_iou, videos)
    truth, hits = matches.truth, matches.hits
    ap = np.empty((len(times), len(hits), len(matches.classes)))
    for c, (start, stop) in enumerate(pairwise(matches.first)):
        own = [rows[(rows >= start) & (rows < stop)] - start for rows in hits]
        positives = times @ np.bincount(truth.video[truth.label == c], minlength=len(videos))
        ap[:, :, c] = _class_ap(matches.found.video[start:stop], own, times, positives)
    with np.errstate(invalid="ignore"):  # a draw without an instance: 0 / 0
        return np.nansum(ap, axis=2) / (~np.isnan(ap)).sum(axis=2)


def _class_ap(
    video: Int[np.ndarray, " n"],
    hits: Sequence[Int[np.ndarray, " _"]],
    times: Int[np.ndarray, "r v"],
    positives: Int[np.ndarray, " r"],
) -> Float[np.ndarray, "r t"]:
    """Average precision of one class in every draw, NaN where it has no instance.

    Args:
        video: of each detection, by rank. hits: ranks of the true positives, for each threshold.
    """
    ap = np.zeros((len(times), len(hits)))
    any_hit = np.unique(np.concatenate(hits)) if len(hits) else np.array([], dtype=np.int64)
    chunk = max(1, _CELLS // max(1, len(video)))
    for begin in range(0, len(times), chunk) if len(any_hit) else ():
        there = times[begin : begin + chunk][:, video]
        rank = there.cumsum(axis=1)[:, any_hit]
        for t, rows in enumerate(hits):
            weight = there[:, rows]
            below = rank[:, np.searchsorted(any_hit, rows)]
            precision = weight.cumsum(axis=1) / np.maximum(below, 1)
            envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            ap[begin : begin + chunk, t] = (weight * envelope).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(positives[:, None] > 0, ap / positives[:, None], np.nan)


def resampled_ratio(
    part: Num[np.ndarray, " n"], whole: Num[np.ndarray, " n"], times: Int[np.ndarray, "r n"]
) -> Float[np.ndarray, " r"]:
    """Σ part / Σ whole over the videos of every draw: snippet accuracy from right and all snippets of each video."""
    with np.errstate(invalid="ignore"):
        return (times @ part) / (times @ whole)


def paired_difference(first: Float[np.ndarray, "s r"], second: Float[np.ndarray, "s2 r2"], seed: int = 0) -> Difference:
    """The first result against the second on the same draws.

    Args:
        first, second: a score of every run (training seed) on every draw, column 0 the set as it is. The runs of
            either side are averaged; where a side has several, they are drawn with replacement too, as the videos are,
            so that the interval holds the luck of both. Equally many on both sides are taken to belong together, the
            first with the first.
        seed: of the runs' draws.

    Raises:
        InputError: the draws of the two sides differ in number.
    """
    if first.shape[1] != second.shape[1]:
        raise InputError(f"the two sides have {first.shape[1]} and {second.shape[1]} draws; use the same")
    gap = _over_runs(first, seed) - _over_runs(second, seed)
    observed, gap = float(gap[0]), gap[1:][~np.isnan(gap[1:])]
    if not len(gap):
        return Difference(observed, np.nan, np.nan, 1.0, 0)
    low, high = np.quantile(gap, [0.025, 0.975])
    rarer = min(int((gap <= 0).sum()), int((gap >= 0).sum()))
    return Difference(observed, float(low), float(high), min(1.0, (2 * rarer + 1) / (len(gap) + 1)), len(gap))


def _over_runs(scores: Float[np.ndarray, "s r"], seed: int) -> Float[np.ndarray, " r"]:
    """Mean over the runs: over all of them in column 0, over as many drawn ones in the others."""
    runs, draws = scores.shape
    chosen = np.random.default_rng([seed, runs]).integers(runs, size=(runs, draws))
    chosen[:, 0] = np.arange(runs)
    return np.take_along_axis(scores, chosen, axis=0).mean(axis=0)
