"""Paired bootstrap over test videos: is the difference of two results significant?

Videos are drawn with replacement, as many as the test set has. Both results are scored on the same draws, and their
difference is analysed (Efron and Tibshirani, "An introduction to the bootstrap", 1993).

Detections are matched only once. Copies of a video never share an instance, so the true positives are those of the
original set, and a draw only gives each ranked detection a multiplicity. The copies of a true positive raise recall one
by one, and precision rises along them, so in the precision envelope all of them count with the precision at the last:
average precision is a weighted sum over the true positives, exactly.

Limitation: copies of a video raise each other's precision, so a draw's mAP is higher than the set's, by 10 to
20 % where mAP is low. Both sides rise alike: the test has its nominal level (equal methods differ significantly in
about 5 % of cases, tests/test_bootstrap.py), but the interval is biased away from 0.
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

_CELLS = 4_000_000  # draws x detections of a class held in memory at a time


@dataclass(frozen=True)
class Difference:
    """First result minus second, in the units of the scores.

    Args:
        observed: on the original videos.
        low, high: 95 % percentile interval of the draws.
        p: two-sided: twice the share of draws on the rarer side of 0, at least 1 / (draws + 1), at most 1.
        draws: number of draws.
    """

    observed: float
    low: float
    high: float
    p: float
    draws: int

    @property
    def real(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def draw_videos(count: int, draws: int = 2000, seed: int = 0) -> Int[np.ndarray, "r n"]:
    """Multiplicity of each of `count` videos: row 0 is the original set, then `draws` rows that each sum to `count`.

    The same arguments give the same draws, which makes a comparison paired.

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
    *,
    as_toolkit: bool = False,
) -> Float[np.ndarray, "r t"]:
    """mAP of every draw at every threshold, equal to `detection_scores` of the drawn videos.

    Args:
        detections, annotations, as_toolkit: as in `detection_scores`; rows of videos not in `videos` are left out.
        videos: names of the columns of `times`, including videos without instances.
        times: multiplicities from `draw_videos`.

    A class without instances in a draw is not in that draw's mean; a draw without any instance is NaN.

    Raises:
        InputError: no instance, a threshold outside (0, 1], or `times` of another width than `videos`.
    """
    if times.shape[1] != len(videos):
        raise InputError(f"got {len(videos)} videos, but draws of {times.shape[1]}")
    matches = match_detections(detections, annotations, t_iou, videos, as_toolkit=as_toolkit)
    truth, hits = matches.truth, matches.hits
    ap = np.empty((len(times), len(hits), len(matches.classes)))
    for c, (start, stop) in enumerate(pairwise(matches.first)):
        own = [rows[(rows >= start) & (rows < stop)] - start for rows in hits]
        positives = times @ np.bincount(truth.video[truth.label == c], minlength=len(videos))
        ap[:, :, c] = _class_ap(matches.found.video[start:stop], own, times, positives)
    with np.errstate(invalid="ignore"):  # 0 / 0 in a draw without instances
        return np.nansum(ap, axis=2) / (~np.isnan(ap)).sum(axis=2)


def _class_ap(
    video: Int[np.ndarray, " n"],
    hits: Sequence[Int[np.ndarray, " _"]],
    times: Int[np.ndarray, "r v"],
    positives: Int[np.ndarray, " r"],
) -> Float[np.ndarray, "r t"]:
    """Average precision of one class in every draw, NaN without instances.

    Args:
        video: of each detection, by rank.
        hits: ranks of the true positives, per threshold.
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
    """Σ part / Σ whole over the videos of every draw: snippet accuracy from correct and all snippets of each video."""
    with np.errstate(invalid="ignore"):
        return (times @ part) / (times @ whole)


def paired_difference(first: Float[np.ndarray, "s r"], second: Float[np.ndarray, "s2 r2"], seed: int = 0) -> Difference:
    """First result minus second on the same draws.

    Args:
        first, second: score of every run (training seed) on every draw; column 0 is the original set. The runs of a
            side are averaged. Several runs are drawn with replacement too, so that the interval covers the variance of
            training as well as that of the videos. With equal numbers of runs, those of both sides are paired in order.
        seed: of the draws of runs.

    Raises:
        InputError: the draws of the two sides differ in number.
    """
    if first.shape[1] != second.shape[1]:
        raise InputError(f"expected the same draws on both sides, got {first.shape[1]} and {second.shape[1]}")
    gap = _over_runs(first, seed) - _over_runs(second, seed)
    observed, gap = float(gap[0]), gap[1:][~np.isnan(gap[1:])]
    if not len(gap):
        return Difference(observed, np.nan, np.nan, 1.0, 0)
    low, high = np.quantile(gap, [0.025, 0.975])
    rarer = min(int((gap <= 0).sum()), int((gap >= 0).sum()))
    return Difference(observed, float(low), float(high), min(1.0, (2 * rarer + 1) / (len(gap) + 1)), len(gap))


def _over_runs(scores: Float[np.ndarray, "s r"], seed: int) -> Float[np.ndarray, " r"]:
    """Mean over runs: of all runs in column 0, of a draw of as many runs in the others."""
    runs, draws = scores.shape
    chosen = np.random.default_rng([seed, runs]).integers(runs, size=(runs, draws))
    chosen[:, 0] = np.arange(runs)
    return np.take_along_axis(scores, chosen, axis=0).mean(axis=0)
