"""Multi-stage cross-attention between sound and picture, and the open-max classifier (Eq. 1-5, Fig. 1, Appendix C).

The paper writes snippets as columns, we as rows: its X (d, L) is our [l, d], and its column-wise soft-max runs over our
first snippet axis.

Where this differs from the paper, or fills its silence
    * W is one matrix a stage (`share_weight` keeps the other reading); the multiply-adds of Table 4 count so.
    * Vectors are l2-normalised for Eq. 1 only; the values of Eq. 2 are not. `correlation_scale` multiplies Λ.
    * Inputs may be standardised with the training set's statistics, which travel with the weights.
    * The heads may also read each snippet's own embedding (`direct`), one more skip connection: each column of A mixes
      the whole video into X_att, which says *what* happens there but blurs *when*.
    * A video may lack a modality: its half of the embedding is zero, and the other half attends to itself, snippet by
      snippet (X̃ = X), since there is nothing to be guided by.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from avloc.tensors import AUDIO, VISUAL, Batch, SnippetOutput

__all__ = [
    "AudioVisualLocalizer",
    "CrossAttentionFusion",
    "InputNorm",
    "Normalization",
    "attention",
    "cross_attend",
    "drop",
    "open_max",
    "soft_max",
]


Normalization = Literal["none", "l2", "scale", "standard"]
"""How raw features are scaled, see `InputNorm`."""

_FUSED_FROM = 1024
"""Snippets above which Λ is never written out; below it is cheap, and two products share it."""


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
    scale: float = 1.0,
) -> Attention:
    """Cross-correlation Λ = X_uᵀ W X_v of l2-normalised snippets, and its soft-max over either axis (Eq. 1).

    A_u = soft-max over the audio axis of each column of Λ; A_v = soft-max over the visual axis of each column of Λᵀ.
    Padded snippets get weight 0 in both. Lengths are divided out of Λ, not of the snippets: the same
    number, and less to compute. (In float16, lengths whose product passes 65,504 would overflow.)
    """
    lengths = audio.norm(dim=-1).clamp_min(1e-12)[:, :, None] * visual.norm(dim=-1).clamp_min(1e-12)[:, None, :]
    correlation = scale * (audio @ weight @ visual.transpose(1, 2)) / lengths
    lowest = torch.finfo(correlation.dtype).min
    over_audio = correlation.masked_fill(~audio_mask[:, :, None], lowest).softmax(dim=1)
    over_visual = correlation.transpose(1, 2).masked_fill(~visual_mask[:, :, None], lowest).softmax(dim=1)
    return Attention(over_audio, over_visual)


def cross_attend(
    audio: Float[Tensor, "b l d_u"],
    visual: Float[Tensor, "b l d_v"],
    weight: Float[Tensor, "d_u d_v"],
    mask: Bool[Tensor, "b l"],
    both: Bool[Tensor, " b"],
    scale: float = 1.0,
) -> tuple[Float[Tensor, "b l d_u"], Float[Tensor, "b l d_v"]]:
    """X̃_u = X_u A_u and X̃_v = X_v A_v (Eq. 2).

    X̃_u's row l is the sound that matches *visual* snippet l, and X̃_v's row l the picture that matches *audio* snippet
    l: both modalities lie on one grid, so both have the same rows. Long videos take memory for l rows, never for l x l.

    Args:
        both: which videos have sound and picture; for the others X̃ = X.
    """
    some = both.nonzero().squeeze(1)  # nothing is computed for the rest
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
    """Eq. 1-2 as dot-product attention: query W x_v, keys x_u, values X_u; and the reverse.

    Query, key and value of one call must be equally wide, or PyTorch falls back to an l x l matrix.
    """
    unit_u, unit_v = F.normalize(audio, dim=-1), F.normalize(visual, dim=-1)
    seen = unit_v @ weight.T  # visual snippets as queries for sound
    same_width = weight.shape[0] == weight.shape[1]
    queries, keys = (unit_u, seen) if same_width else (unit_u @ weight, unit_v)
    inside = None if mask.all() else mask[:, None, None]
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
    """t_e stages of cross-attention with skip connections (Eq. 3), concatenated at the end (Eq. 4).

    Args:
        audio_dim, visual_dim: d_xu and d_xv, the embedding sizes.
        num_stages: t_e; 0 concatenates the embeddings as they are.
        skip: "dense" is Eq. 3; "plain" keeps only the previous stage; "none" drops the sum (Table 3).
        share_weight: one W for all stages instead of one a stage.
        scale: factor on Λ.
    """

    def __init__(
        self,
        audio_dim: int,
        visual_dim: int,
        num_stages: int = 2,
        skip: Literal["none", "plain", "dense"] = "dense",
        share_weight: bool = False,
        scale: float = 1.0,
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
    ) -> Float[Tensor, "b l d"]:
        audios, visuals = [audio], [visual]
        for stage in range(1, self.num_stages + 1):
            new_audio, new_visual = cross_attend(audios[-1], visuals[-1], self.weight(stage), mask, both, self.scale)
            audios.append(torch.tanh(new_audio + self._skipped(audios)))
            visuals.append(torch.tanh(new_visual + self._skipped(visuals)))
        return torch.cat([audios[-1], visuals[-1]], dim=-1)

    def _skipped(self, stages: list[Tensor]) -> Tensor:
        """What Eq. 3 adds to X̃^(t): Σ_{i<t} X_att^(i), the last one, or nothing."""
        if self.skip == "dense":
            return sum(stages[1:], start=stages[0])
        return stages[-1] if self.skip == "plain" else torch.zeros_like(stages[-1])


def open_max(
    action_logits: Float[Tensor, "*n c"], reliability_logit: Float[Tensor, "*n"]
) -> tuple[Float[Tensor, "*n c1"], Float[Tensor, "*n"]]:
    """p = [1 - μ ; μ · soft-max(h)] with μ = sigmoid of its own FC's output (Eq. 5). Returns p and μ."""
    reliability = reliability_logit.sigmoid()
    actions = reliability[..., None] * action_logits.softmax(dim=-1)
    # sigmoid(-x), not 1 - sigmoid(x): the background keeps its precision where μ is near 1
    return torch.cat([(-reliability_logit).sigmoid()[..., None], actions], dim=-1), reliability


