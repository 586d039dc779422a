"""What every model is to training, checkpoints and localization."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Bool
from torch import Tensor, nn

from avloc.model.batch import Batch, SnippetOutput
from avloc.model.fusion import CrossAttentionFusion

__all__ = ["Model"]


class Model(nn.Module, ABC):
    """Turns a batch of snippet features into a `SnippetOutput`: the paper's network and its rivals.

    Attributes:
        norms, embeds: by modality ("audio", "visual"), of the modalities that the model takes.
        fusion: its cross-attention; None where there is none.
    """

    norms: nn.ModuleDict
    embeds: nn.ModuleDict
    fusion: CrossAttentionFusion | None

    @abstractmethod
    def usable(self, present: Bool[Tensor, "b 2"]) -> Bool[Tensor, " b"]:
        """Which videos have a modality that this model takes."""

    @abstractmethod
    def forward(self, batch: Batch) -> SnippetOutput: ...
