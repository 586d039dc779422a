"""Snippet-level scores (AVE's protocol) of saved activations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from avloc.localize import snippet_labels
from avloc.metrics import EventScores, SnippetScores, event_f1, rasterise, snippet_accuracy
from avloc.types import ActivationSequence, Short, SnippetGrid, VideoAnnotation


@dataclass(frozen=True, repr=False)
class SnippetEvaluation(Short):
    """Scores of the argmax of every snippet (AVE's protocol) and of its runs.

    Args:
        missing: annotated videos without activations, which count as predicted background.
    """

    snippets: SnippetScores
    events: EventScores
    missing: int = 0


@dataclass(frozen=True)
class SnippetPairs:
    """Predicted and true class index of each snippet, one array per annotated video.

    Args:
        classes: names of indices 1, 2, ...; 0 is background.
        missing: videos without activations, predicted as background throughout.
    """

    classes: tuple[str, ...]
    predicted: tuple[Int[np.ndarray, " _"], ...]
    true: tuple[Int[np.ndarray, " _"], ...]
    missing: int


def snippet_pairs(
    activations: Iterable[ActivationSequence], annotations: Sequence[VideoAnnotation]
) -> SnippetPairs | None:
    """Argmax classes beside the true ones, of all annotated videos; None without activations of any.

    A class of the ground truth unknown to the model gets an index of its own, which is never predicted.
    """
    wanted = {truth.video_id for truth in annotations}
    seen = {a.video_id: a for a in activations if a.video_id in wanted}
    if not seen:
        return None
    known = next(iter(seen.values())).classes
    classes = known + tuple(sorted({i.label for truth in annotations for i in truth.instances} - set(known)))
    grids = snippet_grids(seen.values(), annotations)
    true = tuple(rasterise(truth, grids[truth.video_id], classes) for truth in annotations)
    predicted = tuple(
        snippet_labels(seen[truth.video_id]) if truth.video_id in seen else np.zeros_like(labels)
        for truth, labels in zip(annotations, true, strict=True)
    )
    return SnippetPairs(classes, predicted, true, len(wanted) - len(seen))


def snippet_grids(
    activations: Iterable[ActivationSequence], annotations: Iterable[VideoAnnotation]
) -> dict[str, SnippetGrid]:
    """{video_id: grid} of all annotated videos; one without activations gets the step of the first with."""
    grids = {a.video_id: a.grid for a in activations}
    step_s = next(iter(grids.values())).step_s
    return {
        a.video_id: grids[a.video_id] if a.video_id in grids else SnippetGrid.cover(a.duration_s, step_s)
        for a in annotations
    }


def evaluate_snippets(
    activations: Iterable[ActivationSequence], annotations: Iterable[VideoAnnotation]
) -> SnippetEvaluation | None:
    """Snippet accuracy and event F1 of all annotated videos: see `snippet_pairs`."""
    pairs = snippet_pairs(activations, tuple(annotations))
    if pairs is None:
        return None
    sides = pairs.predicted, pairs.true, pairs.classes
    return SnippetEvaluation(snippet_accuracy(*sides), event_f1(*sides), pairs.missing)


def snippet_hits(
    activations: Iterable[ActivationSequence], annotations: Sequence[VideoAnnotation]
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Correct and all snippets of each annotated video: see `snippet_pairs`. 0 of 0 without any activations."""
    pairs = snippet_pairs(activations, annotations)
    if pairs is None:
        return np.zeros(len(annotations), dtype=np.int64), np.zeros(len(annotations), dtype=np.int64)
    right = [int((p == t).sum()) for p, t in zip(pairs.predicted, pairs.true, strict=True)]
    return np.array(right, dtype=np.int64), np.array([len(t) for t in pairs.true], dtype=np.int64)
