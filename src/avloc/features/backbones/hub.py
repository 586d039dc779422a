"""Hugging Face models through `transformers` (the "hf" extra); the families are in families.py.

Names are `clip` (the default repository of the family) or `clip:owner/repository`. `--weights clip=FOLDER` reads a
local folder with config.json and model.safetensors instead of downloading. Only safetensors are read. The hub's client
verifies its downloads, and each feature file records the hash (local folder) or commit (hub) of the weights.

Frames are cropped and normalised here as the model cards specify. They are resized by ffmpeg's bilinear filter while
decoding; the models' own processors use Pillow's bicubic. torchvision is not needed.
"""

from __future__ import annotations

import json
import os
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from avloc.errors import InputError
from avloc.features.backbones.families import FAMILIES, Family
from avloc.features.backbones.network import Network, describe_weights, normalized
from avloc.features.backbones.protocol import Setup


def load_hub(name: str, setup: Setup | None = None) -> HubVisual | HubAudio:
    """Load the backbone `family` or `family:owner/repository`.

    Raises:
        InputError: transformers is missing, or the weights cannot be found or downloaded.
    """
    setup = setup or Setup()
    family = FAMILIES[name.partition(":")[0]]
    return (HubAudio if family.modality == "audio" else HubVisual)(name, family, setup)


class _FeatureModel(nn.Module):
    """A transformers model reduced to its feature tensor."""

    def __init__(self, model: nn.Module, output: str, options: dict[str, Any]) -> None:
        super().__init__()
        self.model = model
        self._output, self._options = output, options

    def forward(self, inputs: Tensor) -> Float[Tensor, "n size"]:
        outputs = self.model(inputs, **self._options)
        return outputs.last_hidden_state.mean(dim=1) if self._output == "tokens" else getattr(outputs, self._output)


class HubVisual:
    """(n, frames, h, w, 3) -> (n, size)."""

    modality = "visual"

    def __init__(self, name: str, family: Family, setup: Setup) -> None:
        self.name, self.licence = name, family.licence
        self.weights: str | None
        model, self.weights, folder = _load(name, family, setup)
        config = model.config
        side = getattr(config, "crop_size", None) or config.image_size
        self._clips = family.frames is not None
        self.frame_rate: Fraction | None = None if self._clips else family.frame_rate
        self.frames_per_snippet: int | None = (
            (getattr(config, "num_frames", None) or family.frames) if self._clips else None
        )
        self._crop = int(side)
        self.frame_size: tuple[int, int] | int = (
            (self._crop, self._crop) if family.resize == "squash" else round(family.side * self._crop)
        )
        options = {"skip_predictor": True} if family.model == "VJEPA2Model" else {}
        self.size = int(
            getattr(config, "projection_dim", 0) if family.output.endswith("embeds") else config.hidden_size
        )
        self._normalization = _normalization(folder, family)
        features = _FeatureModel(model, family.output, options)
        self._network = Network(features, setup, prefers_bfloat16=True, at_once=4 if self._clips else 32)

    def __call__(self, batch: UInt8[np.ndarray, "n frames h w 3"]) -> Float32[np.ndarray, "n size"]:
        """One row per snippet: of the whole clip, or the mean over its frames."""
        inputs = normalized(batch, self._normalization, self._crop, self._network.device)
        if self._clips:
            return self._network(inputs)
        count, frames = batch.shape[:2]
        rows = self._network(inputs.flatten(0, 1))
        return rows.reshape(count, frames, self.size).mean(axis=1)


