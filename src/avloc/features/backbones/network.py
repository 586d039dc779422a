"""Run torch networks on numpy batches: device, precision, compilation, normalisation, no gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from avloc.errors import ConfigError
from avloc.features.backbones.protocol import Setup
from avloc.features.weights import WeightFile, digest, load_into, read_state, resolve


class Network:
    """A module that maps batches to numpy rows.

    Args:
        module: with its weights loaded.
        setup: device, precision and compilation.
        prefers_bfloat16: whether precision "auto" means bfloat16 on a GPU that supports it.
        at_once: rows per call of the module; bounds the memory.
    """

    def __init__(self, module: nn.Module, setup: Setup, *, prefers_bfloat16: bool = False, at_once: int = 16) -> None:
        self.device = find_device(setup.device)
        self.dtype = _dtype(setup.precision, self.device, prefers_bfloat16)
        self.module = module.eval().requires_grad_(False).to(self.device)
        self._run: Any = torch.compile(self.module) if setup.compile else self.module
        self._at_once = at_once

    def __call__(self, inputs: Tensor) -> Float32[np.ndarray, "n *rows size"]:
        """(n, ...) on any device -> (n, size), or (n, rows, size) of windowed audio."""
        rows = []
        with torch.inference_mode(), torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            for part in inputs.split(self._at_once):
                rows.append(self._run(part.to(self.device, non_blocking=True)).float().cpu())
        return torch.cat(rows).numpy()


def apply_head(
    head: Callable[[Tensor], Tensor], rows: Float32[np.ndarray, "n size"], device: torch.device
) -> Float32[np.ndarray, "n classes"]:
    """A classifier's output for stored features."""
    with torch.inference_mode():
        return head(torch.from_numpy(np.ascontiguousarray(rows)).to(device)).float().cpu().numpy()


def load_network(module: nn.Module, weights: WeightFile, setup: Setup, rename: Callable[..., Any] = dict) -> str:
    """Load a published weight file into a module, and return its description.

    Args:
        rename: a function on the state dict, for files with other parameter names.

    Raises:
        InputError: see `resolve`, `read_state` and `load_into`.
    """
    path = resolve(weights, setup.weights)
    load_into(module, rename(read_state(path)), path)
    return describe_weights(path)


def fold_norms(module: nn.Module, pairs: Iterable[tuple[str, str]]) -> None:
    """Fold batch normalisations into the convolutions before them, everywhere below `module`: less to compute.

    Args:
        pairs: names of (convolution, normalisation) within one module.
    """
    for part in list(module.modules()):
        for conv, norm in pairs:
            before, after = (getattr(part, name, None) for name in (conv, norm))
            if isinstance(before, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
                setattr(part, conv, fuse_conv_bn_eval(before.eval(), after.eval()))
                setattr(part, norm, nn.Identity())


def describe_weights(path: Path) -> str:
    """File name and SHA-256, for the source of a feature file."""
    return f"{path.name} sha256:{digest(path)}"


def centre_crop(batch: UInt8[np.ndarray, "*lead h w 3"], side: int) -> UInt8[np.ndarray, "*lead s s 3"]:
    """The central square of each frame; a view."""
    height, width = batch.shape[-3:-1]
    top, left = (height - side) // 2, (width - side) // 2
    return batch[..., top : top + side, left : left + side, :]


def frames_to(batch: UInt8[np.ndarray, "*lead h w 3"], device: torch.device) -> Tensor:
    """The frames as a tensor on `device`, still uint8: a quarter of the transfer of floats."""
    return torch.from_numpy(np.require(batch, requirements=["C", "W"])).to(device)


def normalized(
    batch: UInt8[np.ndarray, "*lead h w 3"],
    normalization: tuple[tuple[float, ...], tuple[float, ...]],
    side: int,
    device: torch.device,
) -> Float[Tensor, "*lead 3 s s"]:
    """Centre crops in [0, 1], normalised with (mean, standard deviation) per channel, channels first."""
    frames = frames_to(centre_crop(batch, side), device).float() / 255
    mean, deviation = (torch.tensor(values, device=device) for values in normalization)
    return ((frames - mean) / deviation).movedim(-1, -3)


def find_device(name: str | torch.device) -> torch.device:
    """The device of this name: auto (a GPU if there is one), cpu, cuda, cuda:N or mps.

    Raises:
        ConfigError: it is unknown or unavailable.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(str(name))
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"device: expected auto, cpu, cuda, cuda:N or mps, got {str(name)!r}")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device mps: PyTorch sees no such GPU on this machine; use auto or cpu")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {name}: PyTorch sees no GPU on this machine; use auto or cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device {name}: PyTorch sees GPUs 0 to {torch.cuda.device_count() - 1}")
    return device


def _dtype(precision: str, device: torch.device, prefers_bfloat16: bool) -> torch.dtype:
    if precision == "auto":
        able = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if prefers_bfloat16 and able else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
