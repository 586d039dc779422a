"""Do scores mean probabilities? Platt's constants, how they hold out of sample, and the threshold of what is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from avloc.localize.contrast import calibrated, logistic, logit
from avloc.metrics import calibration

THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
TENTH = 0.1


@dataclass(frozen=True)
class Judged:
    """Uncalibrated scores of the detections of a condition.

    Args:
        score, right: (n,) of each detection: its score, and whether it takes an instance at t-IoU 0.5.
        strongest: (s, v, c) the strongest detection of each class in each video per seed, 0 without one.
        present: (v, c) whether the video has the class.
    """

    score: Float[np.ndarray, " n"]
    right: Bool[np.ndarray, " n"]
    strongest: Float[np.ndarray, "s v c"]
    present: Bool[np.ndarray, "v c"]


def fit(conditions: Sequence[Judged]) -> tuple[float, float]:
    """Platt's slope and offset by maximum likelihood; each condition has the same weight. Newton's method."""
    x = np.concatenate([logit(one.score) for one in conditions])
    y = np.concatenate([one.right for one in conditions]).astype(float)
    weight = np.concatenate([np.full(len(one.score), 1 / len(one.score)) for one in conditions])
    rows, beta = np.stack([x, np.ones_like(x)], axis=1), np.array([1.0, 0.0])
    for _ in range(50):
        p = logistic(rows @ beta)
        step = np.linalg.solve((rows * (weight * p * (1 - p))[:, None]).T @ rows, rows.T @ (weight * (y - p)))
        beta = beta + step
        if np.abs(step).max() < 1e-10:
            break
    return float(beta[0]), float(beta[1])


def quality(one: Judged, slope: float, offset: float) -> dict[str, float]:
    """Log loss and calibration error over detections; of those scored 0.7 and more, predicted and right."""
    p = calibrated(one.score, slope, offset)
    strong = p >= 0.7
    loss = -np.log(np.where(one.right, p, 1 - p).clip(1e-12)).mean()
    result = {"log loss": float(loss), "error": calibration(p, one.right).error, "strong": float(strong.sum())}
    return result | {"predicted": mean(p[strong]), "observed": mean(one.right[strong])}


def ratio(conditions: Sequence[Judged], slope: float, offset: float) -> float:
    """Mean strongest score of a class in a video over the frequency of classes in videos; mean over conditions."""
    return float(np.mean([_strongest(one, slope, offset).mean() / one.present.mean() for one in conditions]))


def shifted(one: Judged, slope: float, offset: float, target: float, rng: np.random.Generator, share: float) -> float:
    """The offset with which the mean strongest score is `target` times the frequency of classes.

    Args:
        share: of the videos, drawn by `rng`, whose video-level labels are used.
    """
    videos = rng.permutation(len(one.present))[: max(1, round(share * len(one.present)))]
    part = Judged(one.score, one.right, one.strongest[:, videos], one.present[videos])
    low, high, wanted = offset - 6, offset + 6, target * part.present.mean()
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _strongest(part, slope, middle).mean() < wanted else (low, middle)
    return (low + high) / 2


def out_of_sample(conditions: Mapping[str, Judged], draws: int = 20) -> dict[str, dict[str, dict[str, float]]]:
    """{left-out condition: {"fixed", "shifted", "shifted, a tenth": quality}}, constants from the other conditions.

    With a tenth of the videos: the mean over `draws` draws.
    """
    result = {}
    for name, one in conditions.items():
        others = [other for key, other in conditions.items() if key != name]
        slope, offset = fit(others)
        target, rng = ratio(others, slope, offset), np.random.default_rng(0)
        every = shifted(one, slope, offset, target, rng, 1.0)
        few = [quality(one, slope, shifted(one, slope, offset, target, rng, TENTH)) for _ in range(draws)]
        result[name] = {
            "fixed": quality(one, slope, offset),
            "shifted": quality(one, slope, every),
            "shifted, a tenth": {key: float(np.mean([q[key] for q in few])) for key in few[0]},
        }
    return result


def found_classes(one: Judged, slope: float, offset: float) -> dict[float, tuple[float, float, float]]:
    """{score: precision, recall and F1 of the classes with a detection of at least this score}."""
    best = _strongest(one, slope, offset)
    result = {}
    for threshold in THRESHOLDS:
        named = best >= threshold
        hits = float((named & one.present).sum())
        precision = hits / named.sum() if named.any() else float("nan")
        recall = hits / (one.present.sum() * len(best))
        result[threshold] = (precision, recall, 2 * hits / float(named.sum() + one.present.sum() * len(best)))
    return result


def _strongest(one: Judged, slope: float, offset: float) -> Float[np.ndarray, "s v c"]:
    return np.where(one.strongest > 0, calibrated(one.strongest, slope, offset), 0.0)


def mean(values: np.ndarray) -> float:
    """NaN without values."""
    return float(values.mean()) if len(values) else float("nan")
