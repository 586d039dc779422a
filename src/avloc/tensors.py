"""What the network takes and gives: where padding lives, and where it dies.

Axes are [batch, snippet, channel]. Column 0 of a class axis of size 1+C is background. `mask` is True where there is a
real snippet; whatever lies under False must never change a result.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["AUDIO", "VISUAL", "Batch", "SnippetOutput"]

AUDIO, VISUAL = 0, 1
"""Columns of `Batch.present`."""


@dataclass
class Batch:
    """Padded videos. Each row has a real snippet and at least one modality."""

    audio: Float[Tensor, "b l d_u"]
    visual: Float[Tensor, "b l d_v"]
    mask: Bool[Tensor, "b l"]
    present: Bool[Tensor, "b 2"]
    labels: Float[Tensor, "b c"]

    def to(self, device: object) -> Batch:
        """The same batch on another device."""
        return Batch(**{f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)})

    def __len__(self) -> int:
        return len(self.mask)


@dataclass
class SnippetOutput:
    """The network's answer for every snippet (Eq. 4 and 5); rows under padding hold finite values without meaning."""

    embedding: Float[Tensor, "b l d"]
    action_logits: Float[Tensor, "b l c"]
    reliability: Float[Tensor, "b l"]
    probs: Float[Tensor, "b l c1"]
