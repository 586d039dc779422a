"""Detection errors: their types, the mAP each costs, and sensitivity to characteristics of the instances.

Every detection is one of
    true positive   matched to an instance
    double          the instance with the highest t-IoU (at least the threshold) is of its class, and already matched
    wrong label     that instance is of another class
    localization    the instance with the highest t-IoU (at least 0.1, below the threshold) is of its class
    confusion       that instance is of another class
    background      t-IoU below 0.1 with every instance
and an instance matched by no detection is missed.

The cost of an error type is the mAP gained without its detections (for missed: without those instances), averaged over
thresholds. Costs do not add up.

Sensitivity is measured by AP_N: precision at recall r is computed as if each class had N instances (the mean over
classes), so that groups of different size are comparable; instances of other groups and the detections matched to them
are left out.

Differs from DETAD's program: of equally overlapped instances one of the detection's class is preferred; each threshold
filters the detections independently (theirs filters cumulatively); costs are in mAP, not in mAP_N.

References
    Alwassel, Caba Heilbron, Escorcia, Ghanem: "Diagnosing error in temporal action detectors", ECCV 2018.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from avloc.metrics.calibration import Calibration, calibration, probabilities
from avloc.metrics.detection import T_IOU_THRESHOLDS, average_precision
from avloc.metrics.matching import Matches, match_detections, pair_blocks, true_positives
from avloc.metrics.overlap import paired_t_iou
from avloc.metrics.table import Detections, SegmentTable
from avloc.types import Short, VideoAnnotation

ERRORS = ("double", "wrong label", "localization", "confusion", "background")
KINDS = ("true positive", *ERRORS)
FAINT = 0.1
TOP_GROUPS = 10

BINS: dict[str, dict[str, tuple[float, ...]]] = {
    "activitynet": {
        "coverage": (0, 0.2, 0.4, 0.6, 0.8, 1),
        "length": (0, 30, 60, 120, 180, np.inf),
        "instances": (0, 1, 4, 8, np.inf),
    },
    "thumos14": {
        "coverage": (0, 0.02, 0.04, 0.06, 0.08, 1),
        "length": (0, 3, 6, 12, 18, np.inf),
        "instances": (0, 1, 40, 80, np.inf),
    },
}
"""Edges of DETAD's groups: share of the video, seconds, instances of the class in the video."""


@dataclass(frozen=True)
class Group:
    """Instances with a characteristic in a range.

    Args:
        characteristic: "coverage", "length" or "instances".
        low, high: the range (low, high].
        instances: their number.
        mean_ap_n: AP_N averaged over classes and thresholds; NaN for an empty group.
        missed: share not matched at `Diagnosis.at`; NaN for an empty group.
    """

    characteristic: str
    low: float
    high: float
    instances: int
    mean_ap_n: float
    missed: float

    @property
    def name(self) -> str:
        """The range in words: "30-60", "over 180"; for counts "1", "2-4"."""
        if np.isinf(self.high):
            return f"over {self.low:g}"
        if self.characteristic == "instances":
            return f"{self.low + 1:g}-{self.high:g}" if self.high > self.low + 1 else f"{self.high:g}"
        return f"{self.low:g}-{self.high:g}"


