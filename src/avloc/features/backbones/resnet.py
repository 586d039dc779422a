"""resnet152: 2048 channels, the global average pool averaged over a snippet's frames (He et al. 2016).

Frames: 16 fps as in AVE's features (`--fps` changes it), short side 256, centre crop 224, ImageNet mean and standard
deviation. The stride of a bottleneck is in its 3 x 3 convolution, as in torchvision ("v1.5").

Parameter names are torchvision's: resnet152-394f9c45.pth loads unchanged, and so do the hub's .safetensors with
torchvision's names (timm/resnet152.tv_in1k). Those of transformers (microsoft/resnet-152) are renamed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from avloc.features.backbones.families import IMAGENET
from avloc.features.backbones.network import Network, load_network, normalized
from avloc.features.backbones.protocol import Setup
from avloc.features.backbones.sources import RESNET152

CROP = 224
DEPTHS = (3, 8, 36, 3)


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions with a shortcut; the output has 4 * width channels."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != 4 * width:
            shortcut = nn.Conv2d(channels, 4 * width, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(4 * width))

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        shortcut = maps if self.downsample is None else self.downsample(maps)
        maps = F.relu(self.bn1(self.conv1(maps)), inplace=True)
        maps = F.relu(self.bn2(self.conv2(maps)), inplace=True)
        return F.relu(self.bn3(self.conv3(maps)) + shortcut)


class ResNet(nn.Module):
    """(n, 3, h, w), normalised -> (n, 2048), the global average pool.

    Args:
        depths: bottlenecks in each of the four stages; (3, 8, 36, 3) is ResNet-152.
    """

    def __init__(self, depths: tuple[int, int, int, int] = DEPTHS, classes: int = 1000) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False), nn.BatchNorm2d(64)
        channels = 64
        for stage, depth in enumerate(depths):
            width = 64 * 2**stage
            blocks = []
            for block in range(depth):
                blocks.append(Bottleneck(channels, width, 2 if stage and not block else 1))
                channels = 4 * width
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, classes)  # unused here, but present in the published files

    def forward(self, frames: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 2048"]:
        maps = F.max_pool2d(F.relu(self.bn1(self.conv1(frames))), 3, 2, padding=1)
        for stage in range(1, 5):
            maps = self.get_submodule(f"layer{stage}")(maps)
        return maps.mean(dim=(2, 3))


class ResNet152:
    """(n, frames, h, w, 3) -> (n, 2048)."""

    name = "resnet152"
    modality = "visual"
    size = 2048
    licence = "BSD-3-Clause"
    frame_rate: Fraction | None = Fraction(16)
    frames_per_snippet: int | None = None
    frame_size: tuple[int, int] | int = 256

    def __init__(self, setup: Setup | None = None) -> None:
        setup = setup or Setup()
        module = ResNet()
        self.weights: str | None = load_network(module, RESNET152, setup, with_torchvision_names)
        self._network = Network(module, setup, at_once=32)

    def __call__(self, batch: UInt8[np.ndarray, "n frames h w 3"]) -> Float32[np.ndarray, "n size"]:
        """One row per snippet; one snippet at a time, to keep few frames in memory as floats."""
        inputs = (normalized(snippet, IMAGENET, CROP, self._network.device) for snippet in batch)
        return np.stack([self._network(frames).mean(axis=0) for frames in inputs])


_TRANSLATE = [
    (r"^(?:resnet\.)?embedder\.embedder\.convolution\.", "conv1."),
    (r"^(?:resnet\.)?embedder\.embedder\.normalization\.", "bn1."),
    (r"^classifier\.1\.", "fc."),
]


def with_torchvision_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under torchvision's names; the names of transformers' ResNet are translated, others kept."""
    return {_torchvision_name(name): value for name, value in state.items()}


def _torchvision_name(name: str) -> str:
    for pattern, replacement in _TRANSLATE:
        name = re.sub(pattern, replacement, name)
    match = re.match(
        r"^(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.(?:layer\.(\d+)|shortcut)\.(convolution|normalization)\.(.+)$",
        name,
    )
    if match is None:
        return name
    stage, block, layer, kind, rest = match.groups()
    if layer is None:
        part = f"downsample.{'0' if kind == 'convolution' else '1'}"
    else:
        part = f"{'conv' if kind == 'convolution' else 'bn'}{int(layer) + 1}"
    return f"layer{int(stage) + 1}.{block}.{part}.{rest}"
