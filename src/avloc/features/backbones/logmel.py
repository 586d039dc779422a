"""logmel: statistics of log mel energies. No weights, numpy only.

Front end as in VGGish (Hershey et al. 2017): 16 kHz mono, 25 ms Hann windows every 10 ms, 64 mel bands from 125 to
7500 Hz (HTK's mel scale), log(energy + 0.01) of the magnitude spectrum. Ours: the statistics over a snippet's frames,
with 7.5 ms of the neighbouring snippets: a Hann window is 0 at its ends, and version 1 left out what is between two
snippets.

Channels (256), band by band from low to high within each block:
    0-63     mean
    64-127   standard deviation
    128-191  maximum
    192-255  mean |difference| of consecutive frames
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from jaxtyping import Float, Float32, Float64

BANDS = 64
RATE_HZ = 16_000
WINDOW, HOP, FFT = 400, 160, 512  # samples
LOW_HZ, HIGH_HZ = 125.0, 7500.0
FLOOR = 0.01


class LogMel:
    """(n, samples) at 16 kHz -> (n, 256). See the top of the file for the channels."""

    name = "logmel"
    modality = "audio"
    size = 4 * BANDS
    licence = "Apache-2.0"
    version = "2"
    weights: str | None = None
    rate_hz = RATE_HZ
    window_s: Fraction | None = None
    margin_s = Fraction((WINDOW - HOP) // 2, RATE_HZ)

    def __init__(self) -> None:
        self._bands = mel_bands()

    def __call__(self, batch: Float32[np.ndarray, "n samples"]) -> Float32[np.ndarray, "n size"]:
        """Statistics of each row's frames."""
        mel = log_mel(batch, self._bands)
        change = np.abs(np.diff(mel, axis=1)).mean(axis=1) if mel.shape[1] > 1 else np.zeros_like(mel[:, 0])
        return np.concatenate([mel.mean(axis=1), mel.std(axis=1), mel.max(axis=1), change], axis=1)


def log_mel(
    batch: Float[np.ndarray, "n samples"], bands: Float[np.ndarray, "bins bands"]
) -> Float[np.ndarray, "n frames bands"]:
    """Log mel energies of complete frames; a row shorter than one frame is zero-padded to one.

    Computed in the dtype of `batch` and `bands`, which must be the same.
    """
    if batch.shape[1] < WINDOW:
        batch = np.pad(batch, ((0, 0), (0, WINDOW - batch.shape[1])))
    framed = np.lib.stride_tricks.sliding_window_view(batch, WINDOW, axis=1)[:, ::HOP]
    hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(batch.dtype)
    spectrum = np.abs(np.fft.rfft(framed * hann, FFT, axis=-1)).astype(batch.dtype, copy=False)
    # not @: for many small matrices BLAS threading is ten times slower
    return np.log(np.einsum("nfk,kb->nfb", spectrum, bands) + batch.dtype.type(FLOOR))


def mel_bands(dtype: type[np.floating] = np.float32) -> Float[np.ndarray, "bins bands"]:
    """The filters of this front end; the DC component belongs to no band."""
    weights = mel_filters(BANDS, LOW_HZ, HIGH_HZ, RATE_HZ, FFT)
    weights[0] = 0.0
    return weights.astype(dtype)


def mel_filters(bands: int, low_hz: float, high_hz: float, rate_hz: int, fft: int) -> Float64[np.ndarray, "bins bands"]:
    """Triangular filters on the mel scale, mel = 1127 ln(1 + f / 700), linear in mel, with peak value 1."""

    def mel(hz: np.ndarray) -> np.ndarray:
        return 1127.0 * np.log1p(hz / 700.0)

    low, high = mel(np.array([low_hz, high_hz]))
    edges = np.linspace(low, high, bands + 2)
    bins = mel(np.arange(fft // 2 + 1) * rate_hz / fft)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling))
