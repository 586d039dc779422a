"""Audio models from the Hugging Face hub: windows of 10 s, one row for each of their tokens in time.

A window passes through the model's own front end in transformers, and the model's last tokens are averaged over
frequency. Audio shorter than the model's input is padded as in its training: with zeros (AST), with repetitions of the
audio (CLAP), not at all (PE). Rows that lie in the padding are dropped.

    AST         patches of 16 frames (10 ms apart, 25 ms long) every 10: 768 channels, 0.1 s
    CLAP        HTSAT's last map after the projection to the space of texts: 512 channels, 0.31 s
    PE-A-Frame  frames of 1,920 samples after the projection to the space of texts: 1,024 channels, 0.04 s
"""

from __future__ import annotations

import math
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from avloc.errors import InputError
from avloc.features.backbones.families import Family
from avloc.features.backbones.hub_load import load_model, processor
from avloc.features.backbones.network import Network
from avloc.features.backbones.protocol import Setup

WINDOW_S = Fraction(10)
"""Length of AudioSet's clips, which AST and CLAP were trained on."""
SHORTEST_S = Fraction(3)
"""Ours: windowed.py drops a second at either side."""
_MOST_RATE_HZ = 192_000
SHORTEST_SAMPLES = 400
"""AST's front end needs one frame of 25 ms at 16 kHz."""


@runtime_checkable
class _Rows(Protocol):
    """A model reduced to its tokens in time, with their clock.

    Args:
        size: channels.
        row_s: seconds from one row to the next.
        first_s: time of row 0's centre.
        longest_s: of the model's input; None for any length.
    """

    size: int
    row_s: Fraction
    first_s: Fraction
    longest_s: Fraction | None

    def __call__(self, inputs: Tensor) -> Float[Tensor, "n rows size"]: ...


class _AstRows(nn.Module):
    """Patch j covers frames [j * stride, j * stride + patch); frame i covers [10 i, 10 i + 25] ms."""

    def __init__(self, model: Any, front: Any) -> None:
        super().__init__()
        config = model.config
        self.model, self.size = model, int(config.hidden_size)
        self.row_s = Fraction(config.time_stride, 100)
        self.first_s = Fraction(config.patch_size - 1, 200) + Fraction(25, 2000)
        self._times = (config.max_length - config.patch_size) // config.time_stride + 1
        self.longest_s: Fraction | None = self.first_s - self.row_s / 2 + self._times * self.row_s

    def forward(self, inputs: Float[Tensor, "n frames mels"]) -> Float[Tensor, "n rows size"]:
        tokens = self.model(inputs).last_hidden_state[:, 2:]  # after the class and distillation tokens
        return tokens.unflatten(1, (-1, self._times)).mean(dim=1)


