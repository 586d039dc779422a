"""The paper's network: embeddings, cross-attention (`model.fusion`) and the open-max classifier (Eq. 1-5, Fig. 1).

Where this differs from the paper, or the paper does not say
    * Inputs may be standardised with the training set's statistics, which are saved with the weights.
    * The heads may also read each snippet's own embedding (`direct`), a further skip connection: each column of A mixes
      the whole video into X_att, which tells *what* happens but blurs *when*.
    * If a video lacks a modality, that half of its embedding is zero.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from avloc.config import ModelConfig, Normalization
from avloc.model.base import Model
from avloc.model.batch import AUDIO, VISUAL, Batch, SnippetOutput
from avloc.model.fusion import CrossAttentionFusion


def open_max(
    action_logits: Float[Tensor, "*n c"], reliability_logit: Float[Tensor, "*n"]
) -> tuple[Float[Tensor, "*n c1"], Float[Tensor, "*n"]]:
    """p = [1 - μ ; μ · soft-max(h)] with μ = sigmoid of its own FC's output (Eq. 5). Returns p and μ."""
    reliability = reliability_logit.sigmoid()
    actions = reliability[..., None] * action_logits.softmax(dim=-1)
    # sigmoid(-x) instead of 1 - sigmoid(x): precise where μ is near 1
    return torch.cat([(-reliability_logit).sigmoid()[..., None], actions], dim=-1), reliability


def soft_max(
    action_logits: Float[Tensor, "*n c"], background_logit: Float[Tensor, "*n"]
) -> tuple[Float[Tensor, "*n c1"], Float[Tensor, "*n"]]:
    """The closed-set baseline S of Table 2: soft-max over C+1 outputs, with μ = 1 - p_0."""
    probs = torch.cat([background_logit[..., None], action_logits], dim=-1).softmax(dim=-1)
    return probs, 1 - probs[..., 0]


