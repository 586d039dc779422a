"""Measures of how much the correction of a video should teach: the candidates for `avloc suggest`.

Each takes a run and the features of videos and returns an order, the most useful first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float

from avloc.pipeline.localizer import Localizer
from avloc.pipeline.suggest import entropy, farthest_first, rank
from avloc.types import ActivationSequence, FeatureSequence

Videos = Sequence[FeatureSequence]
Measure = Callable[[Localizer, Videos], Float[np.ndarray, " n"]]

SUGGESTED = "suggested"
"""The order of `avloc suggest`: diversity of p."""

_PASSES = 5
_TINY = 1e-12


def confidence(localizer: Localizer, videos: Videos) -> Float[np.ndarray, " n"]:
    """1 - the highest video score."""
    return np.array([1 - localizer.activations(video).video_scores.max() for video in videos])


def entropy_over_time(localizer: Localizer, videos: Videos) -> Float[np.ndarray, " n"]:
    """Mean entropy of p over the snippets."""
    return np.array([entropy(localizer.activations(video)).mean() for video in videos])


def modalities(localizer: Localizer, videos: Videos) -> Float[np.ndarray, " n"]:
    """Disagreement of audio and visual: mean Jensen-Shannon divergence of p without the one and without the other."""
    every = []
    for video in videos:
        parts = [replace(video, **{name: None}) for name in video.modalities] if len(video.modalities) == 2 else [video]
        every.append(divergence([localizer.activations(part) for part in parts]))
    return np.array(every)


def dropout(localizer: Localizer, videos: Videos) -> Float[np.ndarray, " n"]:
    """Disagreement of an ensemble: mean Jensen-Shannon divergence of _PASSES passes with dropout."""
    torch.manual_seed(0)
    localizer.model.train()
    try:
        return np.array([divergence([localizer.activations(video) for _ in range(_PASSES)]) for video in videos])
    finally:
        localizer.model.eval()


def divergence(found: Sequence[ActivationSequence]) -> float:
    """Jensen-Shannon divergence of several p, mean over the snippets."""
    p = np.clip(np.stack([one.probs for one in found]), _TINY, 1)
    mixed = p.mean(axis=0)
    return float((-(mixed * np.log(mixed)).sum(axis=1) + (p * np.log(p)).sum(axis=2).mean(axis=0)).mean())


@torch.no_grad()
def change(localizer: Localizer, videos: Videos) -> Float[np.ndarray, " n"]:
    """Expected change: norm of the head's gradient, |x| Σ_c p(c) |p - e_c|, mean over the snippets."""
    values = []
    for video in videos:
        output = localizer.model(localizer.batch(video, 0, video.grid.count))
        p, size = output.probs[0].double(), output.embedding[0].double().norm(dim=1)
        away = (p.square().sum(dim=1, keepdim=True) - 2 * p + 1).clamp_min(0).sqrt()
        values.append(float((size * (p * away).sum(dim=1)).mean()))
    return np.array(values)


MEASURES: dict[str, Measure] = {
    "lowest confidence": confidence,
    "entropy": entropy_over_time,
    "audio against visual": modalities,
    "dropout": dropout,
    "expected change": change,
}


def by_measure(measure: Measure, localizer: Localizer, videos: Videos) -> list[str]:
    """Videos by a measure, the highest first."""
    values = measure(localizer, videos)
    return [videos[k].video_id for k in np.argsort(-values, kind="stable")]


@torch.no_grad()
def by_diversity(localizer: Localizer, videos: Videos) -> list[str]:
    """Farthest first, by the mean of the embedding over time."""
    rows = [localizer.model(localizer.batch(video, 0, video.grid.count)).embedding[0].mean(dim=0) for video in videos]
    order, _ = farthest_first(torch.stack(rows).double().numpy(), np.zeros(0, dtype=np.int64), len(videos))
    return [videos[k].video_id for k in order]


def by_suggestion(localizer: Localizer, videos: Videos) -> list[str]:
    """The order of `avloc suggest`."""
    return [one.video_id for one in rank([localizer.activations(video) for video in videos], len(videos))]


ORDERS: dict[str, Callable[[Localizer, Videos], list[str]]] = {
    **{name: partial(by_measure, measure) for name, measure in MEASURES.items()},
    "diversity of the embedding": by_diversity,
    SUGGESTED: by_suggestion,
}
"""All candidates but random."""
