"""Average precision of temporal detections by ActivityNet's rules, without loops over detections.

Average precision is the area under the precision envelope over recall, for one class and one t-IoU threshold.
`metrics.matching` decides which detections are true positives.

Differs from the ActivityNet toolkit: a label absent from the ground truth is counted instead of raising, and

    case                          here                                  the toolkit, and `as_toolkit`
    t-IoU is 0/0 or of NaN times  0                                     NaN, which passes every threshold
    NaN score                     ranks last                            ranks first
    equal scores                  the first in the file ranks first     the last in the file
    instances of equal t-IoU      the later in time is tried first      the last in the file

The toolkit sorts with numpy's default, unstable sort and reverses. Up to 16 values that is the stable order reversed,
which `as_toolkit` uses throughout; beyond, and with vector instructions of some processors, its order of ties depends
on the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

from avloc.errors import InputError
from avloc.metrics.matching import match_detections
from avloc.metrics.table import Annotations, Detections
from avloc.types import Detection, DetectionScores, VideoAnnotation

T_IOU_THRESHOLDS: tuple[float, ...] = tuple(np.linspace(0.5, 0.95, 10).tolist())
"""ActivityNet's ten thresholds, 0.5:0.05:0.95, to the bit."""


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
        annotations: ground truth of the subset to score, or a table of its instances. The mean is over its classes.
        t_iou: thresholds in (0, 1]; a t-IoU equal to the threshold passes.
        as_toolkit: treat ties and undefined values as the ActivityNet toolkit does: see `match_detections`; a pair
            whose t-IoU is 0/0 or has a NaN time passes every threshold. To show that nothing else differs.

    Returns:
        Scores in [0, 1]; classes in alphabetical order.

    Raises:
        InputError: no instance in the ground truth, or a threshold outside (0, 1].

    Detections of equal score keep their order; otherwise the order of the input does not matter. For invalid input see
    `DetectionCounts`.
    """
    matches = match_detections(detections, annotations, t_iou, as_toolkit=as_toolkit)
    ap = np.array([average_precision(rows, matches.first, matches.positives) for rows in matches.hits])
    return DetectionScores(t_iou=matches.t_iou, classes=matches.classes, ap=ap)


def whole_video_detections(
    videos: Iterable[VideoAnnotation] | Mapping[str, float], labels: Mapping[str, Sequence[str]] | None = None
) -> dict[str, tuple[Detection, ...]]:
    """The trivial baseline: each class of a video, detected over its whole length with score 1.

    Args:
        videos: ground truth, or {video_id: duration in seconds}.
        labels: {video_id: its classes}; required with durations, else they replace those of the ground truth.

    Raises:
        InputError: durations without labels, or a labelled video without a duration.

    On ActivityNet 1.2's validation set, in the order of the annotation file, its average mAP is 0.204 (0.361 at t-IoU
    0.5): report it beside every result. All scores are equal, so the order of the videos matters: over random orders
    the average is 0.205 with a standard deviation of 0.002.
    """
    if isinstance(videos, Mapping):
        if labels is None:
            raise InputError("durations do not tell which classes occur: pass labels={video_id: classes}")
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


def average_precision(
    hits: Int[np.ndarray, " h"], first: Int[np.ndarray, " c1"], positives: Int[np.ndarray, " c"]
) -> Float[np.ndarray, " c"]:
    """Area under the precision envelope, per class.

    Args:
        hits: rows of the true positives, ascending.
        first: first row of each class, and the end of the last one's.
        positives: instances of each class.
    """
    ap = np.zeros(len(positives))
    bounds = np.searchsorted(hits, first)
    for c, (start, stop) in enumerate(pairwise(bounds)):
        # Recall rises only at true positives and precision falls between them, so only they count.
        precision = np.arange(1, stop - start + 1) / (hits[start:stop] - first[c] + 1)
        envelope = np.maximum.accumulate(precision[::-1])
        ap[c] = envelope.sum() / positives[c]
    return ap
