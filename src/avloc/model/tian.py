"""Tian et al.'s weakly-supervised audio-visual model, a rival (ECCV 2018; Tables 5-6 of the paper).

    visual    features with the 7 x 7 grid: audio-guided attention over its cells (their §4.2),
              w = soft-max over cells of w_aᵀ tanh(W_v U_v v_cell + W_a U_a a), v = Σ_cell w v_cell; pooled features: v
    time      one bidirectional LSTM per modality, 128 units per direction
    fusion    concatenate, ReLU, FC to 64, FC to C + 1
    video     maximum over time (`loss.topk_divisor` so large that k = 1)

Where this differs from the original
    * The soft-max comes before the maximum over time, not after: every snippet needs probabilities.
    * The loss is cross-entropy (`losses.mil_loss`), not a multi-label margin of probabilities.
    * The LSTMs skip padding, so the backward one starts at the video's own end. A missing modality is zeros.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from avloc.config import ModelConfig
from avloc.model.base import Model
from avloc.model.batch import AUDIO, VISUAL, Batch, SnippetOutput
from avloc.model.network import InputNorm, soft_max


class GuidedAttention(nn.Module):
    """Audio-guided attention over the cells of a frame.

    Args:
        audio_size: d_u.
        cell_size: channels per cell.
        cells: cells per frame; the affinity has one row for each.
        hidden: theirs is 512.
    """

    def __init__(self, audio_size: int, cell_size: int, cells: int, hidden: int = 512) -> None:
        super().__init__()
        self.from_audio = nn.Sequential(nn.Linear(audio_size, hidden), nn.ReLU(), nn.Linear(hidden, cells, bias=False))
        self.from_visual = nn.Sequential(nn.Linear(cell_size, hidden), nn.ReLU(), nn.Linear(hidden, cells, bias=False))
        self.affinity = nn.Linear(cells, 1, bias=False)

    def forward(
        self, audio: Float[Tensor, "b l d_u"], grid: Float[Tensor, "b l k d_c"]
    ) -> tuple[Float[Tensor, "b l d_c"], Float[Tensor, "b l k"]]:
        """The attended visual features of each snippet, and the weights of its cells."""
        joint = torch.tanh(self.from_visual(grid) + self.from_audio(audio)[:, :, None, :])
        weights = self.affinity(joint).squeeze(-1).softmax(dim=-1)
        return (weights[..., None] * grid).sum(dim=2), weights


class TianLocalizer(Model):
    """The network of Tian et al.

    Args:
        audio_size, visual_size: d_u and d_v.
        num_classes: C.
        config: only `grid_cells` (cells in a visual row, flattened row by row: 49 for 7 x 7, 1 if pooled),
            `audio_normalize` and `visual_normalize` have an effect.
        hidden: LSTM units per direction; theirs is 128.

    Raises:
        ValueError: a modality has no features, or `grid_cells` does not divide the visual channels.
    """

    fusion = None

    def __init__(
        self, audio_size: int, visual_size: int, num_classes: int, config: ModelConfig, hidden: int = 128
    ) -> None:
        super().__init__()
        if not (audio_size and visual_size):
            raise ValueError("model.method=tian needs audio and visual features; the data lacks one")
        grid_cells = config.grid_cells
        if visual_size % grid_cells:
            raise ValueError(f"model.grid_cells={grid_cells} does not divide the {visual_size} visual channels")
        self.grid_cells, cell = grid_cells, visual_size // grid_cells
        self.norms = nn.ModuleDict(
            {
                "audio": InputNorm(audio_size, config.audio_normalize),
                "visual": InputNorm(visual_size, config.visual_normalize),
            }
        )
        self.attention = GuidedAttention(audio_size, cell, grid_cells) if grid_cells > 1 else None
        self.embeds = nn.ModuleDict(
            {
                "audio": nn.LSTM(audio_size, hidden, batch_first=True, bidirectional=True),
                "visual": nn.LSTM(cell, hidden, batch_first=True, bidirectional=True),
            }
        )
        self.squeeze = nn.Linear(4 * hidden, 64)
        self.head = nn.Linear(64, 1 + num_classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def usable(self, present: Bool[Tensor, "b 2"]) -> Bool[Tensor, " b"]:
        return present.any(dim=1)

    def forward(self, batch: Batch) -> SnippetOutput:
        audio = self._scaled("audio", batch.audio, batch.present[:, AUDIO])
        visual = self._scaled("visual", batch.visual, batch.present[:, VISUAL])
        if self.attention is not None:
            grid = visual.unflatten(-1, (self.grid_cells, -1))
            visual = self.attention(audio, grid)[0]
        heard, seen = self._over_time("audio", audio, batch.mask), self._over_time("visual", visual, batch.mask)
        embedding = self.squeeze(torch.cat([heard, seen], dim=-1).relu())
        scores = self.head(embedding)
        logits = scores[..., 1:]
        probs, reliability = soft_max(logits, scores[..., 0])
        return SnippetOutput(embedding, logits, reliability, probs)

    def _scaled(self, name: str, rows: Float[Tensor, "b l d"], present: Bool[Tensor, " b"]) -> Float[Tensor, "b l d"]:
        scaled = self.norms[name](rows)
        return torch.where(present[:, None, None], scaled, torch.zeros_like(scaled))

    def _over_time(
        self, name: str, rows: Float[Tensor, "b l d"], mask: Bool[Tensor, "b l"]
    ) -> Float[Tensor, "b l d_h"]:
        packed = pack_padded_sequence(rows, mask.sum(dim=1).cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.embeds[name](packed)[0], batch_first=True, total_length=rows.shape[1])[0]
