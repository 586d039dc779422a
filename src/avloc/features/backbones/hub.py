"""Hugging Face models through `transformers` (the "hf" extra); the families are in families.py.

Names are `clip` (the default repository of the family) or `clip:owner/repository`. `--weights clip=FOLDER` reads a
local folder with config.json and model.safetensors or pytorch_model.bin instead. Each feature file records the hash of
the weights, and the commit of those from the hub.

Frames are cropped and normalised here as the model cards specify. They are resized by ffmpeg's bilinear filter while
decoding; the models' own processors use Pillow's bicubic. torchvision is not needed, except by timm for `pe-av`.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from avloc.errors import InputError
from avloc.features.backbones.families import FAMILIES, Family
from avloc.features.backbones.hub_audio import HubAudio
from avloc.features.backbones.hub_files import locate
from avloc.features.backbones.hub_load import load_model, processor
from avloc.features.backbones.network import Network, normalized
from avloc.features.backbones.protocol import Setup


def load_hub(name: str, setup: Setup | None = None) -> HubVisual | HubAudio:
    """Load the backbone `family` or `family:owner/repository`.

    Raises:
        InputError: transformers is missing, or the weights are missing, unsuitable or cannot be downloaded.
    """
    setup = setup or Setup()
    family = FAMILIES[name.partition(":")[0]]
    return (HubAudio if family.modality == "audio" else HubVisual)(name, family, setup)


def fetch(name: str) -> Path:
    """Download the model `family` or `family:owner/repository` unless the hub's cache has it; returns its folder.

    Raises:
        InputError: it cannot be downloaded.
    """
    stem, _, repository = name.partition(":")
    return locate(name, repository or FAMILIES[stem].repository).folder


class _FeatureModel(nn.Module):
    """A transformers model reduced to its feature tensor."""

    def __init__(self, model: nn.Module, output: str, options: dict[str, Any]) -> None:
        super().__init__()
        self.model = model
        self._output, self._options = output, options

    def forward(self, inputs: Tensor) -> Float[Tensor, "n size"]:
        outputs = self.model(inputs, **self._options)
        return outputs.last_hidden_state.mean(dim=1) if self._output == "tokens" else getattr(outputs, self._output)


class _VideoTower(nn.Module):
    """A video tower with the projection to the space that it shares with text and audio."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder, self.head = model.video_encoder, model.video_head

    def forward(self, clips: Float[Tensor, "n frames 3 h w"]) -> Float[Tensor, "n size"]:
        return self.head(self.encoder(clips.contiguous()).pooler_output)


class HubVisual:
    """(n, frames, h, w, 3) -> (n, size)."""

    modality = "visual"

    def __init__(self, name: str, family: Family, setup: Setup) -> None:
        self.name, self.licence = name, family.licence
        model, files = load_model(name, family, setup)
        self.weights: str | None = files.describe()
        config = model.config
        self._clips = family.frames is not None
        self.frame_rate: Fraction | None = None if self._clips else family.frame_rate
        self.frames_per_snippet: int | None = (
            (getattr(config, "num_frames", None) or family.frames) if self._clips else None
        )
        self._crop = _input_side(config, family)
        self.frame_size: tuple[int, int] | int = (
            (self._crop, self._crop) if family.resize == "squash" else round(family.side * self._crop)
        )
        self.size = _size(config, family)
        self._normalization = _normalization(files.folder, family)
        options = {"skip_predictor": True} if family.model == "VJEPA2Model" else {}
        features = (
            _VideoTower(model) if family.output == "video_embeds" else _FeatureModel(model, family.output, options)
        )
        self._network = Network(features, setup, prefers_bfloat16=True, at_once=4 if self._clips else 32)

    def __call__(self, batch: UInt8[np.ndarray, "n frames h w 3"]) -> Float32[np.ndarray, "n size"]:
        """One row per snippet: of the whole clip, or the mean over its frames."""
        inputs = normalized(batch, self._normalization, self._crop, self._network.device)
        if self._clips:
            return self._network(inputs)
        count, frames = batch.shape[:2]
        rows = self._network(inputs.flatten(0, 1))
        return rows.reshape(count, frames, self.size).mean(axis=1)


def _input_side(config: Any, family: Family) -> int:
    """Pixels of the model's square input."""
    if family.output == "video_embeds":
        config = config.video_config.vision_config
    side = getattr(config, "crop_size", None) or getattr(config, "image_size", None) or family.pixels
    return int(side if isinstance(side, int) else side[0])


def _size(config: Any, family: Family) -> int:
    if family.output == "video_embeds":
        return int(config.text_config.hidden_size)
    return int(config.projection_dim if family.output.endswith("embeds") else config.hidden_size)


def _normalization(folder: Path, family: Family) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation: from the model's own processor, else the family's."""
    own = processor(folder, "image_processor" if family.frames is None else "video_processor")
    if "image_mean" not in own or "image_std" not in own:
        return family.normalize
    mean, deviation = own["image_mean"], own["image_std"]
    if not all(
        isinstance(three, list) and len(three) == 3 and {*map(type, three)} <= {int, float}
        for three in (mean, deviation)
    ):
        raise InputError(
            f"{folder}: expected image_mean and image_std of three numbers, got {mean!r:.60}, {deviation!r:.60}"
        )
    if min(deviation) <= 0:
        raise InputError(f"{folder}: expected image_std above 0, got {deviation}")
    return tuple(mean), tuple(deviation)
