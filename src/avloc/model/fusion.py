"""Multi-stage cross-attention between audio and video (Eq. 1-4, Fig. 1).

Snippets are columns in the paper and rows here: its X (d, L) is our [l, d], and its column-wise soft-max runs over our
first snippet axis.

Where this differs from the paper, or the paper does not say
    * Each stage has its own W, as the multiply-adds of Table 4 imply; `share_weight` is the other reading.
    * Vectors are l2-normalised for Eq. 1 only, not the values of Eq. 2. `correlation_scale` multiplies Λ.
    * In a video that lacks a modality, X̃ = X for the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

_FUSED_FROM = 1024
"""Videos with more snippets never materialise Λ. In shorter ones it is cheap, and both products of Eq. 2 share it."""


class Attention(NamedTuple):
    """Eq. 1-2: each column of the paper's A_u and A_v sums to 1; here that is axis 1."""

    audio: Float[Tensor, "b l_u l_v"]
    visual: Float[Tensor, "b l_v l_u"]


def attention(
    audio: Float[Tensor, "b l_u d_u"],
    visual: Float[Tensor, "b l_v d_v"],
    weight: Float[Tensor, "d_u d_v"],
    audio_mask: Bool[Tensor, "b l_u"],
    visual_mask: Bool[Tensor, "b l_v"],
    scale: float,
) -> Attention:
    """Cross-correlation Λ = X_uᵀ W X_v of l2-normalised snippets, and its soft-max over either axis (Eq. 1).

    A_u = soft-max over the audio axis of each column of Λ; A_v = soft-max over the visual axis of each column of Λᵀ.
    Padded snippets get weight 0.
    """
    similar = correlation(audio, visual, weight, scale)
    lowest = torch.finfo(similar.dtype).min
    over_audio = similar.masked_fill(~audio_mask[:, :, None], lowest).softmax(dim=1)
    over_visual = similar.transpose(1, 2).masked_fill(~visual_mask[:, :, None], lowest).softmax(dim=1)
    return Attention(over_audio, over_visual)


def correlation(
    audio: Float[Tensor, "b l_u d_u"],
    visual: Float[Tensor, "b l_v d_v"],
    weight: Float[Tensor, "d_u d_v"],
    scale: float,
) -> Float[Tensor, "b l_u l_v"]:
    """Λ of Eq. 1, times `scale`.

    Dividing Λ by the lengths instead of each snippet gives the same result with less computation. (In float16,
    products of lengths above 65,504 would overflow.)
    """
    lengths = _length(audio)[:, :, None] * _length(visual)[:, None, :]
    return scale * (audio @ weight @ visual.transpose(1, 2)) / lengths


def _length(rows: Float[Tensor, "*n d"]) -> Float[Tensor, "*n"]:
    """Lengths to divide by; 1 for rows of zeros (a black frame, silence), whose gradient would otherwise explode."""
    length = rows.norm(dim=-1)
    return torch.where(length > 1e-6, length, torch.ones_like(length))


def cross_attend(
    audio: Float[Tensor, "b l d_u"],
    visual: Float[Tensor, "b l d_v"],
    weight: Float[Tensor, "d_u d_v"],
    mask: Bool[Tensor, "b l"],
    both: Bool[Tensor, " b"],
    scale: float,
) -> tuple[Float[Tensor, "b l d_u"], Float[Tensor, "b l d_v"]]:
    """X̃_u = X_u A_u and X̃_v = X_v A_v (Eq. 2).

    Row l of X̃_u is the audio that matches *visual* snippet l, and row l of X̃_v the video that matches *audio* snippet
    l; both modalities share one grid. Memory for long videos is linear in l.

    Args:
        both: which videos have both modalities; for the others X̃ = X.
    """
    if torch.compiler.is_compiling():  # in an exported graph, nothing may depend on the data
        attended = _attend_fused(audio, visual, weight, mask, scale)
        chosen = both[:, None, None]
        return torch.where(chosen, attended[0], audio), torch.where(chosen, attended[1], visual)
    some = both.nonzero().squeeze(1)
    u, v, inside = (audio, visual, mask) if both.all() else (audio[some], visual[some], mask[some])
    if mask.shape[1] > _FUSED_FROM:
        attended_audio, attended_visual = _attend_fused(u, v, weight, inside, scale)
    else:
        weights = attention(u, v, weight, inside, inside, scale)
        attended_audio = weights.audio.transpose(1, 2) @ u
        attended_visual = weights.visual.transpose(1, 2) @ v
    if len(u) == len(audio):
        return attended_audio, attended_visual
    return audio.index_copy(0, some, attended_audio), visual.index_copy(0, some, attended_visual)


