"""Our decoder, for boundaries finer than a snippet and high t-IoU. numpy only.

The curves of the kept classes and the reliability μ are cut at many levels; the segments above a level are candidates.
A candidate is scored by the mean of the class's curve inside it minus that over the margins just outside. Soft
non-maximum suppression ranks the candidates of a class, and a monotone map turns their scores into probabilities.
Classes and levels are array axes; only the suppression is a loop.

Conventions
    A position is a real number on the cell axis of `SnippetGrid`: cell i reaches from i to i + 1. A curve is linear
    between the centres of neighbouring cells and constant before the first and after the last centre. Level crossings
    and means are those of this piecewise linear curve.

References
    Shou et al., "AutoLoc", ECCV 2018: outer-inner contrast.
    Bodla et al., "Soft-NMS", ICCV 2017: Gaussian decay of the scores.
    Platt, "Probabilistic outputs for support vector machines", 1999: calibration.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from avloc.config import ContrastOptions, LocalizeConfig
from avloc.types import ActivationSequence, Detection

Bonus = Callable[[Float[np.ndarray, "k l"], ContrastOptions], Float[np.ndarray, " k"]]
"""(curves of k classes, options) -> evidence for each class's whole video beside its contrast."""

_FINEST = 64  # candidates whose ends both round to the same 64th of a snippet are duplicates


class Candidates(NamedTuple):
    """Segments of the cell axis: the row of the curve each belongs to, and its positions, start < stop."""

    row: Int[np.ndarray, " n"]
    start: Float[np.ndarray, " n"]
    stop: Float[np.ndarray, " n"]


def contrast(activations: ActivationSequence, options: LocalizeConfig, bonus: Bonus | None = None) -> list[Detection]:
    """Detections of the kept classes, scored by their probability of being right; those of a class may overlap.

    Args:
        bonus: evidence that a class's whole video gets beside its contrast; `full_video_bonus` if None.
    """
    own = options.contrast
    kept = select_classes(activations.video_scores, own.class_share, own.min_classes)
    curves = np.asarray(activations.probs[:, 1 + kept].T, dtype=np.float64)
    found = candidates(curves, np.asarray(activations.reliability, dtype=np.float64), options)
    inner, outer = inner_outer(curves, found, own.outer_margin, own.outside_margin)
    fills = (found.start <= 0) & (found.stop >= curves.shape[1])
    whole = (1 - own.full_video_margin) * inner + (bonus or full_video_bonus)(curves, own)[found.row]
    evidence = np.where(fills, whole, inner - outer) + own.video_weight * activations.video_scores[kept][found.row]
    strength = logistic(own.contrast_slope * (evidence - own.contrast_middle))
    start_s, end_s = activations.grid.spans_s(found.start, found.stop, activations.duration_s)
    valid = (end_s > start_s) & (evidence > 0)  # inside the video, and above its surroundings
    row, start_s, end_s, strength = found.row[valid], start_s[valid], end_s[valid], strength[valid]
    slope, offset = own.calibration_slope, own.calibration_offset
    lowest = logistic((logit(np.array([own.min_probability])) - offset) / slope)[0]
    chosen, left = soft_nms(row, start_s, end_s, strength, own.nms_sigma, own.max_per_class, float(lowest))
    score = calibrated(left, slope, offset)
    return [
        Detection(float(start_s[i]), float(end_s[i]), activations.classes[kept[row[i]]], float(s))
        for i, s in zip(chosen, score, strict=True)
    ]


def full_video_bonus(curves: Float[np.ndarray, "k l"], own: ContrastOptions) -> Float[np.ndarray, " k"]:
    """Evidence for each class's whole video beside its contrast: a short video was often cut to its action.

    The bonus is the mean of the curve times short_video_bonus / L, at most 1 + full_video_margin. It shrinks with the
    fall of the smoothed curve from its highest to its lowest value, and ends where that reaches `full_video_drop`: then
    the contrast decides.
    """
    smooth = smoothed(curves, own.smooth_passes)
    flat = np.maximum(0.0, 1 - (smooth.max(axis=1) - smooth.min(axis=1)) / own.full_video_drop)
    return min(own.short_video_bonus / curves.shape[1], 1 + own.full_video_margin) * flat * curves.mean(axis=1)


