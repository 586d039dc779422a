"""W-TALC's two metrics as its programs compute them, only for comparison with its papers.

Differs from `detection_scores`, as theirs does: time is in whole snippets, to which ground truth is rounded; a
detection takes the first instance in file order that it overlaps enough, not the one it overlaps most; average
precision is not interpolated; one class without detections makes the whole mAP 0.
Differs from their programs: equal scores keep their order (theirs: an unstable sort), and scores are fractions, not
percent.

References
    Paul, Roy, Roy-Chowdhury: "W-TALC: weakly-supervised temporal activity localization and classification", ECCV 2018;
    detectionMAP.py and classificationMAP.py of sujoyp/wtalc-pytorch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

from avloc.errors import InputError
from avloc.metrics.snippets import runs
from avloc.metrics.table import Annotations, as_tables
from avloc.types import DetectionScores

WTALC_T_IOU = (0.1, 0.2, 0.3, 0.4, 0.5)
TOP_SHARE, THRESHOLD_SHARE, VIDEO_WEIGHT, MIN_SNIPPETS = 8, 0.5, 0.7, 2


class _Run(NamedTuple):
    """A detection in snippets, [first, stop)."""

    video: str
    first: int
    stop: int
    score: float


def wtalc_detection_map(
    logits: Mapping[str, Float[np.ndarray, "_ c"]],
    annotations: Annotations,
    classes: Sequence[str],
    t_iou: Sequence[float] = WTALC_T_IOU,
    *,
    snippets_per_s: Fraction = Fraction(25, 16),
    ambiguous: Sequence[tuple[str, float, float]] = (),
) -> DetectionScores:
    """From class activations to W-TALC's detection mAP.

    Args:
        logits: {video: (L, C) class activations before the softmax}, one row per snippet.
        annotations: ground truth of the test subset; as a table, in file order. Videos without logits count as
            missed; videos without instances are ignored, as in the original.
        classes: C names, in column order.
        t_iou: thresholds in (0, 1].
        snippets_per_s: 25/16 for I3D features, 10/4 for UntrimmedNet's.
        ambiguous: (video, start, end) in seconds; detections that touch one are ignored.

    Returns:
        Scores in [0, 1] of the classes with instances, in alphabetical order. All 0 if one has no detection.

    Raises:
        InputError: no instance, an instance of an unknown class, or a wrong number of logit columns.
    """
    _, truth = as_tables({}, annotations)
    if not len(truth):
        raise InputError("the ground truth has no instance to score against: expected at least one; check the subset")
    unknown = sorted({truth.labels[k] for k in np.unique(truth.label)} - set(classes))
    if unknown:
        raise InputError(f"the ground truth has class {unknown[0]!r}, which is not among the columns of the logits")
    instances: dict[str, list[tuple[str, int, int]]] = {}
    columns = (truth.video.tolist(), truth.label.tolist(), truth.start_s.tolist(), truth.end_s.tolist())
    for video, label, start_s, end_s in zip(*columns, strict=True):
        span = _snippets(start_s, snippets_per_s), _snippets(end_s, snippets_per_s)
        instances.setdefault(truth.labels[label], []).append((truth.videos[video], *span))
    videos = [name for name in dict.fromkeys(truth.videos[v] for v in truth.video.tolist()) if name in logits]
    doubtful = [(v, _snippets(s, snippets_per_s), _snippets(e, snippets_per_s)) for v, s, e in ambiguous]
    names = sorted(instances)
    ap = np.zeros((len(t_iou), len(names)))
    for k, name in enumerate(names):
        found = [run for video in videos for run in _runs(video, logits[video], classes.index(name), len(classes))]
        found = [run for run in found if not any(run.video == v and _iou(run, s, e) > 0 for v, s, e in doubtful)]
        if not found:
            return DetectionScores(np.asarray(t_iou, dtype=np.float64), tuple(names), np.zeros_like(ap))
        found.sort(key=lambda run: -run.score)
        ap[:, k] = [_average_precision(found, instances[name], threshold) for threshold in t_iou]
    return DetectionScores(np.asarray(t_iou, dtype=np.float64), tuple(names), ap)


def wtalc_classification_map(confidence: Num[np.ndarray, "n c"], labels: Num[np.ndarray, "n c"]) -> float:
    """W-TALC's video classification mAP, in [0, 1].

    Args:
        confidence: (n videos, C), higher is more likely.
        labels: (n, C), 1 where the video has the class.

    Raises:
        InputError: a class in no video (theirs computes 0/0).
    """
    positives = (labels == 1).sum(axis=0)
    if not positives.all():
        raise InputError(f"no video has class {int(np.flatnonzero(positives == 0)[0])}: its average precision is 0/0")
    order = np.argsort(-confidence.astype(np.float64), axis=0, kind="stable")
    hits = np.take_along_axis(labels == 1, order, axis=0)
    precision = np.cumsum(hits, axis=0) / np.arange(1, len(hits) + 1)[:, None]
    return float(((precision * hits).sum(axis=0) / positives).mean())


def _snippets(time_s: float, per_s: Fraction) -> int:
    return round(time_s * float(per_s))  # half to even, as theirs


def _runs(video: str, logits: Float[np.ndarray, "l c"], column: int, classes: int) -> list[_Run]:
    if logits.shape[1] != classes:
        raise InputError(f"{video}: expected logits with a column per class ({classes}), got {logits.shape[1]}")
    curve = logits[:, column]
    top = np.sort(curve)[::-1][: len(curve) // TOP_SHARE]
    if not len(top) or not (video_score := top.mean()) > 0:
        return []
    high = curve > curve.max() - (curve.max() - curve.min()) * THRESHOLD_SHARE
    return [
        _Run(video, first, stop, float(curve[first:stop].max() + VIDEO_WEIGHT * video_score))
        for first, stop in runs(high).tolist()
        if stop - first >= MIN_SNIPPETS
    ]


def _iou(run: _Run, first: int, stop: int) -> float:
    common = max(0, min(run.stop, stop) - max(run.first, first))
    return common / (run.stop - run.first + max(0, stop - first) - common)


def _average_precision(runs: Sequence[_Run], instances: Sequence[tuple[str, int, int]], threshold: float) -> float:
    left = list(instances)
    total, found = 0.0, 0
    for rank, run in enumerate(runs, start=1):
        match = next((i for i in left if i[0] == run.video and _iou(run, i[1], i[2]) >= threshold), None)
        if match is not None:
            left.remove(match)
            found += 1
            total += found / rank
    return total / len(instances)
