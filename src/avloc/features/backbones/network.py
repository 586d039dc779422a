"""How the torch networks run: device, precision, compilation, and no gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn

from avloc.errors import ConfigError
from avloc.features.backbones.protocol import Setup
from avloc.features.weights import WeightFile, digest, load_into, read_state, resolve

__all__ = ["Network", "centre_crop", "describe_weights", "find_device", "load_network", "pictures_to"]


class Network:
    """A module ready to run on numpy batches.

    Args:
        module: with its weights loaded.
        setup: device, precision and compilation.
        prefers_bfloat16: what "auto" means on a GPU that has bfloat16.
        at_once: rows given to the module at a time; bounds the memory.
    """

    def __init__(self, module: nn.Module, setup: Setup, *, prefers_bfloat16: bool = False, at_once: int = 16) -> None:
        self.device = find_device(setup.device)
        self.dtype = _dtype(setup.precision, self.device, prefers_bfloat16)
        self.module = module.eval().requires_grad_(False).to(self.device)
        self._run: Any = torch.compile(self.module) if setup.compile else self.module
        self._at_once = at_once

    def __call__(self, inputs: Tensor, **more: Any) -> Float32[np.ndarray, "n size"]:
        """(n, ...) -> (n, size); inputs may lie anywhere."""
        rows = []
        with torch.inference_mode(), torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            for part in inputs.split(self._at_once):
                rows.append(self._run(part.to(self.device, non_blocking=True), **more).float().cpu())
        return torch.cat(rows).numpy()


def load_network(module: nn.Module, weights: WeightFile, setup: Setup, rename: Any = None) -> str:
    """Load a published file into a module, and say which it was.

    Args:
        rename: a function on the state dict, for files that name things otherwise.

    Raises:
        InputError: see `resolve`, `read_state` and `load_into`.
    """
    path = resolve(weights, setup.weights)
    state = read_state(path)
    load_into(module, rename(state) if rename is not None else state, path)
    return describe_weights(path)


def describe_weights(path: Path) -> str:
    """File name and SHA-256, for a feature file's source."""
    return f"{path.name} sha256:{digest(path)}"


def centre_crop(batch: UInt8[np.ndarray, "*lead h w 3"], side: int) -> UInt8[np.ndarray, "*lead s s 3"]:
    """The middle square of each picture; a view."""
    height, width = batch.shape[-3:-1]
    top, left = (height - side) // 2, (width - side) // 2
    return batch[..., top : top + side, left : left + side, :]


def pictures_to(batch: UInt8[np.ndarray, "*lead h w 3"], device: torch.device) -> Tensor:
    """The pictures as a tensor on `device`, still bytes: four times less to carry than floats."""
    return torch.from_numpy(np.require(batch, requirements=["C", "W"])).to(device)


def find_device(name: str) -> torch.device:
    """The device that a name of `extract.device` means. Raises ConfigError: it is not here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"extract.device: expected auto, cpu, cuda or cuda:N, got {name!r}") from None
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("extract.device=mps: PyTorch sees no such GPU here; use auto or cpu")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"extract.device={name}: PyTorch sees no GPU here; use auto or cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"extract.device={name}: PyTorch sees GPUs 0 to {torch.cuda.device_count() - 1} here")
    return device


def _dtype(precision: str, device: torch.device, prefers_bfloat16: bool) -> torch.dtype:
    if precision == "auto":
        able = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if prefers_bfloat16 and able else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