def select_classes(scores: Float[np.ndarray, " c"], share: float, least: int) -> Int[np.ndarray, " k"]:
    """Classes with at least `share` of the best video score, and always the best `least`; ascending."""
    best = np.argsort(-scores, kind="stable")[:least]
    return np.union1d(np.flatnonzero(scores >= share * scores.max()), best)


def candidates(
    curves: Float[np.ndarray, "k l"], reliability: Float[np.ndarray, " l"], options: LocalizeConfig
) -> Candidates:
    """Cuts of each class's curve, cuts of μ for every class, and the whole video, without duplicates."""
    smooth = smoothed(np.vstack([curves, reliability[None]]), options.contrast.smooth_passes)
    cuts = crossings(smooth, _levels(smooth, options.contrast.levels))
    classes, length = len(curves), curves.shape[1]
    long = cuts.stop - cuts.start >= min(options.min_snippets, length)
    own, shared = long & (cuts.row < classes), long & (cuts.row == classes)
    every, count = np.arange(classes), int(shared.sum())
    row = np.concatenate([cuts.row[own], np.repeat(every, count), every])
    start = np.concatenate([cuts.start[own], np.tile(cuts.start[shared], classes), np.zeros(classes)])
    stop = np.concatenate([cuts.stop[own], np.tile(cuts.stop[shared], classes), np.full(classes, float(length))])
    size = length * _FINEST + 1
    key = (row * size + np.rint(start * _FINEST).astype(np.int64)) * size + np.rint(stop * _FINEST).astype(np.int64)
    _, once = np.unique(key, return_index=True)
    return Candidates(row[once], start[once], stop[once])


def crossings(curves: Float[np.ndarray, "k l"], levels: Float[np.ndarray, "k t"]) -> Candidates:
    """Segments where a curve is at or above a level. `row` is the curve; the level is not recorded."""
    above = np.zeros((*levels.shape, curves.shape[1] + 2), dtype=bool)
    above[:, :, 1:-1] = curves[:, None, :] >= levels[:, :, None]
    row, cut, edge = np.nonzero(above[:, :, 1:] != above[:, :, :-1])  # in pairs: up, down, up, down, ...
    level = levels[row, cut]
    position = _cross(curves, row, edge, level)
    return Candidates(row[::2], position[::2], position[1::2])


