"""Table 4's multiply-adds, counted by torch during a forward pass.

torch.utils.flop_counter counts a multiply-add as two operations, the paper as one: its "FLOPS" are half of torch's.
"""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from avloc.config import RunConfig
from avloc.model.batch import Batch
from avloc.model.checkpoint import ModelCard

AUDIO_SIZE, VISUAL_SIZE, CLASSES = 128, 2048, 100
"""VGGish, I3D with flow, ActivityNet1.2 (§4.1-4.2)."""


def paper_card(config: RunConfig) -> ModelCard:
    """A model of this configuration at the paper's sizes."""
    return ModelCard(config, tuple(map(str, range(CLASSES))), AUDIO_SIZE, VISUAL_SIZE, {})


def multiply_adds(card: ModelCard, snippets: int = 1) -> float:
    """Multiply-adds of a forward pass over a video of `snippets` snippets, per snippet.

    The cost per snippet of Λ and the two attended sequences (Eq. 1-2) grows with the video: 3 d_x multiply-adds per
    stage and snippet of the video. The paper's cells leave that out; with one snippet it is 0.1 % at d_x 1024.
    """
    model = card.build().eval()
    batch = Batch(
        torch.zeros(1, snippets, card.audio_size),
        torch.zeros(1, snippets, card.visual_size),
        torch.ones(1, snippets, dtype=torch.bool),
        torch.ones(1, 2, dtype=torch.bool),
        torch.zeros(1, len(card.classes)),
    )
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(batch)
    return counter.get_total_flops() / 2 / snippets
