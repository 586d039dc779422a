"""W-TALC, a rival model (Paul, Roy, Roy-Chowdhury, ECCV 2018; Tables 5-6 of the paper).

Visual features only: x = dropout(ReLU(FC(v))), h = FC(x). Its losses are `losses.mil_loss` on logits and
`losses.coactivity_loss`, equally weighted; tests/test_wtalc_losses.py compares them with the authors' code.

Where this differs from the original
    * They keep a class if its video logit exceeds 0. Here 0 is the background's logit, which gives snippets
      probabilities as in all models: p = soft-max([0; h]).
    * The hidden layer is as wide as the features, as in theirs (2,048 for I3D); `model.embed_dim` has no effect.
    * Inputs are scaled by `model.visual_normalize`, as in all models.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from avloc.config import ModelConfig
from avloc.model.base import Model
from avloc.model.batch import VISUAL, Batch, SnippetOutput
from avloc.model.network import InputNorm, soft_max


class WTALC(Model):
    """The network of W-TALC.

    Args:
        visual_size: d_v.
        num_classes: C.
        config: only `dropout` (theirs is 0.7) and `visual_normalize` have an effect.

    Raises:
        ValueError: the data set has no visual features.
    """

    fusion = None

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
        return present[:, VISUAL]

    def forward(self, batch: Batch) -> SnippetOutput:
        embedding = self.dropout(self.embeds["visual"](self.norms["visual"](batch.visual)).relu())
        logits = self.action_head(embedding)
        probs, reliability = soft_max(logits, torch.zeros_like(logits[..., 0]))
        return SnippetOutput(embedding, logits, reliability, probs)
