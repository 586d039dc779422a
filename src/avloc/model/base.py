"""The interface of all models."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Bool
from torch import Tensor, nn

from avloc.model.batch import Batch, SnippetOutput
from avloc.model.fusion import CrossAttentionFusion


class Model(nn.Module, ABC):
    """A network from snippet features to class probabilities: the paper's or a rival's.

    Attributes:
        norms, embeds: input scaling and embedding, by modality ("audio", "visual"), for the modalities it uses.
        fusion: the cross-attention, if any.
    """

    norms: nn.ModuleDict
    embeds: nn.ModuleDict
    fusion: CrossAttentionFusion | None

    @abstractmethod
    def usable(self, present: Bool[Tensor, "b 2"]) -> Bool[Tensor, " b"]:
        """Which videos have a modality that this model uses."""

    @abstractmethod
    def forward(self, batch: Batch) -> SnippetOutput: ...
