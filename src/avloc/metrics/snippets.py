"""Snippet- and event-level scores for data with one class per snippet (AVE).

Accuracy alone is not enough: on AVE's test videos the correct class for all ten seconds scores 82.2 %, background
everywhere 17.8 %. Only the recalls and event scores measure localization.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from avloc.errors import InputError, did_you_mean
from avloc.metrics.overlap import t_iou
from avloc.types import Short, SnippetGrid, VideoAnnotation

Snippets = Sequence[Int[np.ndarray, " _"]]


@dataclass(frozen=True, repr=False)
class SnippetScores(Short):
    """Snippet classification. Fractions of an empty set are NaN.

    Args:
        classes: C names, without background, which is index 0.
        confusion: (1+C, 1+C) snippets; row: true class, column: predicted class.
    """

    classes: tuple[str, ...]
    confusion: Int[np.ndarray, "c1 c1"]

    @property
    def accuracy(self) -> float:
        """Share of snippets classified correctly, background included."""
        return _fraction(np.trace(self.confusion), self.confusion.sum())

    @property
    def background_recall(self) -> float:
        """Share of background snippets classified as background."""
        return _fraction(self.confusion[0, 0], self.confusion[0].sum())

    @property
    def foreground_recall(self) -> float:
        """Share of foreground snippets with the correct class. Accuracy is the weighted mean of both recalls."""
        return _fraction(np.trace(self.confusion[1:, 1:]), self.confusion[1:].sum())

    @property
    def recall(self) -> Float[np.ndarray, " c1"]:
        """Per class, background first; NaN for a class without snippets."""
        rows = zip(np.diagonal(self.confusion), self.confusion.sum(axis=1), strict=True)
        return np.array([_fraction(right, total) for right, total in rows])


@dataclass(frozen=True, repr=False)
class EventScores(Short):
    """Event counts per class over all videos.

    Args:
        classes: C names.
        true_positives, false_positives, false_negatives: (C,) events.
    """

    classes: tuple[str, ...]
    true_positives: Int[np.ndarray, " c"]
    false_positives: Int[np.ndarray, " c"]
    false_negatives: Int[np.ndarray, " c"]

    @property
    def f1(self) -> Float[np.ndarray, " c"]:
        """2 TP / (2 TP + FP + FN) per class; NaN for a class with neither true nor predicted events."""
        twice = 2 * self.true_positives
        totals = twice + self.false_positives + self.false_negatives
        return np.array([_fraction(hit, total) for hit, total in zip(twice, totals, strict=True)])

    @property
    def mean_f1(self) -> float:
        """Mean over the classes with a true or predicted event; NaN without events."""
        known = self.f1[~np.isnan(self.f1)]
        return float(known.mean()) if len(known) else float("nan")

    @property
    def precision(self) -> float:
        """Share of predicted events that are correct, over all classes."""
        right = self.true_positives.sum()
        return _fraction(right, right + self.false_positives.sum())

    @property
    def recall(self) -> float:
        """Share of true events that are found, over all classes."""
        right = self.true_positives.sum()
        return _fraction(right, right + self.false_negatives.sum())

    @property
    def micro_f1(self) -> float:
        """F1 of the counts summed over classes; NaN without events."""
        twice = 2 * self.true_positives.sum()
        return _fraction(twice, twice + self.false_positives.sum() + self.false_negatives.sum())


def snippet_accuracy(predicted: Snippets, true: Snippets, classes: Sequence[str]) -> SnippetScores:
    """Compare class indices snippet by snippet.

    Args:
        predicted, true: one (L,) array per video, entries in 0..C; 0 is background.
        classes: the C names.

    Raises:
        InputError: the numbers of videos or snippets differ, or an index is out of range.
    """
    size = 1 + len(classes)
    _check(predicted, true, size)
    confusion = np.zeros((size, size), dtype=np.int64)
    for p, t in zip(predicted, true, strict=True):
        np.add.at(confusion, (t, p), 1)
    return SnippetScores(tuple(classes), confusion)


def event_f1(predicted: Snippets, true: Snippets, classes: Sequence[str], t_iou_threshold: float = 0.5) -> EventScores:
    """Compare events: maximal runs of snippets of one foreground class.

    Args:
        predicted, true: as in `snippet_accuracy`.
        t_iou_threshold: lowest t-IoU, in snippets, of a match.

    Within a video and class, pairs are matched by descending t-IoU, each event once; unmatched events are false
    positives or false negatives. AVVP's event-level F1 also requires IoU >= 0.5 between runs, but averages over
    videos; here events are counted per class over all videos, so a video with one event does not outweigh others.

    Raises:
        InputError: as in `snippet_accuracy`, or a threshold outside (0, 1].
    """
    if not 0 < t_iou_threshold <= 1:
        raise InputError(f"the t-IoU threshold must lie in (0, 1], got {t_iou_threshold}")
    _check(predicted, true, 1 + len(classes))
    hits, claims, events = (np.zeros(len(classes), dtype=np.int64) for _ in range(3))
    for p, t in zip(predicted, true, strict=True):
        for c in np.unique(np.concatenate([p, t])):
            if c == 0:
                continue
            claimed, real = runs(p == c), runs(t == c)
            claims[c - 1] += len(claimed)
            events[c - 1] += len(real)
            hits[c - 1] += sum(1 for _ in _best_pairs(t_iou(claimed, real), t_iou_threshold))
    return EventScores(tuple(classes), hits, claims - hits, events - hits)


def rasterise(annotation: VideoAnnotation, grid: SnippetGrid, classes: Sequence[str]) -> Int[np.ndarray, " l"]:
    """Ground truth as one class index per snippet: 0 background, 1 + c for classes[c].

    A snippet belongs to the instance that contains the centre of its cell. Of several, the shortest wins (a long one
    could hide it completely), then the one that starts first, then the one earlier in `classes`.

    Raises:
        InputError: an instance's label is not among the classes.
    """
    index = {name: 1 + c for c, name in enumerate(classes)}
    for instance in annotation.instances:
        if instance.label not in index:
            hint = did_you_mean(instance.label, classes)
            raise InputError(f"{annotation.video_id}: label {instance.label!r} is not among the classes.{hint}")
    labels = np.zeros(grid.count, dtype=np.int64)
    winners_last = sorted(
        annotation.instances, key=lambda i: (i.end_s - i.start_s, i.start_s, index[i.label]), reverse=True
    )
    for instance in winners_last:
        labels[grid.indices(instance.start_s, instance.end_s)] = index[instance.label]
    return labels


def _check(predicted: Snippets, true: Snippets, size: int) -> None:
    if len(predicted) != len(true):
        raise InputError(f"{len(predicted)} videos predicted, {len(true)} with ground truth")
    for i, (p, t) in enumerate(zip(predicted, true, strict=True)):
        if p.shape != t.shape:
            raise InputError(f"video {i}: {p.size} snippets predicted, ground truth has {t.size}")
        for name, values in (("predicted", p), ("true", t)):
            if values.size and not 0 <= values.min() <= values.max() < size:
                raise InputError(
                    f"video {i}: {name} classes must lie in 0..{size - 1}, got {values.min()}..{values.max()}"
                )


def runs(active: np.ndarray) -> Int[np.ndarray, "r 2"]:
    """Maximal runs of True as half-open index pairs."""
    padded = np.concatenate([[0], active.astype(np.int64), [0]])
    steps = np.diff(padded)
    return np.stack([np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)], axis=1)


def _best_pairs(overlap: Float[np.ndarray, "n m"], threshold: float) -> Iterator[tuple[int, int]]:
    """One-to-one pairs by descending overlap; of equal overlaps the first in time."""
    overlap = overlap.copy()
    while overlap.size and overlap.max() >= threshold:
        row, column = np.unravel_index(int(overlap.argmax()), overlap.shape)
        overlap[row, :] = -1.0
        overlap[:, column] = -1.0
        yield int(row), int(column)


def _fraction(part: int | np.integer, whole: int | np.integer) -> float:
    return float(part) / float(whole) if whole else float("nan")
