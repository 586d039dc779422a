"""What validation measures, by video-level labels alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from avloc import losses
from avloc.checkpoint import Localizing
from avloc.config import LossConfig
from avloc.dataset import WeakDataset
from avloc.metrics import video_average_precision
from avloc.train.data import TrainingData
from avloc.train.watch import health

__all__ = ["Validation", "validate"]

_PROBED = 64  # training videos looked at for the run's health
_CHUNK = 8  # videos at a time; whole videos, so a chunk of long ones must still fit


@dataclass(frozen=True)
class Validation:
    """Numbers by name; `validation/*` is absent when there are no validation videos."""

    values: dict[str, float]

    def score(self, selection: str) -> float | None:
        """Higher is better; None when there is nothing to choose by."""
        if selection == "last" or "validation/mil" not in self.values:
            return None
        return self.values["validation/video_ap"] if selection == "video_ap" else -self.values["validation/mil"]


@torch.no_grad()
def validate(model: Localizing, data: TrainingData, loss: LossConfig, device: torch.device | str) -> Validation:
    """Health of the model on some training videos; MIL loss and video-level AP on the validation videos."""
    model.eval()
    probed = np.unique(np.linspace(0, len(data.train) - 1, min(_PROBED, len(data.train))).astype(int))
    snippets, _, _ = _predict(model, data.train, probed, loss, device)
    values = health(snippets, data.train.labels[probed].any(axis=0))
    if len(data.validation) and data.validation.labels.any():  # background alone ranks nothing
        _, scores, mil = _predict(model, data.validation, np.arange(len(data.validation)), loss, device)
        values["validation/mil"] = mil
        values["validation/video_ap"] = video_average_precision(scores, data.validation.labels).mean_ap
    return Validation(values)


def _predict(
    model: Localizing, videos: WeakDataset, indices: np.ndarray, loss: LossConfig, device: torch.device | str
) -> tuple[np.ndarray, np.ndarray, float]:
    """All snippets' probabilities, the video scores, and the mean MIL loss."""
    snippets, scores, mil = [], [], []
    for start in range(0, len(indices), _CHUNK):
        batch = videos.batch(indices[start : start + _CHUNK]).to(device)
        output = model(batch)
        snippets.append(output.probs[batch.mask].float().cpu().numpy())
        scores.append(losses.topk_mean(output.probs, batch.mask, loss.topk_divisor)[:, 1:].float().cpu().numpy())
        terms, _ = losses.output_terms(
            output,
            batch.labels,
            batch.mask,
            mil_scores=loss.mil_scores,
            mil_background=loss.mil_background,
            mil_background_weight=loss.mil_background_weight,
            topk_divisor=loss.topk_divisor,
        )
        mil += [float(terms["mil"])] * len(batch)
    return np.concatenate(snippets), np.concatenate(scores), float(np.mean(mil))