class InputNorm(nn.Module):
    """Scales features before f_u and f_v. Ours: the paper does not say.

    "standard" subtracts the training set's mean and divides by its standard deviation, per channel (set by `fit`, saved
    with the weights). "scale" divides all channels by one number, so the channels of a PCA keep their relative size.
    "l2" gives every snippet unit length; so does "auto", which callers replace by the backbone's choice. "none" does
    nothing.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, size: int, mode: Literal["auto", Normalization]) -> None:
        super().__init__()
        self.mode: Normalization = "l2" if mode == "auto" else mode
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))

    @property
    def fitted(self) -> bool:
        """Whether it needs the training set's statistics."""
        return self.mode in ("scale", "standard")

    def fit(self, mean: Float[Tensor, " d"], deviation: Float[Tensor, " d"]) -> None:
        """Set the training set's statistics. Constant channels are centred only."""
        if self.mode == "scale":
            deviation = deviation.square().mean().sqrt().expand_as(deviation)
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation)))

    def forward(self, rows: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        rows = rows.to(self.mean.dtype)  # features are float32 even if the network is float64
        if self.fitted:
            return (rows - self.mean).div_(self.deviation)
        return F.normalize(rows, dim=-1) if self.mode == "l2" else rows


def drop(x: Float[Tensor, "*n"], share: float) -> Float[Tensor, "*n"]:
    """Dropout. On CPUs it draws uniform numbers: PyTorch's Bernoulli numbers take three times as long there."""
    if x.device.type != "cpu" or not 0 < share < 1:
        return F.dropout(x, share)
    return x * torch.rand(x.shape).ge_(share).mul_(1 / (1 - share)).to(x.dtype)


class AudioVisualLocalizer(Model):
    """The paper's network (Fig. 1) and its ablations.

    Args:
        audio_size, visual_size: d_u and d_v of the features; 0 if the data set lacks the modality.
        num_classes: C.
        config: all other options.

    Raises:
        ValueError: a modality of `config.modality` has no features.
    """

    def __init__(self, audio_size: int, visual_size: int, num_classes: int, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        sizes = {"audio": audio_size, "visual": visual_size}
        used = ["audio", "visual"] if config.modality == "audio-visual" else [config.modality]
        for name in used:
            if not sizes[name]:
                raise ValueError(f"model.modality={config.modality} needs {name} features; the data has none")
        own = {"audio": config.audio_embed_dim, "visual": config.visual_embed_dim}
        dims = {name: size or config.embed_dim for name, size in own.items()}
        normalize = {"audio": config.audio_normalize, "visual": config.visual_normalize}
        self.norms = nn.ModuleDict({name: InputNorm(sizes[name], normalize[name]) for name in used})
        self.embeds = nn.ModuleDict({name: nn.Linear(sizes[name], dims[name]) for name in used})
        self.fusion = None
        if config.modality == "audio-visual":
            stages = config.num_stages, config.skip, config.share_weight, config.correlation_scale
            self.fusion = CrossAttentionFusion(dims["audio"], dims["visual"], *stages)
        # without stages X_att is those embeddings already
        self.direct = config.direct and self.fusion is not None and config.num_stages > 0
        width = sum(dims[name] for name in used) * (1 + self.direct)
        self.action_head = nn.Linear(width, num_classes)
        self.background_head = nn.Linear(width, 1)  # μ's logit, or with soft-max the background's
        self.head = open_max if config.head == "open-max" else soft_max
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def usable(self, present: Bool[Tensor, "b 2"]) -> Bool[Tensor, " b"]:
        if self.config.modality == "audio-visual":
            return present.any(dim=1)
        return present[:, AUDIO if self.config.modality == "audio" else VISUAL]

    def forward(self, batch: Batch) -> SnippetOutput:
        embedding = self.fuse(batch)
        if self.training:
            embedding = drop(embedding, self.config.dropout)
        logits = self.action_head(embedding)
        background = self.background_head(embedding).squeeze(-1)
        probs, reliability = self.head(logits, background)
        return SnippetOutput(embedding, logits, reliability, probs)

    def fuse(self, batch: Batch) -> Float[Tensor, "b l d"]:
        """Input of the heads before dropout: X_att (Eq. 4), with `direct` [X_att ; x_u ; x_v].

        In a uni-modal model, that modality's embedding.
        """
        present = self._hidden(batch.present) if self.training and self.config.modality_dropout else batch.present
        if self.fusion is None:
            column = AUDIO if self.config.modality == "audio" else VISUAL
            rows = batch.audio if column == AUDIO else batch.visual
            return self._embed(self.config.modality, rows, present[:, column])
        audio, visual = self.embed_both(batch, present)
        fused = self.fusion(audio, visual, batch.mask, present.all(dim=1))
        return torch.cat([*fused, audio, visual] if self.direct else fused, dim=-1)

    def embed_both(
        self, batch: Batch, present: Bool[Tensor, "b 2"]
    ) -> tuple[Float[Tensor, "b l d_u"], Float[Tensor, "b l d_v"]]:
        """x_u and x_v, the input of the first stage."""
        return (
            self._embed("audio", batch.audio, present[:, AUDIO]),
            self._embed("visual", batch.visual, present[:, VISUAL]),
        )

    def _embed(self, name: str, rows: Float[Tensor, "b l d"], present: Bool[Tensor, " b"]) -> Float[Tensor, "b l d_x"]:
        """x = LeakyReLU(FC(·)) (§3.1, Appendix C); zero where the modality is missing."""
        embedded = F.leaky_relu(self.embeds[name](self.norms[name](rows)), self.config.leaky_slope)
        return embedded.masked_fill_(~present[:, None, None], 0.0)

    def _hidden(self, present: Bool[Tensor, "b 2"]) -> Bool[Tensor, "b 2"]:
        """Modality dropout: hide one modality, either with equal probability, of some videos that have both."""
        hide = torch.rand(len(present), device=present.device) < self.config.modality_dropout
        which = torch.randint(2, (len(present),), device=present.device)
        drop = F.one_hot(which, 2).bool() & (hide & present.all(dim=1))[:, None]
        return present & ~drop