def soft_max(
    action_logits: Float[Tensor, "*n c"], background_logit: Float[Tensor, "*n"]
) -> tuple[Float[Tensor, "*n c1"], Float[Tensor, "*n"]]:
    """The closed-set baseline S of Table 2: soft-max over C+1 outputs; 1 - p_0 plays μ's part."""
    probs = torch.cat([background_logit[..., None], action_logits], dim=-1).softmax(dim=-1)
    return probs, 1 - probs[..., 0]


class InputNorm(nn.Module):
    """Scales raw features before f_u and f_v. Ours: the paper says nothing of it.

    "standard" subtracts the training set's mean and divides by its deviation, channel by channel (set once by `fit`,
    saved with the weights); "scale" divides all channels by the same number, so that those of a PCA keep their order;
    "l2" gives every snippet unit length; "none" does nothing.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, size: int, mode: Normalization) -> None:
        super().__init__()
        self.mode = mode
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))

    @property
    def fitted(self) -> bool:
        """Whether it needs the training set's statistics."""
        return self.mode in ("scale", "standard")

    def fit(self, mean: Float[Tensor, " d"], deviation: Float[Tensor, " d"]) -> None:
        """Take the training set's statistics; a channel that never varies is only centred."""
        if self.mode == "scale":
            deviation = deviation.square().mean().sqrt().expand_as(deviation)
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation)))

    def forward(self, rows: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        rows = rows.to(self.mean.dtype)  # a network in double precision takes features of single
        if self.fitted:
            return (rows - self.mean).div_(self.deviation)
        return F.normalize(rows, dim=-1) if self.mode == "l2" else rows


def drop(x: Float[Tensor, "*n"], share: float) -> Float[Tensor, "*n"]:
    """Dropout of training. On CPUs from uniform numbers: PyTorch's Bernoulli ones take three times as long there."""
    if x.device.type != "cpu" or not 0 < share < 1:
        return F.dropout(x, share)
    return x * torch.rand(x.shape).ge_(share).mul_(1 / (1 - share)).to(x.dtype)


class AudioVisualLocalizer(nn.Module):
    """Snippet features in, open-max probabilities out: the paper's network (Fig. 1) and its ablations.

    Args:
        audio_size, visual_size: d_u and d_v of the features; 0 when the data set has none of that kind.
        num_classes: C.
        The rest are the fields of `config.ModelConfig`.

    Raises:
        ValueError: the modality asked for has no features.
    """

    def __init__(
        self,
        audio_size: int,
        visual_size: int,
        num_classes: int,
        modality: Literal["audio-visual", "audio", "visual"] = "audio-visual",
        num_stages: int = 2,
        embed_dim: int = 1024,
        audio_embed_dim: int | None = None,
        visual_embed_dim: int | None = None,
        skip: Literal["none", "plain", "dense"] = "dense",
        share_weight: bool = False,
        head: Literal["open-max", "soft-max"] = "open-max",
        direct: bool = False,
        dropout: float = 0.7,
        leaky_slope: float = 0.01,
        correlation_scale: float = 1.0,
        audio_normalize: Normalization = "none",
        visual_normalize: Normalization = "none",
        modality_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        sizes = {"audio": audio_size, "visual": visual_size}
        used = ["audio", "visual"] if modality == "audio-visual" else [modality]
        for name in used:
            if not sizes[name]:
                raise ValueError(f"model.modality={modality} needs {name} features; the data has none")
        dims = {"audio": audio_embed_dim or embed_dim, "visual": visual_embed_dim or embed_dim}
        self.modality, self.modality_dropout, self.leaky_slope = modality, modality_dropout, leaky_slope
        normalize = {"audio": audio_normalize, "visual": visual_normalize}
        self.norms = nn.ModuleDict({name: InputNorm(sizes[name], normalize[name]) for name in used})
        self.embeds = nn.ModuleDict({name: nn.Linear(sizes[name], dims[name]) for name in used})
        self.fusion = (
            CrossAttentionFusion(dims["audio"], dims["visual"], num_stages, skip, share_weight, correlation_scale)
            if modality == "audio-visual"
            else None
        )
        self.direct = direct and self.fusion is not None and num_stages > 0  # else X_att is that embedding
        self.dropout = dropout
        width = sum(dims[name] for name in used) * (1 + self.direct)
        self.action_head = nn.Linear(width, num_classes)
        self.background_head = nn.Linear(width, 1)  # μ's logit, or with soft-max the background's
        self.head = open_max if head == "open-max" else soft_max
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def usable(self, present: Bool[Tensor, "b 2"]) -> Bool[Tensor, " b"]:
        """Which videos have a modality that this model takes."""
        if self.modality == "audio-visual":
            return present.any(dim=1)
        return present[:, AUDIO if self.modality == "audio" else VISUAL]

    def forward(self, batch: Batch) -> SnippetOutput:
        embedding = self.fuse(batch)
        if self.training:
            embedding = drop(embedding, self.dropout)
        logits = self.action_head(embedding)
        background = self.background_head(embedding).squeeze(-1)
        probs, reliability = self.head(logits, background)
        return SnippetOutput(embedding, logits, reliability, probs)

    def fuse(self, batch: Batch) -> Float[Tensor, "b l d"]:
        """What the heads read, before dropout: X_att (Eq. 4), and with `direct` [X_att ; x_u ; x_v].

        In a uni-modal model that modality's embedding.
        """
        present = self._hidden(batch.present) if self.training and self.modality_dropout else batch.present
        if self.fusion is None:
            column = AUDIO if self.modality == "audio" else VISUAL
            rows = batch.audio if column == AUDIO else batch.visual
            return self._embed(self.modality, rows, present[:, column])
        audio = self._embed("audio", batch.audio, present[:, AUDIO])
        visual = self._embed("visual", batch.visual, present[:, VISUAL])
        fused = self.fusion(audio, visual, batch.mask, present.all(dim=1))
        return torch.cat([fused, audio, visual], dim=-1) if self.direct else fused

    def _embed(self, name: str, rows: Float[Tensor, "b l d"], present: Bool[Tensor, " b"]) -> Float[Tensor, "b l d_x"]:
        """x = LeakyReLU(FC(·)) (§3.1, Appendix C); zero where the modality is missing."""
        embedded = F.leaky_relu(self.embeds[name](self.norms[name](rows)), self.leaky_slope)
        return embedded.masked_fill(~present[:, None, None], 0.0)

    def _hidden(self, present: Bool[Tensor, "b 2"]) -> Bool[Tensor, "b 2"]:
        """Modality dropout: of some videos that have both, one is hidden, sound or picture with equal chance."""
        hide = torch.rand(len(present), device=present.device) < self.modality_dropout
        which = torch.randint(2, (len(present),), device=present.device)
        drop = F.one_hot(which, 2).bool() & (hide & present.all(dim=1))[:, None]
        return present & ~drop
