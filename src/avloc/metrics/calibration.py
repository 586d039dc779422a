"""Calibration: do scores mean probabilities?

Confidences are put into bins of equal width, (0, 0.1], (0.1, 0.2], ... with 0 in the first. The expected calibration
error is Σ_b n_b / n |share correct in b - mean confidence in b|. Most detections are weak, so it mostly describes weak
ones; the reliability diagram shows every bin.

References
    Naeini, Cooper, Hauskrecht: "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015.
    Guo, Pleiss, Sun, Weinberger: "On calibration of modern neural networks", ICML 2017, §2 (Eq. 3), who use 15 bins.
    Küppers et al.: "Multivariate confidence calibration for object detection", CVPR workshops 2020: a detection is
        correct if it is a true positive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from avloc.errors import InputError
from avloc.types import Short

CALIBRATION_BINS = 10


@dataclass(frozen=True, repr=False)
class Calibration(Short):
    """A reliability diagram. `confidence` and `correct` are NaN for an empty bin.

    Args:
        edges: (b + 1,) of the bins (edges[k], edges[k + 1]].
        counts: (b,) predictions in each bin.
        confidence: (b,) mean confidence.
        correct: (b,) share of correct predictions.
    """

    edges: Float[np.ndarray, " b1"]
    counts: Int[np.ndarray, " b"]
    confidence: Float[np.ndarray, " b"]
    correct: Float[np.ndarray, " b"]

    @property
    def error(self) -> float:
        """Expected calibration error, in [0, 1]; NaN without predictions."""
        there = self.counts > 0
        gaps = np.abs(self.correct - self.confidence)[there]
        return float((self.counts[there] * gaps).sum() / self.counts.sum()) if there.any() else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the error and the bins; NaN is null."""
        columns = self.edges[:-1], self.edges[1:], self.counts, self.confidence, self.correct
        names = ("low", "high", "count", "confidence", "correct")
        bins = [dict(zip(names, row, strict=True)) for row in zip(*(c.tolist() for c in columns), strict=True)]
        for row in bins:
            row |= {name: None for name in ("confidence", "correct") if not row["count"]}
        return {"ece": None if np.isnan(self.error) else self.error, "bins": bins}


def calibration(
    confidence: Num[np.ndarray, " n"], correct: Bool[np.ndarray, " n"], bins: int = CALIBRATION_BINS
) -> Calibration:
    """Calibration of predictions with a confidence each.

    Args:
        confidence: in [0, 1].
        correct: whether each prediction is correct.
        bins: number of bins of equal width.

    Raises:
        InputError: a confidence outside [0, 1] or NaN, or no bin.
    """
    if bins < 1:
        raise InputError(f"calibration needs at least one bin, got {bins}")
    if not probabilities(confidence):
        raise InputError("calibration needs confidences in [0, 1]: these scores are not probabilities")
    edges = np.linspace(0, 1, bins + 1)
    index = np.searchsorted(edges[1:-1], confidence, side="left")
    counts, total, right = (
        np.bincount(index, weights=weights, minlength=bins) for weights in (None, confidence, correct)
    )
    with np.errstate(invalid="ignore"):
        return Calibration(edges, counts.astype(np.int64), total / counts, right / counts)


def probabilities(scores: Num[np.ndarray, " n"]) -> bool:
    """Whether all scores lie in [0, 1]."""
    return bool(((scores >= 0) & (scores <= 1)).all())
