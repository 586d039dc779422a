"""efficientat-mn04, -mn10: audio tagging networks for AudioSet (Schmid, Koutini and Widmer, ICASSP 2023; MIT).

Front end: 32 kHz mono, pre-emphasis 0.97, power spectrum of 800-sample Hann windows every 320 samples (FFT of 1,024),
128 mel bands from 0 to 15 kHz on the mel scale 1127 ln(1 + f / 700), ln(energy + 1e-5), then (x + 4.5) / 5.

Network: MobileNetV3-Large (Howard et al. 2019, Table 1) of 0.4 or 1.0 times its width with one input channel. A feature
is the last feature map averaged over frequency: one row every 32 frames, 0.32 s, row j centred on j * 0.32 s.

Layer names are those of the authors' release, whose files load as they are.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn

from avloc.features.backbones.logmel import mel_filters
from avloc.features.backbones.network import Network, apply_head, fold_norms, load_network
from avloc.features.backbones.protocol import Setup
from avloc.features.backbones.sources import EFFICIENTAT
from avloc.features.weights import WeightFile

RATE_HZ = 32_000
WINDOW, HOP, FFT, BANDS = 800, 320, 1024, 128  # samples, samples, samples, bands
HIGH_HZ = 15_000.0
STRIDE = 32  # frames per row
CLASSES = 527

WIDTHS = {"mn04": 0.4, "mn10": 1.0}
LAYERS = (  # kernel, expansion, channels, squeeze-and-excitation, h-swish, stride
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)
"""MobileNetV3-Large (Howard et al. 2019, Table 1)."""


def _divisible(channels: float) -> int:
    """The multiple of 8 nearest to a channel count, at most 10 % below it (MobileNet's rule)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _conv(
    channels: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1, activation: nn.Module | None = None
) -> nn.Sequential:
    conv = nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    layers: list[nn.Module] = [conv, nn.BatchNorm2d(out, eps=1e-3)]
    return nn.Sequential(*layers, *([activation] if activation is not None else []))


class SqueezeExcitation(nn.Module):
    """Scales channels by what the whole map says of them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = _divisible(channels // 4)
        self.fc1, self.fc2 = nn.Linear(channels, squeezed), nn.Linear(squeezed, channels)

    def forward(self, maps: Float[Tensor, "n c f t"]) -> Float[Tensor, "n c f t"]:
        scale = self.fc2(F.relu(self.fc1(maps.mean(dim=(2, 3))))).sigmoid()
        return maps * scale[:, :, None, None]


class Excitations(nn.Module):
    """The release can squeeze several axes at once; its published AudioSet models squeeze channels only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conc_se_layers = nn.ModuleList([SqueezeExcitation(channels)])

    def forward(self, maps: Float[Tensor, "n c f t"]) -> Float[Tensor, "n c f t"]:
        return self.conc_se_layers[0](maps)


class Block(nn.Module):
    """Inverted bottleneck with squeeze-and-excitation; a shortcut where shapes agree."""

    def __init__(
        self, channels: int, width: int, out: int, kernel: int, stride: int, squeeze: bool, swish: bool
    ) -> None:
        super().__init__()

        def activation() -> nn.Module:
            return nn.Hardswish() if swish else nn.ReLU()

        expand = [_conv(channels, width, activation=activation())] if width != channels else []
        depthwise = _conv(width, width, kernel, stride, groups=width, activation=activation())
        excite = [Excitations(width)] if squeeze else []
        self.block = nn.Sequential(*expand, depthwise, *excite, _conv(width, out))
        self._shortcut = stride == 1 and channels == out

    def forward(self, maps: Float[Tensor, "n c f t"]) -> Float[Tensor, "n c2 f2 t2"]:
        return self.block(maps) + maps if self._shortcut else self.block(maps)


