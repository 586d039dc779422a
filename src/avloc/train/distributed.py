"""Processes: start them, split batches over them, gather and average their tensors."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from lightning_fabric import Fabric
from torch import Tensor

from avloc.config import TrainConfig
from avloc.errors import ConfigError


def launch(config: TrainConfig, videos: int) -> Fabric:
    """Start the engine with the processes of the launcher (torchrun, fabric run), else those of the configuration.

    Raises:
        ConfigError: a batch cannot be split evenly over the processes.
    """
    given: dict[str, Any] = {"precision": config.precision, "accelerator": config.accelerator}
    if "LOCAL_WORLD_SIZE" in os.environ:
        world, local = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
        given |= {"devices": local, "num_nodes": world // local}
    else:
        given |= {"devices": config.devices or 1, "num_nodes": config.num_nodes}
    processes = given["devices"] * given["num_nodes"]
    size = min(config.batch_size, videos)
    if size % processes:  # checked before the processes start: each would report it
        raise ConfigError(
            f"a batch of {size} videos cannot be split over {processes} processes evenly; set train.batch_size to a "
            f"multiple of {processes}, at most {videos}"
        )
    if processes > 1:
        given["strategy"] = "ddp"
    if not logging.getLogger("avloc.train").isEnabledFor(logging.DEBUG):  # engine messages only with -v
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(**given)
    if "LT_CLI_USED" not in os.environ:  # `fabric run` has started the processes already
        fabric.launch()
    return fabric


def share_of(fabric: Fabric, batch: Int[np.ndarray, " b"]) -> Int[np.ndarray, " m"]:
    """This process's part of a batch."""
    size = len(batch) // fabric.world_size
    return batch[fabric.global_rank * size : (fabric.global_rank + 1) * size]


def mean_over_processes(fabric: Fabric, values: Mapping[str, Tensor]) -> dict[str, float]:
    """Mean of each value over the processes, in one all-reduce."""
    stacked = torch.stack([value.detach().float() for value in values.values()])
    mean = cast(Tensor, fabric.all_reduce(stacked, reduce_op="mean"))
    return dict(zip(values, mean.tolist(), strict=True))


def gather_rows(
    fabric: Fabric, rows: Float[Tensor, "n d"] | Int[Tensor, "n d"]
) -> Float[Tensor, "m d"] | Int[Tensor, "m d"]:
    """Rows of all processes in order of rank, with gradients; their numbers may differ."""
    counts = _gathered(fabric, torch.tensor(len(rows), device=rows.device)).tolist()
    padded = torch.nn.functional.pad(rows, (0, 0, 0, max(counts) - len(rows)))
    everywhere = _gathered(fabric, padded, sync_grads=rows.is_floating_point())
    return torch.cat([everywhere[rank, :count] for rank, count in enumerate(counts)])


def _gathered(fabric: Fabric, tensor: Tensor, sync_grads: bool = False) -> Tensor:
    """The tensors of all processes, stacked."""
    with warnings.catch_warnings():  # the engine calls the collective by its deprecated name
        warnings.filterwarnings("ignore", message=".*all_gather is deprecated")
        return cast(Tensor, fabric.all_gather(tensor, sync_grads=sync_grads))
