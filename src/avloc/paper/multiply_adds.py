"""Table 4's multiply-adds, counted by torch while the network runs; nothing is worked out by hand.

torch.utils.flop_counter counts a multiplication and an addition as two operations; the paper counts them as one, so
its "FLOPS" are our count halved.
"""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from avloc.config import RunConfig
from avloc.model.batch import Batch
from avloc.model.checkpoint import ModelCard

__all__ = ["AUDIO_SIZE", "CLASSES", "VISUAL_SIZE", "multiply_adds"]

AUDIO_SIZE, VISUAL_SIZE, CLASSES = 128, 2048, 100
"""VGGish, I3D with flow, ActivityNet1.2 (§4.1-4.2)."""


def multiply_adds(
    config: RunConfig,
    snippets: int = 1,
    audio_size: int = AUDIO_SIZE,
    visual_size: int = VISUAL_SIZE,
    num_classes: int = CLASSES,
) -> float:
    """Multiply-adds of a forward pass, per snippet of a video of `snippets` snippets.

    Λ and the two attended sequences (Eq. 1-2) cost more per snippet the longer the video is: 3 d_x multiply-adds a
    stage for each of its snippets. The paper's cells leave that out; one snippet makes it vanish (0.1 % at d_x 1024).
    """
    card = ModelCard(config, tuple(map(str, range(num_classes))), audio_size, visual_size, {})
    model = card.build().eval()
    batch = Batch(
        torch.zeros(1, snippets, audio_size),
        torch.zeros(1, snippets, visual_size),
        torch.ones(1, snippets, dtype=torch.bool),
        torch.ones(1, 2, dtype=torch.bool),
        torch.zeros(1, num_classes),
    )
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(batch)
    return counter.get_total_flops() / 2 / snippets
