"""vggish: 128 audio channels (Hershey et al. 2017, "CNN architectures for large-scale audio classification").

Front end: 16 kHz mono, 96 frames of 64 log mel energies (the same front end as logmel.py). 96 frames of 400 samples
every 160 span 15,600 samples, so the window is 0.975 s, centred on the snippet.

Network: the VGG of the paper with four groups of convolutions and three fully connected layers; the last one ends in
ReLU, and its 128 values are those of AVE's files ("vggish"). "vggish-pca" adds the post-processing of the release: PCA
with whitening, clipped to [-2, 2], quantised to 0-255.

Parameter names are those of harritaylor/torchvggish, whose files load unchanged; parity with it: 1e-4 relative
(tests/test_vggish.py). Its windows tile the recording every 0.96 s; ours are centred on the snippets.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from avloc.errors import InputError
from avloc.features.backbones.logmel import log_mel, mel_bands
from avloc.features.backbones.network import Network, describe_weights, load_network
from avloc.features.backbones.protocol import Setup
from avloc.features.backbones.sources import VGGISH, VGGISH_PCA
from avloc.features.weights import read_state, resolve

FRAMES = 96
SAMPLES = 400 + (FRAMES - 1) * 160
CLIP = 2.0


class VggishNet(nn.Module):
    """(n, 96, 64) log mel energies -> (n, 128), non-negative."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for width, repeats in ((64, 1), (128, 1), (256, 2), (512, 2)):
            for _ in range(repeats):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.embeddings = nn.Sequential(
            *(nn.Linear(6 * 4 * 512, 4096), nn.ReLU(inplace=True)),
            *(nn.Linear(4096, 4096), nn.ReLU(inplace=True)),
            *(nn.Linear(4096, 128), nn.ReLU(inplace=True)),
        )

    def forward(self, mel: Float[Tensor, "n 96 64"]) -> Float[Tensor, "n 128"]:
        maps = self.features(mel[:, None])
        return self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))  # order of the original: time, band, channel


class Vggish:
    """(n, 15600) at 16 kHz -> (n, 128). Silence is not special: its rows are the network's output."""

    modality = "audio"
    size = 128
    licence = "Apache-2.0"
    rate_hz = 16_000
    window_s: Fraction | None = Fraction(SAMPLES, rate_hz)

    def __init__(self, setup: Setup | None = None, pca: bool = False) -> None:
        setup = setup or Setup()
        self.name = "vggish-pca" if pca else "vggish"
        module = VggishNet()
        self.weights: str | None = load_network(module, VGGISH, setup)
        self._bands = mel_bands(np.float64)
        self._network = Network(module, setup, at_once=64)
        self._pca = self._read_pca(setup) if pca else None

    def __call__(self, batch: Float32[np.ndarray, "n samples"]) -> Float32[np.ndarray, "n size"]:
        """One row per window."""
        rows = self._network(torch.from_numpy(self.examples(batch)))
        return rows if self._pca is None else postprocess(rows, *self._pca)

    def examples(self, batch: Float32[np.ndarray, "n samples"]) -> Float32[np.ndarray, "n 96 64"]:
        """Input of the network, computed in float64: a logarithm near 0 loses precision."""
        short = max(0, SAMPLES - batch.shape[1])
        mel = log_mel(np.pad(batch.astype(np.float64), ((0, 0), (0, short))), self._bands)
        return mel[:, :FRAMES].astype(np.float32)

    def _read_pca(self, setup: Setup) -> tuple[np.ndarray, np.ndarray]:
        path = resolve(VGGISH_PCA, setup.weights)
        state = read_state(path)
        parts = [state.get(key) for key in ("pca_eigen_vectors", "pca_means")]
        if [tuple(p.shape) if p is not None else () for p in parts] not in (
            [(128, 128), (128, 1)],
            [(128, 128), (128,)],
        ):
            raise InputError(
                f"{path}: expected pca_eigen_vectors (128, 128) and pca_means (128, 1), got {sorted(state)}"
            )
        vectors, means = (part.float().numpy() for part in parts if part is not None)
        self.weights = f"{self.weights}; {describe_weights(path)}"
        return vectors, means.reshape(128)


def postprocess(
    rows: Float32[np.ndarray, "n 128"], vectors: Float32[np.ndarray, "128 128"], means: Float32[np.ndarray, " 128"]
) -> Float32[np.ndarray, "n 128"]:
    """PCA and quantisation of the release: integers 0-255, rounded as in torchvggish."""
    white = np.clip((rows - means) @ vectors.T, -CLIP, CLIP)
    return np.round((white + CLIP) * (255 / (2 * CLIP))).astype(np.float32)
