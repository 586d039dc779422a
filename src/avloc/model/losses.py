"""Training losses (Eq. 6-10, Appendix D) as pure functions of a model's output.

Means are taken over the real snippets of each video, then over videos, so padding and length have no effect.

Where this differs from the paper, or the paper does not say
    * Eq. 6-7: the Gaussian's weights sum to 1 and are renormalised at the ends of a video. With the printed 1/(B+1)
      and a window of peak 1, the smooth curve would be half the raw one, and the loss would drive μ to 0.
    * Eq. 8: with several labels the class term is their mean; a background video has none.
    * Eq. 9: q is a target without gradient; its window is cut at the ends. It may come from a teacher, be restricted to
      the video's labels, and be used as a distribution instead of by its argmax (`pseudo_targets`).
    * Snippets that are known from corrections: `correction_loss`, and their pseudo-labels are the truth (`with_truth`).
    * Appendix D does not say on which scores the MIL loss acts: open-max probabilities, or logits as in W-TALC.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from avloc.config import LossConfig
from avloc.model.batch import SnippetOutput

_TINY = 1e-12  # keeps log finite; far below any score with a gradient in float32


def topk_mean(scores: Float[Tensor, "b l c"], mask: Bool[Tensor, "b l"], divisor: int) -> Float[Tensor, "b c"]:
    """Mean of each class's top k snippets, k = max(1, ceil(L / divisor)), L its length (App. D)."""
    lengths = mask.sum(dim=1)
    k = ((lengths + divisor - 1) // divisor).clamp_min(1)
    most = scores.shape[1] if torch.compiler.is_compiling() else int(k.max())
    lowest = torch.finfo(scores.dtype).min
    top = scores.masked_fill(~mask[:, :, None], lowest).topk(most, dim=1).values
    taken = torch.arange(most, device=scores.device)[None, :] < k[:, None]
    return torch.where(taken[:, :, None], top, torch.zeros_like(top)).sum(dim=1) / k[:, None]


def mil_targets(
    labels: Float[Tensor, "b c"],
    background: Literal["never", "known", "always"],
    background_weight: float,
) -> Float[Tensor, "b c1"]:
    """Video labels as distributions over background and classes. Rows sum to 1, or to 0 for videos to ignore.

    "known": a video without labels is all background, the others have none. "always": every other video has background
    too, with `background_weight` where each label has 1. "never": no background; videos without labels are ignored.
    """
    empty = labels.sum(dim=1, keepdim=True) == 0
    weight = {"never": 0.0, "known": 0.0, "always": background_weight}[background]
    column = torch.full_like(empty, weight, dtype=labels.dtype)
    if background != "never":
        column = torch.where(empty, torch.ones_like(column), column)
    target = torch.cat([column, labels], dim=1)
    return target / target.sum(dim=1, keepdim=True).clamp_min(1e-12)


def mil_loss(
    scores: Float[Tensor, "b l c"],
    target: Float[Tensor, "b c"],
    mask: Bool[Tensor, "b l"],
    kind: Literal["probabilities", "logits"],
    divisor: int,
) -> Float[Tensor, ""]:
    """Cross-entropy -Σ_c y(c) log s(c) between video labels and video scores, mean over videos (App. D).

    s is the top-k mean over time of probabilities, or the soft-max of the top-k means of logits (W-TALC's MILL).
    Videos whose `target` sums to 0 contribute 0.
    """
    video = topk_mean(scores, mask, divisor)
    log_scores = F.log_softmax(video, dim=1) if kind == "logits" else video.clamp_min(_TINY).log()
    return -(target * log_scores).sum(dim=1).mean()


def coactivity_descriptors(
    embedding: Float[Tensor, "b l d"],
    action_logits: Float[Tensor, "b l c"],
    labels: Float[Tensor, "b c"],
    mask: Bool[Tensor, "b l"],
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"], Int[Tensor, "n 2"]]:
    """For every (video, label): H = Σ_l A_l x_l and Lo = Σ_l (1 - A_l) / (L - 1) x_l, A the soft-max of h over time.

    Returns H, Lo and the (video, class) indices of their rows (App. D; W-TALC's CASL).
    """
    videos, classes = labels.nonzero(as_tuple=True)
    logits = action_logits[videos, :, classes].masked_fill(~mask[videos], torch.finfo(action_logits.dtype).min)
    high = logits.softmax(dim=1)
    lengths = mask.sum(dim=1)[videos, None]
    low = (1 - high) * mask[videos] / (lengths - 1).clamp_min(1)
    where = torch.stack([videos, classes], dim=1)
    # one product per video; a copy of the embedding for each label would cost more than the sums
    slot = (labels != 0).cumsum(dim=1)[videos, classes] - 1
    weights = high.new_zeros(len(labels), int(slot.max()) + 1 if len(slot) else 1, 2, mask.shape[1])
    weights = weights.index_put((videos, slot), torch.stack([high, low], dim=1))
    sums = (weights.flatten(1, 2) @ embedding).unflatten(1, (-1, 2))[videos, slot]
    return sums[:, 0], sums[:, 1], where


def coactivity_pairs(where: Int[Tensor, "n 2"], videos: Int[Tensor, "p 2"] | None = None) -> Int[Tensor, "m 2"]:
    """Rows i < j of two videos that share a class; restricted to the pairs of `videos`, if given."""
    first, second = where[:, None], where[None, :]
    shared = (first[..., 1] == second[..., 1]) & (first[..., 0] < second[..., 0])
    if videos is not None:
        ordered = videos.sort(dim=1).values
        wanted = (first[..., 0, None] == ordered[:, 0]) & (second[..., 0, None] == ordered[:, 1])
        shared &= wanted.any(dim=-1)
    return shared.nonzero()


def coactivity_loss(
    high: Float[Tensor, "n d"],
    low: Float[Tensor, "n d"],
    where: Int[Tensor, "n 2"],
    margin: float,
    videos: Int[Tensor, "p 2"] | None = None,
) -> Float[Tensor, ""]:
    """L_cas: videos that share a class are similar where it happens and dissimilar elsewhere (App. D; W-TALC's CASL).

    ½ [relu(d(H1,H2) - d(H1,Lo2) + δ) + relu(d(H1,H2) - d(Lo1,H2) + δ)], d = 1 - cosine, mean over the shared labels of
    all pairs. 0 if no pair shares a label. A 1-snippet video has Lo = 0, whose cosine with any vector is 0.
    """
    pairs = coactivity_pairs(where, videos)
    if not len(pairs):
        return (high.sum() + low.sum()) * 0.0
    i, j = pairs.unbind(dim=1)
    together = _distance(high[i], high[j])
    apart_j = together - _distance(high[i], low[j]) + margin
    apart_i = together - _distance(low[i], high[j]) + margin
    return 0.5 * (apart_i.relu() + apart_j.relu()).mean()


def _distance(a: Float[Tensor, "m d"], b: Float[Tensor, "m d"]) -> Float[Tensor, " m"]:
    return 1 - F.cosine_similarity(a, b, dim=1, eps=1e-8)


def window_mean(
    values: Float[Tensor, "b l *c"], mask: Bool[Tensor, "b l"], weights: Float[Tensor, " w"]
) -> Float[Tensor, "b l *c"]:
    """Weighted mean over an odd window around each snippet; weights are renormalised over the snippets in the video."""
    inside = mask.to(values.dtype).reshape(*mask.shape, *(1,) * (values.dim() - 2))
    total, weight = (_window_sum(rows, weights.tolist()) for rows in (values * inside, inside))
    return total / weight.clamp_min(_TINY)


def _window_sum(rows: Float[Tensor, "b l *c"], weights: list[float]) -> Float[Tensor, "b l *c"]:
    """Σ_i weights[i] · rows[:, l + i - half]: for a few weights, shifted sums are faster than a convolution."""
    length, half = rows.shape[1], len(weights) // 2
    padded = F.pad(rows, (0, 0) * (rows.dim() - 2) + (half, half))
    total = weights[0] * padded[:, :length]
    for i, weight in enumerate(weights[1:], start=1):
        total = torch.add(total, padded[:, i : i + length], alpha=weight)
    return total


def gaussian_smooth(
    values: Float[Tensor, "b l *c"], mask: Bool[Tensor, "b l"], width: int, sigma: float | None
) -> Float[Tensor, "b l *c"]:
    """μ_ag of Eq. 6 and μ_sp of Eq. 7: a Gaussian window of `width` + 1 snippets; σ is width / 4 if None."""
    offsets = torch.arange(width + 1, dtype=torch.float32) - width / 2
    spread = sigma or max(width / 4, _TINY)
    return window_mean(values, mask, torch.exp(-0.5 * (offsets / spread) ** 2))


def video_mean(values: Float[Tensor, "b l"], mask: Bool[Tensor, "b l"]) -> Float[Tensor, ""]:
    """Mean over each video's real snippets, then over videos."""
    inside = mask.to(values.dtype)
    return ((values * inside).sum(dim=1) / inside.sum(dim=1)).mean()


def continuity_loss(
    reliability: Float[Tensor, "b l"],
    probs: Float[Tensor, "b l c1"],
    labels: Float[Tensor, "b c"],
    mask: Bool[Tensor, "b l"],
    width: int,
    sigma: float | None,
    detach: bool,
) -> Float[Tensor, ""]:
    """L_cont = mean_l |μ - μ_ag| + |μ - μ_sp| (Eq. 6-8); μ_sp is the smoothed p(ĉ), ĉ each true label."""
    videos, classes = labels.nonzero(as_tuple=True)
    agnostic = gaussian_smooth(reliability, mask, width, sigma)
    specific = gaussian_smooth(probs[videos, :, 1 + classes], mask[videos], width, sigma)
    if detach:
        agnostic, specific = agnostic.detach(), specific.detach()
    gap = (reliability[videos] - specific).abs() / labels.sum(dim=1)[videos, None]
    per_class = torch.zeros_like(reliability).index_add(0, videos, gap)
    return video_mean((reliability - agnostic).abs() + per_class, mask)


def keep_to_labels(probs: Float[Tensor, "b l c1"], labels: Float[Tensor, "b c"]) -> Float[Tensor, "b l c1"]:
    """p conditioned on the video's labels: [1 - μ ; μ divided among the labels in proportion to p]. Ours.

    Every snippet of a video without labels is background.
    """
    own = probs[:, :, 1:] * labels[:, None, :]
    share = own / own.sum(dim=2, keepdim=True).clamp_min(_TINY)
    labelled = (labels.sum(dim=1) > 0).to(probs.dtype)[:, None, None]
    reliability = (1 - probs[:, :, :1]) * labelled
    return torch.cat([1 - reliability, reliability * share], dim=2)


def with_prior(
    probs: Float[Tensor, "b l c1"], prior: Float[Tensor, "b l c1"], weight: float
) -> Float[Tensor, "b l c1"]:
    """(1 - w) p + w r: pseudo-labels mixed with a prior r. Ours, after VALOR (Lai et al., NeurIPS 2023).

    A video whose r is 0 throughout has no prior, and keeps its p.
    """
    own = weight * (prior.sum(dim=(1, 2), keepdim=True) > 0).to(probs.dtype)
    return (1 - own) * probs + own * prior.to(probs.dtype)


def pseudo_targets(
    probs: Float[Tensor, "b l c1"],
    mask: Bool[Tensor, "b l"],
    neighbors: int,
    labels: Float[Tensor, "b c"] | None = None,
    prior: Float[Tensor, "b l c1"] | None = None,
    prior_weight: float = 0.0,
) -> Float[Tensor, "b l c1"]:
    """q: the mean of p over a snippet and its N neighbours (Eq. 9), without gradient.

    Args:
        labels: if given, p is first conditioned on them (`keep_to_labels`).
        prior, prior_weight: if given, p is then mixed with a prior (`with_prior`).
    """
    probs = probs.detach()
    kept = probs if labels is None else keep_to_labels(probs, labels)
    kept = kept if prior is None else with_prior(kept, prior, prior_weight)
    return window_mean(kept, mask, torch.ones(neighbors + 1))


def pseudo_localization_loss(
    probs: Float[Tensor, "b l c1"],
    q: Float[Tensor, "b l c1"],
    mask: Bool[Tensor, "b l"],
    threshold: float,
    kind: Literal["hard", "soft"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """L_pseu = mean_l 1(max q ≥ τ) (-log p(ĉ)), ĉ = argmax q (Eq. 9). "soft" is ours: mean_l -Σ_c q(c) log p(c).

    Returns the loss, and the share of snippets with max q ≥ τ, where the hard loss is active (reported in App. B.1).
    """
    confidence, label = q.max(dim=2)
    active = (confidence >= threshold).to(probs.dtype)
    log_probs = probs.clamp_min(_TINY).log()
    if kind == "soft":
        cost = -(q * log_probs).sum(dim=2)
    else:
        cost = active * -log_probs.gather(2, label[:, :, None]).squeeze(2)
    return video_mean(cost, mask), video_mean(active, mask)


def with_truth(q: Float[Tensor, "b l c1"], truth: Float[Tensor, "b l c1"]) -> Float[Tensor, "b l c1"]:
    """Pseudo-labels replaced by the truth in the known share of each snippet: y + (1 - Σ_c y(c)) q. Ours.

    Args:
        truth: y, as `Batch.truth`.
    """
    return truth + (1 - truth.sum(dim=2, keepdim=True)).clamp_min(0) * q


def correction_loss(probs: Float[Tensor, "b l c1"], truth: Float[Tensor, "b l c1"]) -> Float[Tensor, ""]:
    """L_cor: cross-entropy of the snippets that corrections make known; mean over the videos with such snippets. Ours.

    -Σ_l Σ_c y_l(c) log p_l(c) / Σ_l Σ_c y_l(c) for each video. A snippet of which a part is known counts by that part.
    0 if nothing is known.

    Args:
        truth: y, as `Batch.truth`; 0 in padding.
    """
    known = truth.sum(dim=(1, 2))
    cost = -(truth * probs.clamp_min(_TINY).log()).sum(dim=(1, 2))
    return (cost / known.clamp_min(_TINY)).sum() / (known > 0).sum().clamp_min(1)


def total_loss(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """L = Σ weight · term, matched by name (Eq. 10).

    Raises:
        KeyError: the names of terms and weights differ.
    """
    unmatched = set(terms) ^ set(weights)
    if unmatched:
        raise KeyError(f"loss terms and weights differ in {sorted(unmatched)}")
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()


def mil_term(
    output: SnippetOutput, labels: Float[Tensor, "b c"], mask: Bool[Tensor, "b l"], config: LossConfig
) -> Float[Tensor, ""]:
    """L_mil as configured: on p with background in the target, or on h without."""
    if config.mil_scores == "logits":
        target = mil_targets(labels, "never", config.mil_background_weight)[:, 1:]
        return mil_loss(output.action_logits, target, mask, "logits", config.topk_divisor)
    target = mil_targets(labels, config.mil_background, config.mil_background_weight)
    return mil_loss(output.probs, target, mask, "probabilities", config.topk_divisor)


def output_terms(
    output: SnippetOutput,
    labels: Float[Tensor, "b c"],
    mask: Bool[Tensor, "b l"],
    config: LossConfig,
    teacher_probs: Float[Tensor, "b l c1"] | None = None,
    truth: Float[Tensor, "b l c1"] | None = None,
    prior: Float[Tensor, "b l c1"] | None = None,
    prior_weight: float = 0.0,
) -> tuple[dict[str, Tensor], Float[Tensor, ""]]:
    """The terms per video: mil, continuity, pseudo (Eq. 10), correction; and the share of active pseudo-labels.

    The co-activity term needs pairs, which may be on different machines: see `coactivity_descriptors`.

    Args:
        teacher_probs: p of the network that makes the pseudo-labels; None for the trained one itself, as in the paper.
        truth: as `Batch.truth`; without it there is no term "correction".
        prior, prior_weight: as in `pseudo_targets`.
    """
    mil = mil_term(output, labels, mask, config)
    source = output.probs if teacher_probs is None else teacher_probs
    own_labels = labels if config.pseudo_from_labels else None
    q = pseudo_targets(source, mask, config.neighbors, own_labels, prior, prior_weight)
    q = q if truth is None else with_truth(q, truth)
    pseudo, rate = pseudo_localization_loss(output.probs, q, mask, config.threshold, config.pseudo_labels)
    smoothing = config.smooth_width, config.smooth_sigma, config.detach_smooth
    continuity = continuity_loss(output.reliability, output.probs, labels, mask, *smoothing)
    terms = {"mil": mil, "continuity": continuity, "pseudo": pseudo}
    return terms if truth is None else {**terms, "correction": correction_loss(output.probs, truth)}, rate
