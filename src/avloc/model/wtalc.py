"""W-TALC as a rival of equal standing (Paul, Roy, Roy-Chowdhury, ECCV 2018; Tables 5-6 of the paper).

One layer of features, one of classes, on what is seen alone: x = dropout(ReLU(FC(v))), h = FC(x). Its losses are
`losses.mil_loss` on logits and `losses.coactivity_loss`, equal parts; tests/test_wtalc_losses.py holds them against the
authors' numbers.

Where this differs from theirs
    * They keep a class when its video logit exceeds 0. Here that 0 is background's logit, so that snippets have
      probabilities as every model's: p = soft-max([0; h]).
    * The width is that of the features, as theirs (2,048 for I3D), whatever `model.embed_dim` says.
    * Inputs are scaled as `model.visual_normalize` says, for all methods alike.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from avloc.config import ModelConfig
from avloc.model.base import Model
from avloc.model.batch import VISUAL, Batch, SnippetOutput
from avloc.model.network import InputNorm, soft_max

__all__ = ["WTALC"]


class WTALC(Model):
    """Visual snippet features in, class activations out.

    Args:
        visual_size: d_v. num_classes: C. config: of it, `dropout` (theirs is 0.7) and `visual_normalize`.

    Raises:
        ValueError: the data set has no visual features.
    """

    fusion = None  # no cross-attention to look at

    def __init__(self, visual_size: int, num_classes: int, config: ModelConfig) -> None:
        super().__init__()
        if not visual_size:
            raise ValueError("model.method=w-talc needs visual features; the data has none")
        self.norms = nn.ModuleDict({"visual": InputNorm(visual_size, config.visual_normalize)})
        self.embeds = nn.ModuleDict({"visual": nn.Linear(visual_size, visual_size)})
        self.dropout = nn.Dropout(config.dropout)
        self.action_head = nn.Linear(visual_size, num_classes)
        for module in (self.embeds["visual"], self.action_head):
            assert isinstance(module, nn.Linear)
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)

    def usable(self, present: Bool[Tensor, "b 2"]) -> Bool[Tensor, " b"]:
        """Which videos have a picture."""
        return present[:, VISUAL]

    def forward(self, batch: Batch) -> SnippetOutput:
        embedding = self.dropout(self.embeds["visual"](self.norms["visual"](batch.visual)).relu())
        logits = self.action_head(embedding)
        probs, reliability = soft_max(logits, torch.zeros_like(logits[..., 0]))
        return SnippetOutput(embedding, logits, reliability, probs)
