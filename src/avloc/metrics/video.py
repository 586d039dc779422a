"""Video-level classification. Needs video-level labels only, so weakly supervised models may be selected by it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Num

from avloc.errors import InputError


@dataclass(frozen=True)
class VideoScores:
    """Average precision of each class over videos, in [0, 1]; NaN for a class in no video."""

    ap: Float[np.ndarray, " c"]

    @property
    def mean_ap(self) -> float:
        """Mean over the classes that occur."""
        return float(np.nanmean(self.ap))


def video_average_precision(
    scores: Num[np.ndarray, "n c"], labels: Num[np.ndarray, "n c"] | Bool[np.ndarray, "n c"]
) -> VideoScores:
    """Non-interpolated average precision of ranking videos by each class's score: Σ (R_k - R_{k-1}) P_k.

    Args:
        scores: (n videos, C), higher is more likely.
        labels: (n videos, C), non-zero where the video has the class.

    Videos of equal score enter together (k runs over distinct scores), so their order does not matter: a constant
    classifier gets the share of positives.

    Raises:
        InputError: a NaN score, or no positive label at all.
    """
    if np.isnan(scores).any():
        raise InputError(f"video scores must not be NaN, got NaN for {int(np.isnan(scores).any(axis=1).sum())} videos")
    truth = labels != 0
    if not truth.any():
        raise InputError("no video has any of the classes: average precision needs at least one positive label")
    pairs = zip(scores.T, truth.T, strict=True)
    return VideoScores(np.array([_average_precision(s, y) if y.any() else np.nan for s, y in pairs]))


def _average_precision(scores: Num[np.ndarray, " n"], truth: Bool[np.ndarray, " n"]) -> float:
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    ranked, hits = scores[order], np.cumsum(truth[order])
    last_of_tie = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    found = hits[last_of_tie]
    precision = found / (last_of_tie + 1)
    return float((np.diff(found, prepend=0) * precision).sum() / hits[-1])
