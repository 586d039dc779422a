"""Input and output of a model: padded batches, snippet outputs, and windows of long videos.

Axes are [batch, snippet, channel]. Column 0 of a class axis of size 1+C is background. `mask` is True for real
snippets and False for padding; values under padding must never change a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from avloc.types import FeatureSequence

AUDIO, VISUAL = 0, 1
"""Columns of `Batch.present`."""


@dataclass
class Batch:
    """Padded videos. Each has at least one snippet and one modality.

    Args:
        prior: r of the pseudo-labels (`losses.with_prior`), in training only; 0 for a video without one.
        truth: share of each snippet known to be background or a class, from corrections; rows sum to at most 1, to 0
            where nothing is known. None if nothing is known of any video of the set.
    """

    audio: Float[Tensor, "b l d_u"]
    visual: Float[Tensor, "b l d_v"]
    mask: Bool[Tensor, "b l"]
    present: Bool[Tensor, "b 2"]
    labels: Float[Tensor, "b c"]
    truth: Float[Tensor, "b l c1"] | None = None
    prior: Float[Tensor, "b l c1"] | None = None

    def to(self, device: object) -> Batch:
        """The same batch on another device."""
        there = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}
        return Batch(**{name: tensor.to(device, non_blocking=True) for name, tensor in there.items()})

    def __len__(self) -> int:
        return len(self.mask)


@dataclass
class SnippetOutput:
    """A model's output for every snippet (Eq. 4 and 5); rows under padding are finite but meaningless."""

    embedding: Float[Tensor, "b l d"]
    action_logits: Float[Tensor, "b l c"]
    reliability: Float[Tensor, "b l"]
    probs: Float[Tensor, "b l c1"]


class Window(NamedTuple):
    """Snippets first..stop of a video; keep_first..keep_stop are nearer to its middle than to another window's."""

    first: int
    stop: int
    keep_first: int
    keep_stop: int


def windows(length: int, size: int | None) -> list[Window]:
    """Evenly spaced windows of `size` snippets that overlap their neighbours by at least a quarter.

    The kept parts tile the video. A video of at most `size` snippets is one window.
    """
    if size is None or length <= size:
        return [Window(0, length, 0, length)]
    count = 1 + -(-(length - size) // (size - size // 4))
    first = np.linspace(0, length - size, count).astype(np.int64)
    edges = [0, *((first[1:] + first[:-1] + size) // 2).tolist(), length]
    return [Window(s, s + size, a, b) for s, a, b in zip(first.tolist(), edges[:-1], edges[1:], strict=True)]


def collate(
    videos: Sequence[tuple[FeatureSequence, Int[np.ndarray, " _"]]],
    labels: Float[np.ndarray, "b c"],
    audio_size: int,
    visual_size: int,
    truths: Sequence[Float[np.ndarray, "_ c1"] | None] | None = None,
) -> Batch:
    """The given rows of each video, zero-padded to the longest, with masks.

    Args:
        truths: of each video, `Batch.truth` of all its snippets; None where nothing is known.
    """
    length = max(len(rows) for _, rows in videos)
    audio = torch.zeros(len(videos), length, audio_size)
    visual = torch.zeros(len(videos), length, visual_size)
    mask = torch.zeros(len(videos), length, dtype=torch.bool)
    present = torch.zeros(len(videos), 2, dtype=torch.bool)
    for i, (features, rows) in enumerate(videos):
        mask[i, : len(rows)] = True
        for column, (name, target) in enumerate((("audio", audio), ("visual", visual))):
            values = getattr(features, name)
            if values is not None and target.shape[2]:
                target[i, : len(rows)] = torch.from_numpy(np.asarray(values[rows], dtype=np.float32))
                present[i, column] = True
    truth = None
    if truths is not None:
        truth = torch.zeros(len(videos), length, 1 + labels.shape[1])
        for i, ((_, rows), known) in enumerate(zip(videos, truths, strict=True)):
            if known is not None:
                truth[i, : len(rows)] = torch.from_numpy(np.asarray(known[rows], dtype=np.float32))
    return Batch(audio, visual, mask, present, torch.from_numpy(np.asarray(labels, dtype=np.float32)), truth)
