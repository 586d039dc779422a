"""Tensors of all processes, with gradients where wanted."""

from __future__ import annotations

import warnings
from typing import cast

import torch
from jaxtyping import Float, Int
from lightning_fabric import Fabric
from torch import Tensor

__all__ = ["gather_rows"]


def gather_rows(
    fabric: Fabric, rows: Float[Tensor, "n d"] | Int[Tensor, "n d"]
) -> Float[Tensor, "m d"] | Int[Tensor, "m d"]:
    """Rows of all processes in order of rank, with gradients; each may bring a different number."""
    counts = _gathered(fabric, torch.tensor(len(rows), device=rows.device)).tolist()
    padded = torch.nn.functional.pad(rows, (0, 0, 0, max(counts) - len(rows)))
    everywhere = _gathered(fabric, padded, sync_grads=rows.is_floating_point())
    return torch.cat([everywhere[rank, :count] for rank, count in enumerate(counts)])


def _gathered(fabric: Fabric, tensor: Tensor, sync_grads: bool = False) -> Tensor:
    """The tensors of all processes, stacked; the engine's own signature allows more than tensors."""
    with warnings.catch_warnings():  # the engine still calls PyTorch's older name of the same collective
        warnings.filterwarnings("ignore", message=".*all_gather is deprecated")
        return cast(Tensor, fabric.all_gather(tensor, sync_grads=sync_grads))