@dataclass(frozen=True, repr=False)
class Diagnosis(Short):
    """Errors of a set of detections. Scores and shares are fractions.

    Args:
        at: the threshold at which errors are counted.
        average_mean_ap: of all detections.
        counts: {kind: detections} among the top 10 G of each class; G is the number of its instances.
        profile: (10, 6) shares of KINDS among the detections ranked 1 to G, G + 1 to 2 G, ..., up to 10 G in their
            class. NaN where there are none.
        missed: share of instances not matched.
        cost: {error or "missed": average mAP gained without it}.
        mean_ap_n: normalised mAP of all instances.
        groups: sensitivity.
        calibration: of the scores, where a true positive at `at` is correct; None without detections, and if a score
            lies outside [0, 1].
    """

    at: float
    average_mean_ap: float
    counts: Mapping[str, int]
    profile: Float[np.ndarray, "10 6"]
    missed: float
    cost: Mapping[str, float]
    mean_ap_n: float
    groups: tuple[Group, ...]
    calibration: Calibration | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; NaN is null."""
        groups = [{**vars(g), "name": g.name, "high": None if np.isinf(g.high) else g.high} for g in self.groups]
        facts = {**vars(self), "counts": dict(self.counts), "cost": dict(self.cost), "groups": groups}
        facts["calibration"] = None if self.calibration is None else self.calibration.to_dict()
        facts["profile"] = {kind: self.profile[:, k].tolist() for k, kind in enumerate(KINDS)}
        return _without_nan(facts)


def diagnose(
    detections: Detections,
    annotations: Sequence[VideoAnnotation],
    t_iou: Sequence[float] = T_IOU_THRESHOLDS,
    at: float = 0.5,
    bins: Mapping[str, Sequence[float]] = BINS["activitynet"],
) -> Diagnosis:
    """Count errors, and measure their costs and the sensitivity to characteristics of the instances.

    Args:
        detections, t_iou: as in `detection_scores`.
        annotations: ground truth; coverage needs the durations of the videos.
        at: the threshold at which errors are counted.
        bins: see BINS.

    Raises:
        InputError: as `detection_scores`; more than 10^9 pairs of a detection and an instance of one video.
    """
    matches = match_detections(detections, annotations, [*t_iou, at])
    found, truth, takers = matches.found, matches.truth, matches.takers
    nearest = _nearest(found, truth)
    kinds = [_kinds(taker, t, *nearest) for taker, t in zip(takers, matches.t_iou, strict=True)]
    curve = _Curve(matches)
    base = float(np.mean([curve.ap(rows) for rows in matches.hits[:-1]]))
    values = _characteristics(truth, annotations)
    groups = [
        _group(curve, takers, name, low, high, values[name])
        for name, edges in bins.items()
        for low, high in pairwise(edges)
    ]
    everything = np.ones(len(truth), dtype=bool)
    return Diagnosis(
        at=at,
        average_mean_ap=base,
        counts=_counts(curve, kinds[-1]),
        profile=_profile(curve, kinds[-1]),
        missed=float((takers[-1] < 0).mean()),
        cost=_costs(curve, takers[:-1], kinds[:-1], base),
        mean_ap_n=float(np.mean([curve.normalised(taker, everything) for taker in takers[:-1]])),
        groups=tuple(groups),
        calibration=detection_calibration(matches, -1),
    )


def detection_calibration(matches: Matches, threshold: int) -> Calibration | None:
    """Calibration of the scores of detections of the ground truth's classes; None as in `Diagnosis`.

    Args:
        threshold: index of the t-IoU threshold at which a true positive is correct.
    """
    scores = matches.found.score
    if not len(scores) or not probabilities(scores):
        return None
    correct = np.zeros(len(scores), dtype=bool)
    correct[matches.hits[threshold]] = True
    return calibration(scores, correct)


class _Curve:
    """Average precision of subsets of the ranked detections."""

    def __init__(self, matches: Matches) -> None:
        self.label, self.truth_label = matches.found.label, matches.truth.label
        self.first, self.positives = matches.first, matches.positives
        self.rank = np.arange(len(self.label)) - self.first[self.label]  # within the class

    def ap(
        self,
        hits: Int[np.ndarray, " h"],
        kept: Bool[np.ndarray, " n"] | None = None,
        positives: Int[np.ndarray, " c"] | None = None,
    ) -> float:
        """mAP of the detections `kept`, with `positives` instances per class."""
        first = self.first
        if kept is not None:
            before = np.concatenate([[0], np.cumsum(kept)])
            hits, first = before[hits[kept[hits]]], before[first]
        counts = self.positives if positives is None else positives
        return float(average_precision(hits, first, np.maximum(counts, 1)).mean())

    def normalised(self, taker: Int[np.ndarray, " m"], members: Bool[np.ndarray, " m"]) -> float:
        """AP_N of some instances, averaged over their classes."""
        hit, other = np.zeros((2, len(self.label)), dtype=bool)
        hit[taker[members & (taker >= 0)]] = True
        other[true_positives(taker)] = True
        kept = hit | ~other
        expected = float(self.positives.mean())
        sizes = np.bincount(self.truth_label[members])
        result = []
        for c in np.flatnonzero(sizes):
            rows = slice(self.first[c], self.first[c + 1])
            right = hit[rows][kept[rows]]
            recall = np.cumsum(right) / sizes[c]
            weight = recall * expected
            precision = weight / np.maximum(weight + np.cumsum(~right), 1e-12)
            envelope = np.maximum.accumulate(precision[::-1])[::-1]
            result.append(float((np.diff(recall, prepend=0.0) * envelope).sum()))
        return float(np.mean(result)) if result else float("nan")


def _nearest(found: SegmentTable, truth: SegmentTable) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Highest t-IoU of each detection with an instance of its video, and whether that one is of its class."""
    best, own = np.zeros(len(found)), np.zeros(len(found), dtype=bool)
    by_video = np.argsort(truth.video, kind="stable")
    for detection, instance in pair_blocks(found.video, truth.video, by_video, "of one video"):
        spans = found.start_s[detection], found.end_s[detection], truth.start_s[instance], truth.end_s[instance]
        overlap = paired_t_iou(*spans)
        np.maximum.at(best, detection, overlap)
        same = truth.label[instance] == found.label[detection]
        own[detection[same & (overlap == best[detection])]] = True
    return best, own


