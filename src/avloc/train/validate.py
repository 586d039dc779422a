"""Validation by video-level labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from avloc.config import LossConfig
from avloc.metrics import video_average_precision
from avloc.model import losses
from avloc.model.base import Model
from avloc.train.dataset import WeakDataset
from avloc.train.metrics_log import health
from avloc.train.prepare import TrainingData

_PROBED = 64  # training videos for the health of the run
_CHUNK = 8  # videos per batch; they are not cut, so long ones must fit


@dataclass(frozen=True)
class Validation:
    """Values by name; without validation videos there is no `validation/*`."""

    values: dict[str, float]

    def score(self, selection: str) -> float | None:
        """The value to select by, higher is better; None to select the last."""
        if selection == "last" or "validation/mil" not in self.values:
            return None
        return self.values["validation/video_ap"] if selection == "video_ap" else -self.values["validation/mil"]


@torch.no_grad()
def validate(model: Model, data: TrainingData, loss: LossConfig, device: torch.device | str) -> Validation:
    """Health on some training videos; MIL loss and video-level AP on the validation videos."""
    model.eval()
    probed = np.unique(np.linspace(0, len(data.train) - 1, min(_PROBED, len(data.train))).astype(int))
    snippets = [p for p, _, _ in _predicted(model, data.train, probed, loss, device)]
    values = health(np.concatenate(snippets), data.train.labels[probed].any(axis=0))
    if len(data.validation) and data.validation.labels.any():  # AP needs a label
        scores, mil = [], []
        for _, some, cost in _predicted(model, data.validation, np.arange(len(data.validation)), loss, device):
            scores.append(some)
            mil += [cost] * len(some)
        values["validation/mil"] = float(np.mean(mil))
        values["validation/video_ap"] = video_average_precision(np.concatenate(scores), data.validation.labels).mean_ap
    return Validation(values)


def _predicted(
    model: Model, videos: WeakDataset, indices: np.ndarray, loss: LossConfig, device: torch.device | str
) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Yield by batch: snippet probabilities, video scores, mean MIL loss."""
    for start in range(0, len(indices), _CHUNK):
        batch = videos.batch(indices[start : start + _CHUNK]).to(device)
        output = model(batch)
        scores = losses.topk_mean(output.probs, batch.mask, loss.topk_divisor)[:, 1:]
        mil = losses.mil_term(output, batch.labels, batch.mask, loss)
        yield output.probs[batch.mask].float().cpu().numpy(), scores.float().cpu().numpy(), float(mil)