class _ClapRows(nn.Module):
    """HTSAT stretches its frames to `width` columns, first and last in place, and merges `columns` of them into one."""

    def __init__(self, model: Any, front: Any) -> None:
        super().__init__()
        config = model.config
        if getattr(config, "enable_fusion", False):
            raise InputError("this CLAP model fuses long audio, but windows are short; use an unfused model")
        self.encoder, self.projection = model.audio_model, model.audio_projection
        self.size = int(config.projection_dim)
        frames = front.nb_max_samples // front.hop_length + 1
        width = config.spec_size * (config.spec_size // config.num_mel_bins)
        columns = model.audio_model.audio_encoder.patch_stride[1] * 2 ** (len(config.depths) - 1)
        column_s = Fraction(front.hop_length, front.sampling_rate) * Fraction(frames - 1, width - 1)
        self.row_s, self.first_s = columns * column_s, Fraction(columns - 1, 2) * column_s
        self.longest_s: Fraction | None = Fraction(front.nb_max_samples, front.sampling_rate)

    def forward(self, inputs: Float[Tensor, "n 1 frames mels"]) -> Float[Tensor, "n rows size"]:
        maps = self.encoder(inputs).last_hidden_state  # (n, channels, frequency, time)
        return self.projection(maps.mean(dim=2).transpose(1, 2))


class _PeRows(nn.Module):
    """Row j covers samples [j * hop, (j + 1) * hop)."""

    longest_s: Fraction | None = None

    def __init__(self, model: Any, front: Any) -> None:
        super().__init__()
        self.encoder, self.head = model.audio_encoder, model.audio_head
        self.size = int(model.config.text_config.hidden_size)
        self.row_s = Fraction(model.config.audio_config.dac_config.hop_length, front.sampling_rate)
        self.first_s = self.row_s / 2

    def forward(self, inputs: Float[Tensor, "n 1 samples"]) -> Float[Tensor, "n rows size"]:
        return self.head(self.encoder(inputs).last_hidden_state)


_ROWS: dict[str, Any] = {
    "ASTModel": _AstRows,
    "ClapAudioModelWithProjection": _ClapRows,
    "PeAudioFrameLevelModel": _PeRows,
}


class HubAudio:
    """(n, samples) -> (n, rows, size); a WindowedAudioBackbone."""

    modality = "audio"

    def __init__(self, name: str, family: Family, setup: Setup) -> None:
        self.name, self.licence = name, family.licence
        model, files = load_model(name, family, setup)
        self.weights: str | None = files.describe()
        self._front = _front_end(model.config, family, files.folder)
        self.rate_hz = int(self._front.sampling_rate)
        if not 1_000 <= self.rate_hz <= _MOST_RATE_HZ:
            raise InputError(f"{name}: expected a sampling_rate of 1000 to {_MOST_RATE_HZ} Hz, got {self.rate_hz}")
        try:
            rows: Any = _ROWS[family.model](model, self._front)
        except (InputError, ArithmeticError, AttributeError, TypeError, ValueError) as error:
            raise InputError(f"{name}: {error}") from error
        self.size, self.row_s, self.first_s = int(rows.size), rows.row_s, rows.first_s
        self._longest = None if rows.longest_s is None else int(rows.longest_s * self.rate_hz)
        self.window_s = _window_s(rows)
        if self.window_s < SHORTEST_S:
            raise InputError(
                f"{name}: its input is {float(self.window_s):.1f} s of audio; expected a model for "
                f"{float(SHORTEST_S):g} s or more"
            )
        self._network = Network(rows, setup, prefers_bfloat16=True, at_once=4)

    def __call__(self, batch: Float32[np.ndarray, "n samples"]) -> Float32[np.ndarray, "n rows size"]:
        """Rows of each window, as many as cover it; row j is centred on `first_s` + j * `row_s`."""
        samples = batch.shape[1]
        batch = np.pad(batch, ((0, 0), (0, max(0, SHORTEST_SAMPLES - samples))))[:, : self._longest]
        key = self._front.model_input_names[0]
        inputs = [self._front(window, sampling_rate=self.rate_hz, return_tensors="np")[key] for window in batch]
        rows = self._network(torch.from_numpy(np.concatenate(inputs).astype(np.float32)))
        covered = Fraction(samples, self.rate_hz) - self.first_s + self.row_s / 2
        return rows[:, : max(1, math.ceil(covered / self.row_s))]


def _window_s(rows: _Rows) -> Fraction:
    """`WINDOW_S`, or tenths of seconds that fit the model: the last window of a video is up to one row longer."""
    if rows.longest_s is None:
        return WINDOW_S
    return min(WINDOW_S, Fraction(math.floor((rows.longest_s - rows.row_s) * 10), 10))


def _front_end(config: Any, family: Family, folder: Path) -> Any:
    """The front end in transformers: with the model's own settings, else the class defaults; adapted to its input."""
    import transformers

    own = {key: value for key, value in processor(folder, "feature_extractor").items() if not key.endswith("_type")}
    if family.extractor == "ClapFeatureExtractor":
        own["truncation"] = "rand_trunc"  # one spectrogram; the default makes four, for fusion
    if family.extractor == "ASTFeatureExtractor":
        own |= {"max_length": config.max_length, "num_mel_bins": config.num_mel_bins}
    own.setdefault("sampling_rate", family.rate_hz)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some mel bands of AST are narrower than an FFT bin, as in its training
        try:
            return getattr(transformers, family.extractor)(**own)
        except Exception as error:  # of all kinds, for settings that do not fit each other
            raise InputError(f"{folder}: expected settings of a {family.extractor}: {error}") from error