def _kinds(
    taker: Int[np.ndarray, " m"], threshold: float, best: Float[np.ndarray, " n"], own: Bool[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """Index into KINDS of each detection."""
    near = np.where(own, KINDS.index("double"), KINDS.index("wrong label"))
    faint = np.where(own, KINDS.index("localization"), KINDS.index("confusion"))
    kinds = np.where(best >= threshold, near, np.where(best >= FAINT, faint, KINDS.index("background")))
    kinds[true_positives(taker)] = 0
    return kinds


def _counts(curve: _Curve, kinds: Int[np.ndarray, " n"]) -> dict[str, int]:
    top = curve.rank < TOP_GROUPS * curve.positives[curve.label]
    counts = np.bincount(kinds[top], minlength=len(KINDS))
    return dict(zip(KINDS, counts.tolist(), strict=True))


def _profile(curve: _Curve, kinds: Int[np.ndarray, " n"]) -> Float[np.ndarray, "10 6"]:
    tenth = curve.rank // curve.positives[curve.label]
    shares = np.full((TOP_GROUPS, len(KINDS)), np.nan)
    for k in range(TOP_GROUPS):
        counts = np.bincount(kinds[tenth == k], minlength=len(KINDS))
        if counts.sum():
            shares[k] = counts / counts.sum()
    return shares


def _costs(curve: _Curve, takers: Sequence[np.ndarray], kinds: Sequence[np.ndarray], base: float) -> dict[str, float]:
    costs = {}
    for error in ERRORS:
        index = KINDS.index(error)
        without = [curve.ap(true_positives(t), kind != index) for t, kind in zip(takers, kinds, strict=True)]
        costs[error] = float(np.mean(without)) - base
    classes = len(curve.positives)
    found = [np.bincount(curve.truth_label[t >= 0], minlength=classes) for t in takers]
    all_found = [curve.ap(true_positives(t), None, n) for t, n in zip(takers, found, strict=True)]
    costs["missed"] = float(np.mean(all_found)) - base
    return costs


def _characteristics(truth: SegmentTable, annotations: Sequence[VideoAnnotation]) -> dict[str, Float[np.ndarray, " m"]]:
    durations = {video.video_id: video.duration_s for video in annotations}
    length = truth.end_s - truth.start_s
    whole = np.array([durations[truth.videos[v]] for v in truth.video])
    groups = truth.video * len(truth.labels) + truth.label
    times = Counter(groups.tolist())
    return {
        "coverage": np.minimum(length / whole, 1.0),
        "length": length,
        "instances": np.array([float(times[g]) for g in groups.tolist()]),
    }


def _group(
    curve: _Curve,
    takers: Sequence[np.ndarray],
    name: str,
    low: float,
    high: float,
    values: Float[np.ndarray, " m"],
) -> Group:
    members = (values > low) & (values <= high)
    if not members.any():
        return Group(name, low, high, 0, float("nan"), float("nan"))
    ap_n = float(np.mean([curve.normalised(taker, members) for taker in takers[:-1]]))
    missed = float((takers[-1][members] < 0).mean())
    return Group(name, low, high, int(members.sum()), ap_n, missed)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and value != value else value