def _attend_fused(
    audio: Float[Tensor, "b l d_u"],
    visual: Float[Tensor, "b l d_v"],
    weight: Float[Tensor, "d_u d_v"],
    mask: Bool[Tensor, "b l"],
    scale: float,
) -> tuple[Float[Tensor, "b l d_u"], Float[Tensor, "b l d_v"]]:
    """Eq. 1-2 as dot-product attention: queries W x_v, keys x_u, values X_u; and the reverse.

    Queries, keys and values of one call must have equal widths, or PyTorch materialises an l x l matrix.
    """
    unit_u, unit_v = audio / _length(audio)[..., None], visual / _length(visual)[..., None]
    seen = unit_v @ weight.T  # visual snippets as queries for audio
    same_width = weight.shape[0] == weight.shape[1]
    queries, keys = (unit_u, seen) if same_width else (unit_u @ weight, unit_v)
    inside = None if not torch.compiler.is_compiling() and mask.all() else mask[:, None, None]
    return _dot_product(seen, unit_u, audio, inside, scale), _dot_product(queries, keys, visual, inside, scale)


def _dot_product(
    queries: Float[Tensor, "b l d"],
    keys: Float[Tensor, "b l d"],
    values: Float[Tensor, "b l d"],
    inside: Bool[Tensor, "b 1 1 l"] | None,
    scale: float,
) -> Float[Tensor, "b l d"]:
    q, k, v = (rows[:, None] for rows in (queries, keys, values))  # one head
    return F.scaled_dot_product_attention(q, k, v, attn_mask=inside, scale=scale).squeeze(1)


class CrossAttentionFusion(nn.Module):
    """t_e stages of cross-attention with skip connections (Eq. 3): the two halves of X_att (Eq. 4).

    Args:
        audio_dim, visual_dim: d_xu and d_xv, the embedding sizes.
        num_stages: t_e; 0 returns the embeddings unchanged.
        skip: "dense" is Eq. 3; "plain" adds the previous stage only; "none" adds nothing (Table 3).
        share_weight: one W for all stages instead of one per stage.
        scale: factor on Λ.
    """

    def __init__(
        self,
        audio_dim: int,
        visual_dim: int,
        num_stages: int,
        skip: Literal["none", "plain", "dense"],
        share_weight: bool,
        scale: float,
    ) -> None:
        super().__init__()
        self.num_stages, self.skip, self.scale = num_stages, skip, scale
        count = min(num_stages, 1) if share_weight else num_stages
        self.weights = nn.ParameterList(nn.Parameter(torch.empty(audio_dim, visual_dim)) for _ in range(count))
        for weight in self.weights:
            nn.init.xavier_uniform_(weight)

    def weight(self, stage: int) -> Float[Tensor, "d_u d_v"]:
        """W of stage 1..t_e."""
        return self.weights[min(stage, len(self.weights)) - 1]

    def forward(
        self,
        audio: Float[Tensor, "b l d_u"],
        visual: Float[Tensor, "b l d_v"],
        mask: Bool[Tensor, "b l"],
        both: Bool[Tensor, " b"],
    ) -> tuple[Float[Tensor, "b l d_u"], Float[Tensor, "b l d_v"]]:
        *_, fused = self.stages(audio, visual, mask, both)
        return fused

    def stages(
        self,
        audio: Float[Tensor, "b l d_u"],
        visual: Float[Tensor, "b l d_v"],
        mask: Bool[Tensor, "b l"],
        both: Bool[Tensor, " b"],
    ) -> Iterator[tuple[Float[Tensor, "b l d_u"], Float[Tensor, "b l d_v"]]]:
        """Yield the input of each stage, then the output of the last. A stage runs when its output is requested."""
        audios, visuals = [audio], [visual]
        yield audio, visual
        for stage in range(1, self.num_stages + 1):
            new_audio, new_visual = cross_attend(audios[-1], visuals[-1], self.weight(stage), mask, both, self.scale)
            audios.append((new_audio + self._skipped(audios)).tanh_())
            visuals.append((new_visual + self._skipped(visuals)).tanh_())
            yield audios[-1], visuals[-1]

    def _skipped(self, stages: list[Tensor]) -> Tensor:
        """The skip term of Eq. 3: Σ_{i<t} X_att^(i), the last of them, or 0."""
        if self.skip == "dense":
            return sum(stages[1:], start=stages[0])
        return stages[-1] if self.skip == "plain" else torch.zeros_like(stages[-1])
