"""Snippet-level scores (AVE's protocol) of saved activations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from avloc.localize import snippet_labels
from avloc.metrics import EventScores, SnippetScores, event_f1, rasterise, snippet_accuracy
from avloc.types import ActivationSequence, VideoAnnotation


@dataclass(frozen=True)
class SnippetEvaluation:
    """Scores of the argmax of every snippet (AVE's protocol) and of its runs."""

    snippets: SnippetScores
    events: EventScores


def evaluate_snippets(
    activations: Iterable[ActivationSequence], annotations: Iterable[VideoAnnotation]
) -> SnippetEvaluation | None:
    """Snippet accuracy and event F1 of the videos on both sides; None without any.

    A class of the ground truth unknown to the model gets a column of its own, which is never predicted.
    """
    truth = {a.video_id: a for a in annotations}
    pairs = [(a, truth[a.video_id]) for a in activations if a.video_id in truth]
    if not pairs:
        return None
    known = pairs[0][0].classes
    classes = known + tuple(sorted({i.label for _, t in pairs for i in t.instances} - set(known)))
    predicted = [snippet_labels(a) for a, _ in pairs]
    true = [rasterise(t, a.grid, classes) for a, t in pairs]
    return SnippetEvaluation(snippet_accuracy(predicted, true, classes), event_f1(predicted, true, classes))


def snippet_hits(
    activations: Iterable[ActivationSequence], annotations: Sequence[VideoAnnotation]
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Correct and all snippets of each annotated video; 0 of 0 for one without activations."""
    right, total = (np.zeros(len(annotations), dtype=np.int64) for _ in range(2))
    row = {truth.video_id: k for k, truth in enumerate(annotations)}
    for seen in activations:
        k = row[seen.video_id]
        one = evaluate_snippets([seen], [annotations[k]])
        assert one is not None
        right[k], total[k] = np.trace(one.snippets.confusion), one.snippets.confusion.sum()
    return right, total
