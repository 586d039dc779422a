"""The paper's decoders (§4.2). numpy only; all times go through the grid.

`detect` is two-stage thresholding after W-TALC (Paul et al. 2018): keep a class if its video score reaches the mean
over all classes, then turn runs above a threshold along time into segments. `events` labels every snippet with its
best class, as for AVE.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from avloc.config import LocalizeConfig
from avloc.metrics.snippets import runs
from avloc.types import ActivationSequence, Detection


def video_scores(probs: Float[np.ndarray, "l c1"], divisor: int = 8) -> Float[np.ndarray, " c"]:
    """s(c): mean of class c's top max(1, ceil(L / divisor)) snippets, without background (App. D)."""
    k = max(1, -(-len(probs) // divisor))
    return np.sort(probs[:, 1:], axis=0)[-k:].mean(axis=0)


def kept_classes(scores: Float[np.ndarray, " c"]) -> Int[np.ndarray, " k"]:
    """Classes whose video score is at least the mean over classes (§4.2); the best one if rounding leaves none."""
    kept = np.flatnonzero(scores >= scores.mean())
    return kept if len(kept) else np.array([scores.argmax()])


def detect(activations: ActivationSequence, options: LocalizeConfig) -> list[Detection]:
    """The paper's action localization: class gate, then a threshold along time per class (§4.2).

    A class's threshold is max - factor (max - min) of its curve. The score of a run is its maximum + score_weight times
    the class's video score. Runs shorter than `min_snippets` are dropped, unless the video itself is shorter.
    """
    scores = activations.video_scores
    classes = np.arange(len(scores)) if options.actions.class_gate == "none" else kept_classes(scores)
    shortest = min(options.min_snippets, activations.grid.count)
    found: list[_Run] = []
    for c in classes:
        curve = _running_mean(activations.probs[:, 1 + c], options.actions.smooth_snippets)
        threshold = curve.max() - options.actions.threshold_factor * (curve.max() - curve.min())
        found += [
            _Run(
                first,
                stop,
                activations.classes[c],
                float(curve[first:stop].max() + options.actions.score_weight * scores[c]),
            )
            for first, stop in runs(curve >= threshold).tolist()
            if stop - first >= shortest
        ]
    return _in_seconds(found, activations)


def snippet_labels(activations: ActivationSequence) -> Int[np.ndarray, " l"]:
    """argmax over background (0) and classes (1..C) of every snippet (§4.2)."""
    return activations.probs.argmax(axis=1)


def events(activations: ActivationSequence) -> list[Detection]:
    """Runs of equal non-background argmax as detections, scored by their mean probability."""
    found: list[_Run] = []
    start = 0
    for label, group in groupby(snippet_labels(activations)):
        stop = start + len(list(group))
        if label > 0:
            score = float(activations.probs[start:stop, label].mean())
            found.append(_Run(start, stop, activations.classes[label - 1], score))
        start = stop
    return _in_seconds(found, activations)


class _Run(NamedTuple):
    """Snippets first..stop-1 of a class."""

    first: int
    stop: int
    label: str
    score: float


def _in_seconds(found: Sequence[_Run], activations: ActivationSequence) -> list[Detection]:
    """Runs as detections. Runs entirely outside the video are dropped."""
    grid, duration_s = activations.grid, activations.duration_s
    inside = [run for run in found if grid.edge_s(run.first) < duration_s and grid.edge_s(run.stop) > 0]
    segments = [grid.segment(run.first, run.stop, duration_s) for run in inside]
    return [Detection(s.start_s, s.end_s, run.label, run.score) for run, s in zip(inside, segments, strict=True)]


def _running_mean(curve: Float[np.ndarray, " l"], width: int) -> Float[np.ndarray, " l"]:
    """Centred mean over `width` snippets (made odd), truncated at the ends; unchanged for width 0 or 1."""
    half = width // 2
    if not half:
        return curve
    total = np.concatenate([[0.0], np.cumsum(curve, dtype=float)])
    first = np.maximum(np.arange(len(curve)) - half, 0)
    stop = np.minimum(np.arange(len(curve)) + half + 1, len(curve))
    return (total[stop] - total[first]) / (stop - first)