class HubAudio:
    """(n, samples) -> (n, size), from the snippet's own audio, padded by the model's front end."""

    modality = "audio"
    window_s: Fraction | None = None

    def __init__(self, name: str, family: Family, setup: Setup) -> None:
        import transformers

        self.name, self.licence, self.rate_hz = name, family.licence, family.rate_hz
        self.weights: str | None
        model, self.weights, folder = _load(name, family, setup)
        config = model.config
        self.size = int(config.projection_dim if family.output.endswith("embeds") else config.hidden_size)
        if getattr(config, "enable_fusion", False):
            raise InputError(f"{name}: this CLAP model fuses long audio, but snippets are short; use an unfused model")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some mel bands of AST are narrower than an FFT bin, as in its training
            self._front = getattr(transformers, family.extractor)(**_front_end(config, family, folder))
        self._network = Network(_FeatureModel(model, family.output, {}), setup, prefers_bfloat16=True, at_once=4)

    def __call__(self, batch: Float32[np.ndarray, "n samples"]) -> Float32[np.ndarray, "n size"]:
        """One row per window."""
        longest = getattr(self._front, "nb_max_samples", batch.shape[1])  # CLAP crops at random; crop the centre
        first = max(0, batch.shape[1] - longest) // 2
        batch = batch[:, first : first + longest]
        rows = [self._front(row, sampling_rate=self.rate_hz, return_tensors="np") for row in batch]
        inputs = np.concatenate([next(iter(row.values())) for row in rows]).astype(np.float32)
        return self._network(torch.from_numpy(inputs))


def _load(name: str, family: Family, setup: Setup) -> tuple[Any, str, Path | None]:
    """(model, description of its weights, local folder or None).

    Missing weights are an error; transformers would initialise them at random.
    """
    try:
        import transformers
    except ImportError as error:
        raise InputError(
            f"{name} needs transformers, which is not installed or does not load ({error}); install it with "
            "`pip install 'avloc[hf]'`"
        ) from error
    stem, _, repository = name.partition(":")
    chosen = setup.weights.get(name, setup.weights.get(stem, setup.weights.get("*")))
    where = chosen or repository or family.repository
    folder = Path(where) if chosen is not None else None
    if folder is not None and not (folder / "config.json").is_file():
        raise InputError(f"--weights {name}={where}: expected a folder with config.json and model.safetensors")
    public = repository or family.repository
    transformers.utils.logging.disable_progress_bar()
    try:
        model, report = getattr(transformers, family.model).from_pretrained(
            where, use_safetensors=True, output_loading_info=True, local_files_only=folder is not None
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"the weights of {where} cannot be loaded or downloaded ({str(error).splitlines()[0][:150]}). "
            f"Download them on a machine with network access, `hf download {public} --local-dir FOLDER`, "
            f"and give --weights {stem}=FOLDER"
        ) from error
    missing = sorted(key for key in report["missing_keys"] if not key.endswith("position_ids"))
    if missing:
        raise InputError(
            f"{where}: {len(missing)} weights of {family.model} are missing, e.g. {', '.join(missing[:3])}"
        )
    return model, _weights_source(where, folder, model), folder


def _weights_source(where: str, folder: Path | None, model: Any) -> str:
    if folder is not None:
        files = sorted(folder.glob("*.safetensors"))
        return "; ".join(describe_weights(path) for path in files)
    return f"{where}@{getattr(model.config, '_commit_hash', None) or 'main'}"


def _normalization(folder: Path | None, family: Family) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation: from the folder's preprocessor_config.json, else the family's."""
    own = _preprocessor(folder)
    if "image_mean" in own and "image_std" in own:
        return tuple(own["image_mean"]), tuple(own["image_std"])
    return family.normalize


def _front_end(config: Any, family: Family, folder: Path | None) -> dict[str, Any]:
    """Settings of the audio front end: the folder's, else the class defaults adapted to the model's input shape."""
    own = {key: value for key, value in _preprocessor(folder).items() if not key.endswith("_type")}
    if own:
        return own
    if family.extractor == "ClapFeatureExtractor":
        return {"truncation": "rand_trunc"}  # one spectrogram; the default makes four, for fusion
    return {"max_length": config.max_length, "num_mel_bins": config.num_mel_bins}


def _preprocessor(folder: Path | None) -> dict[str, Any]:
    path = folder / "preprocessor_config.json" if folder is not None else None
    if path is None or not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: expected the JSON of a processor, but it is unreadable ({error})") from error


def fetch(repository: str) -> Path:
    """Download a model of the hub to its cache, and return the folder. Raises InputError if that fails."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise InputError(f"{repository} needs huggingface_hub; `pip install 'avloc[hf]'`") from error
    try:
        return Path(snapshot_download(repository, local_files_only=bool(os.environ.get("AVLOC_OFFLINE"))))
    except (OSError, ValueError) as error:
        raise InputError(f"{repository} cannot be downloaded: {str(error).splitlines()[0][:200]}") from error
