"""Audio-visual video parsing: audio, visual and audio-visual F1, as AVVP computes it on LLP.

F1 = 2 TP / (2 TP + FP + FN) per video and class, averaged over the classes that are true or predicted in the video (1
if there are none), then over videos.

    segment level   TP, FP, FN count seconds
    event level     they count runs of seconds; a predicted run is correct if some true run has IoU >= 0.5 with it
    type average    mean of audio, visual and audio-visual F1
    event average   F1 of the summed audio and visual counts

A class is audio-visual in the seconds in which it is both audible and visible.

References
    Tian, Li, Xu: "Unified multisensory perception: weakly-supervised audio-visual video parsing", ECCV 2020.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from avloc.errors import InputError
from avloc.metrics.overlap import t_iou
from avloc.metrics.snippets import runs
from avloc.types import Short

Counts = tuple[Int[np.ndarray, " c"], Int[np.ndarray, " c"], Int[np.ndarray, " c"]]
EVENT_IOU = 0.5


@dataclass(frozen=True, repr=False)
class LevelScores(Short):
    """F1 at one level, in [0, 1]."""

    audio: float
    visual: float
    audio_visual: float
    event_average: float

    @property
    def type_average(self) -> float:
        """Mean of audio, visual and audio-visual F1."""
        return (self.audio + self.visual + self.audio_visual) / 3


@dataclass(frozen=True, repr=False)
class ParsingScores(Short):
    """F1 at the segment and the event level."""

    segment: LevelScores
    event: LevelScores

    def to_dict(self) -> dict[str, float]:
        """{"segment_audio": ..., "event_type_average": ...}."""
        names = ("audio", "visual", "audio_visual", "type_average", "event_average")
        levels = (("segment", self.segment), ("event", self.event))
        return {f"{level}_{name}": getattr(scores, name) for level, scores in levels for name in names}


def parsing_scores(
    audio: Bool[np.ndarray, "n l c"],
    visual: Bool[np.ndarray, "n l c"],
    true_audio: Bool[np.ndarray, "n l c"],
    true_visual: Bool[np.ndarray, "n l c"],
) -> ParsingScores:
    """F1 of predicted audible and visible classes.

    Args:
        audio, visual: (n videos, L seconds, C classes) predictions.
        true_audio, true_visual: ground truth.

    Raises:
        InputError: no video.
    """
    if not len(audio):
        raise InputError("no video to score: expected at least one")
    return ParsingScores(
        _level(segment_counts, audio, visual, true_audio, true_visual),
        _level(event_counts, audio, visual, true_audio, true_visual),
    )


def _level(
    count: Callable[[np.ndarray, np.ndarray], Counts],
    audio: Bool[np.ndarray, "n l c"],
    visual: Bool[np.ndarray, "n l c"],
    true_audio: Bool[np.ndarray, "n l c"],
    true_visual: Bool[np.ndarray, "n l c"],
) -> LevelScores:
    scores: list[list[float]] = [[], [], [], []]
    for a, v, ta, tv in zip(audio, visual, true_audio, true_visual, strict=True):
        heard, seen, both = count(a, ta), count(v, tv), count(a & v, ta & tv)
        together = tuple(x + y for x, y in zip(heard, seen, strict=True))
        for values, counts in zip(scores, (heard, seen, both, together), strict=True):
            values.append(video_f1(*counts))
    return LevelScores(*(float(np.mean(values)) for values in scores))


def video_f1(hits: Int[np.ndarray, " c"], false: Int[np.ndarray, " c"], missed: Int[np.ndarray, " c"]) -> float:
    """Mean F1 of the classes that are true or predicted; 1 if there are none."""
    total = 2 * hits + false + missed
    there = total > 0
    return float((2 * hits[there] / total[there]).mean()) if there.any() else 1.0


def segment_counts(claimed: Bool[np.ndarray, "l c"], true: Bool[np.ndarray, "l c"]) -> Counts:
    """True positives, false positives and false negatives of each class, in segments."""
    return (claimed & true).sum(axis=0), (claimed & ~true).sum(axis=0), (~claimed & true).sum(axis=0)


def event_counts(claimed: Bool[np.ndarray, "l c"], true: Bool[np.ndarray, "l c"]) -> Counts:
    """True positives, false positives and false negatives of each class, in runs of segments."""
    hits, false, missed = (np.zeros(claimed.shape[1], dtype=np.int64) for _ in range(3))
    for c in np.flatnonzero(claimed.any(axis=0) | true.any(axis=0)):
        overlap = t_iou(runs(claimed[:, c]), runs(true[:, c]))
        right = (overlap >= EVENT_IOU).any(axis=1)
        hits[c], false[c] = right.sum(), (~right).sum()
        missed[c] = (~(overlap >= EVENT_IOU).any(axis=0)).sum()
    return hits, false, missed