class MobileNetV3(nn.Module):
    """(n, 1, 128 bands, frames) -> (n, rows, channels), a row every 32 frames.

    Args:
        width: multiple of MobileNetV3-Large's channels.
    """

    def __init__(self, width: float, classes: int = CLASSES) -> None:
        super().__init__()
        channels = _divisible(16 * width)
        layers: list[nn.Module] = [_conv(1, channels, 3, 2, activation=nn.Hardswish())]
        for kernel, expansion, out, squeeze, swish, stride in LAYERS:
            sizes = _divisible(expansion * width), _divisible(out * width)
            layers.append(Block(channels, *sizes, kernel, stride, squeeze, swish))
            channels = sizes[1]
        self.size = 6 * channels
        layers.append(_conv(channels, self.size, activation=nn.Hardswish()))
        self.features = nn.Sequential(*layers)
        hidden = _divisible(1280 * width)
        pool = [nn.Identity(), nn.Identity()]  # the release's pooling and flattening, which `forward` does
        mlp = [nn.Linear(self.size, hidden), nn.Hardswish(), nn.Identity(), nn.Linear(hidden, classes)]
        self.classifier = nn.Sequential(*pool, *mlp)

    def forward(self, mel: Float[Tensor, "n 1 128 t"]) -> Float[Tensor, "n rows d"]:
        return self.features(mel).mean(dim=2).transpose(1, 2)

    def logits(self, rows: Float[Tensor, "*n d"]) -> Float[Tensor, "*n classes"]:
        """AudioSet's classes, of rows or of their mean over time (what the release's `logits` are)."""
        return self.classifier(rows)


class EfficientAt:
    """(n, samples) at 32 kHz -> (n, rows, size), in windows of 10 s, as the network was trained.

    Args:
        width: "mn04" (384 channels) or "mn10" (960 channels).
    """

    modality = "audio"
    licence = "MIT"
    rate_hz = RATE_HZ
    window_s = Fraction(10)
    row_s = Fraction(STRIDE * HOP, RATE_HZ)
    first_s = Fraction(0)

    def __init__(self, width: str, setup: Setup | None = None) -> None:
        setup = setup or Setup()
        self.name = f"efficientat-{width}"
        module = self._module = MobileNetV3(WIDTHS[width])
        self.size = module.size
        source: WeightFile = EFFICIENTAT[width]
        self.weights: str | None = load_network(module, source, setup)
        fold_norms(module, [("0", "1")])
        self._network = Network(module, setup, at_once=8)

    def __call__(self, batch: Float32[np.ndarray, "n samples"]) -> Float32[np.ndarray, "n rows size"]:
        """Rows of each window; row j is centred on j * `row_s`."""
        return self._network(
            mel_frames(torch.from_numpy(np.ascontiguousarray(batch)).to(self._network.device))[:, None]
        )

    def class_logits(self, rows: Float32[np.ndarray, "n size"]) -> Float32[np.ndarray, "n 527"]:
        """AudioSet's classes, for rows or means of rows; a class's probability is the logit's sigmoid."""
        return apply_head(self._module.logits, rows, self._network.device)

    def probabilities(self, rows: Float32[np.ndarray, "*n size"]) -> Float32[np.ndarray, "*n 527"]:
        """Of AudioSet's classes, for each row."""
        logits = self.class_logits(rows.reshape(-1, rows.shape[-1])).reshape(*rows.shape[:-1], -1)
        return 1 / (1 + np.exp(-logits))


def mel_frames(samples: Float[Tensor, "n samples"]) -> Float[Tensor, "n 128 t"]:
    """Scaled log mel energies; frame t is centred on sample 320 t. Audio shorter than an FFT is padded with zeros."""
    samples = samples.float()
    if samples.shape[1] <= FFT:
        samples = F.pad(samples, (0, FFT + 1 - samples.shape[1]))
    emphasised = samples[:, 1:] - 0.97 * samples[:, :-1]
    window = torch.hann_window(WINDOW, periodic=False, device=samples.device)
    spectrum = torch.stft(emphasised, FFT, HOP, WINDOW, window, center=True, pad_mode="reflect", return_complex=True)
    power = spectrum.real.square() + spectrum.imag.square()
    bands = torch.from_numpy(mel_bands()).to(samples.device)
    return ((bands @ power + 1e-5).log() + 4.5) / 5


@lru_cache(maxsize=1)
def mel_bands() -> Float32[np.ndarray, "128 bins"]:
    """The filters of this front end, Kaldi's; the bin of half the sample rate lies above them."""
    return mel_filters(BANDS, 0.0, HIGH_HZ, RATE_HZ, FFT).T.astype(np.float32)
