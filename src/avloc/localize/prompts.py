"""Scores of prompts to class activations, without training. numpy only.

Conventions
    x_m(l, c) is the score of prompt c in snippet l by modality m, log odds from a pretrained network. A prompt that a
    modality has no class for has NaN there.

References
    Shaar et al., "Adapting to the Unknown" (AV2A), CVPR 2025: training-free agreement of audio and frames.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float

from avloc.config import ZeroShotConfig
from avloc.localize.contrast import logistic, smoothed

_TINY = 1e-12


def background_odds(
    prompts: Float[np.ndarray, "l c"], backgrounds: Float[np.ndarray, "l b"]
) -> Float[np.ndarray, "l c"]:
    """Log odds of each prompt alone against all background prompts, from logits of one soft-max.

    A prompt's odds do not depend on the other prompts.
    """
    most = backgrounds.max(axis=1, keepdims=True)
    return prompts - most - np.log(np.exp(backgrounds - most).sum(axis=1, keepdims=True))


def calibrate_scores(
    scores: Float[np.ndarray, "l c"], middle: float, slope: float, passes: int
) -> Float[np.ndarray, "l c"]:
    """z = slope (x - middle), smoothed over time; NaN where x is."""
    return smoothed(slope * (scores - middle).T, passes).T


def fuse_modalities(logits: Mapping[str, Float[np.ndarray, "l c"]], fusion: str) -> Float[np.ndarray, "l c"]:
    """s(l, c) in [0, 1] from z of each modality; a modality with NaN does not count, and 0 without any.

    mean, maximum: of logistic(z). noisy-or: 1 - Π (1 - logistic(z)). logits: logistic(Σ z).
    """
    z = np.stack(list(logits.values()))
    known = ~np.isnan(z)
    p = np.where(known, logistic(np.nan_to_num(z)), 0.0)
    if fusion == "mean":
        return p.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    if fusion == "maximum":
        return p.max(axis=0)
    if fusion == "noisy-or":
        return 1 - (1 - p).prod(axis=0)
    return np.where(known.any(axis=0), logistic(np.nansum(z, axis=0)), 0.0)


def weigh_by_video(
    scores: Float[np.ndarray, "l c"], power: float, divisor: int
) -> tuple[Float[np.ndarray, "l c"], Float[np.ndarray, " c"]]:
    """s(l, c) y(c)^power and the video scores y(c), the mean of the top max(1, ceil(L / divisor)) snippets."""
    k = -(-len(scores) // divisor)
    video = np.sort(scores, axis=0)[-k:].mean(axis=0)
    return scores * video**power, video


def with_background(scores: Float[np.ndarray, "l c"]) -> Float[np.ndarray, "l c1"]:
    """p = [1 - Σ s ; s], with s divided by its sum where that is more than 1, so that rows sum to 1 (as in Eq. 5)."""
    own = scores / np.maximum(scores.sum(axis=1, keepdims=True), 1.0)
    rest = np.maximum(1 - own.sum(axis=1, keepdims=True), 0.0)  # rounding
    return np.concatenate([rest, own], axis=1)


def mix_words(
    probs: Float[np.ndarray, "l c1"], words: Float[np.ndarray, "l c"], known: Bool[np.ndarray, " c"], weight: float
) -> Float[np.ndarray, "l c1"]:
    """A network's p mixed with the scores of words: ((1 - w) √p + w √p_w)², divided by its sum.

    p_w is `with_background` of the known words. Its background is divided among background and the classes without
    words as p divides them, so words say nothing of the latter.

    Args:
        words: s(l, c). known: the classes that they score. weight: w in [0, 1].
    """
    rest = np.concatenate([[True], ~known])
    said = with_background(words[:, known])
    others = probs[:, rest]
    others = others / np.maximum(others.sum(axis=1, keepdims=True), _TINY)
    others[:, 0] += 1 - others.sum(axis=1)  # where p leaves nothing to divide
    mixed = np.empty_like(probs)
    mixed[:, rest], mixed[:, ~rest] = said[:, :1] * others, said[:, 1:]
    mean = ((1 - weight) * np.sqrt(probs) + weight * np.sqrt(mixed)) ** 2
    return mean / mean.sum(axis=1, keepdims=True)


def prompt_scores(
    scores: Mapping[str, Float[np.ndarray, "l c"]], middles: Mapping[str, float], options: ZeroShotConfig
) -> Float[np.ndarray, "l c"]:
    """s(l, c) in [0, 1], fused over the modalities.

    Args:
        scores: {modality: log odds}. middles: {modality: the log odds that count as one half}.
    """
    logits = {
        name: calibrate_scores(x, middles[name], options.slope, options.smooth_passes) for name, x in scores.items()
    }
    return fuse_modalities(logits, options.fusion)


def prompt_probs(
    scores: Mapping[str, Float[np.ndarray, "l c"]], middles: Mapping[str, float], options: ZeroShotConfig
) -> tuple[Float[np.ndarray, "l c1"], Float[np.ndarray, " c"]]:
    """Open-set probabilities of every snippet, and video scores; arguments as of `prompt_scores`."""
    fused = prompt_scores(scores, middles, options)
    snippets, video = weigh_by_video(fused, options.video_power, options.topk_divisor)
    return with_background(snippets), video


def label_prior(scores: Float[np.ndarray, "l c"], divisor: int) -> Float[np.ndarray, "l c1"]:
    """r: probabilities of a video's own labels, from s(l, c), given that each of them occurs.

    s is divided by the video score y (as in `weigh_by_video`), at most 1: a weak label is as certain as a strong one.
    """
    _, video = weigh_by_video(scores, 0.0, divisor)
    return with_background(np.minimum(scores / np.maximum(video, 1e-4), 1.0))