def _cross(
    curves: Float[np.ndarray, "k l"],
    row: Int[np.ndarray, " n"],
    edge: Int[np.ndarray, " n"],
    level: Float[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """Position between the centres of cells edge - 1 and edge where the curve crosses the level; 0 or L at the ends."""
    last = curves.shape[1] - 1
    before, after = curves[row, np.maximum(edge - 1, 0)], curves[row, np.minimum(edge, last)]
    inside = (edge > 0) & (edge <= last)
    share = np.divide(level - before, after - before, out=np.zeros(len(edge)), where=inside)
    return np.where(inside, edge - 0.5 + share, edge)


def inner_outer(
    curves: Float[np.ndarray, "k l"], found: Candidates, margin: float, outside: float
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Mean of the curve inside each candidate, and over margins of `margin` times its length on either side.

    The part of a margin outside the video, where the curve is unknown, counts as `outside` times the inner mean; with
    outside = 0 this is AutoLoc's contrast with zeros around the video.
    """
    length = curves.shape[1]
    knots = np.concatenate([curves[:, :1], curves, curves[:, -1:]], axis=1)  # at 0, 1/2, 3/2, ..., L - 1/2, L
    places = np.concatenate([[0.0], np.arange(length) + 0.5, [float(length)]])
    pieces = np.diff(places) * (knots[:, 1:] + knots[:, :-1]) / 2
    integral = np.concatenate([np.zeros((len(curves), 1)), np.cumsum(pieces, axis=1)], axis=1)

    def until(position: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        knot = np.minimum((position + 0.5).astype(np.int64), length)
        here, rest = knots[found.row, knot], position - places[knot]
        rise = (knots[found.row, knot + 1] - here) / (places[knot + 1] - places[knot])
        return integral[found.row, knot] + rest * (here + rise * rest / 2)

    width = found.stop - found.start
    wings = margin * width
    low, high = np.maximum(found.start - wings, 0), np.minimum(found.stop + wings, length)
    mass = until(found.stop) - until(found.start)
    inner = mass / width
    missing = 2 * wings - (high - low - width)
    outer = (until(high) - until(low) - mass + missing * outside * inner) / (2 * wings)
    return inner, outer


def logistic(x: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """1 / (1 + exp(-x)), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def calibrated(strength: Float[np.ndarray, "*n"], slope: float, offset: float) -> Float[np.ndarray, "*n"]:
    """Platt scaling of the suppressed scores, in [0, 1): logistic(slope · logit(strength) + offset). Monotone."""
    return logistic(slope * logit(strength) + offset)


def logit(x: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """log(x / (1 - x)), finite at 0 and 1."""
    inside = np.clip(x, 1e-12, 1 - 1e-12)
    return np.log(inside) - np.log1p(-inside)


def soft_nms(
    row: Int[np.ndarray, " n"],
    start_s: Float[np.ndarray, " n"],
    end_s: Float[np.ndarray, " n"],
    score: Float[np.ndarray, " n"],
    sigma: float,
    most: int,
    floor: float = 0.0,
) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Per row: pick the best candidate, multiply the others' scores by exp(-t-IoU² / sigma), repeat.

    Args:
        row: the class of each candidate, ascending.
        most: maximum picks per row.
        floor: a row ends when no remaining score exceeds this.

    Returns:
        Indices of the picks and their decayed scores, the first picks of all rows first.
    """
    if not len(row):
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    rows, first, count = np.unique(row, return_index=True, return_counts=True)
    lane, slot = np.repeat(np.arange(len(rows)), count), np.arange(len(row)) - np.repeat(first, count)
    start, end, left = (np.zeros((len(rows), count.max())) for _ in range(3))
    start[lane, slot], end[lane, slot], left[lane, slot] = start_s, end_s, score
    every = np.arange(len(rows))
    chosen, scores = [], []
    for _ in range(min(most, int(count.max()))):
        best = left.argmax(axis=1)
        value = left[every, best]
        remaining: Bool[np.ndarray, " r"] = value > max(floor, 0.0)
        if not remaining.any():
            break
        chosen.append((first + best)[remaining])
        scores.append(value[remaining])
        a, b = start[every, best][:, None], end[every, best][:, None]
        common = np.maximum(np.minimum(end, b) - np.maximum(start, a), 0)
        overlap = common / ((end - start) + (b - a) - common)
        left *= np.exp(-(overlap**2) / sigma)
        left[every, best] = 0
    return (np.concatenate(chosen), np.concatenate(scores)) if chosen else (np.zeros(0, dtype=np.int64), np.zeros(0))


def _levels(curves: Float[np.ndarray, "k l"], count: int) -> Float[np.ndarray, "k t"]:
    """`count` levels evenly spaced inside each curve's range, and `count` inside [0, 1]."""
    share = np.arange(1, count + 1) / (count + 1)
    low, high = curves.min(axis=1, keepdims=True), curves.max(axis=1, keepdims=True)
    return np.concatenate([low + share * (high - low), np.broadcast_to(share, (len(curves), count))], axis=1)


def smoothed(curves: Float[np.ndarray, "k l"], passes: int) -> Float[np.ndarray, "k l"]:
    """Filter with weights 1/4, 1/2, 1/4, `passes` times; edge values are repeated."""
    for _ in range(passes):
        padded = np.pad(curves, ((0, 0), (1, 1)), mode="edge")
        curves = 0.25 * padded[:, :-2] + 0.5 * padded[:, 1:-1] + 0.25 * padded[:, 2:]
    return curves
