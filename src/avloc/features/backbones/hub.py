"""Models of the Hugging Face hub through `transformers` (the "hf" extra); the families are in families.py.

Named `clip` (the family's default repository) or `clip:owner/repository`; `--weights clip=FOLDER` takes a folder that
holds config.json and model.safetensors instead of the network. Only safetensors are read. The hub's own client checks
what it downloads, and the hash of the file that was loaded goes into each feature file.

Pictures are cropped and normalised here as the models' cards say; the resizing is ffmpeg's bilinear in the decoding
pass, where the models' own processors use Pillow's bicubic. torchvision is not needed.
"""

from __future__ import annotations

import json
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

__all__ = ["HubAudio", "HubVisual", "load_hub"]


def load_hub(name: str, setup: Setup | None = None) -> HubVisual | HubAudio:
    """The backbone `family` or `family:owner/repository`.

    Raises:
        InputError: transformers is missing, or the weights are not here and cannot be fetched.
    """
    setup = setup or Setup()
    family = FAMILIES[name.partition(":")[0]]
    return (HubAudio if family.modality == "audio" else HubVisual)(name, family, setup)


class _Reading(nn.Module):
    """A model of transformers that gives its feature and nothing else."""

    def __init__(self, model: nn.Module, output: str, more: dict[str, Any]) -> None:
        super().__init__()
        self.model = model
        self._output, self._more = output, more

    def forward(self, inputs: Tensor) -> Float[Tensor, "n size"]:
        answer = self.model(inputs, **self._more)
        return answer.last_hidden_state.mean(dim=1) if self._output == "tokens" else getattr(answer, self._output)


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
            (self._crop, self._crop) if family.picture == "squash" else round(family.side * self._crop)
        )
        more = {"skip_predictor": True} if family.model == "VJEPA2Model" else {}
        self.size = int(
            getattr(config, "projection_dim", 0) if family.output.endswith("embeds") else config.hidden_size
        )
        self._normalization = _normalization(folder, family)
        reading = _Reading(model, family.output, more)
        self._network = Network(reading, setup, prefers_bfloat16=True, at_once=4 if self._clips else 32)

    def __call__(self, batch: UInt8[np.ndarray, "n frames h w 3"]) -> Float32[np.ndarray, "n size"]:
        """One row per snippet: of the whole clip, or the mean over its frames."""
        inputs = normalized(batch, self._normalization, self._crop, self._network.device)
        if self._clips:
            return self._network(inputs)
        count, frames = batch.shape[:2]
        rows = self._network(inputs.flatten(0, 1))
        return rows.reshape(count, frames, self.size).mean(axis=1)


class HubAudio:
    """(n, samples) -> (n, size); what the snippet itself sounds like, filled up as the model's front end does."""

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
            raise InputError(f"{name}: this CLAP fuses long sounds, which snippets are not; use an unfused one")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # AST's own bands are narrower than its spectrum's bins: so it was trained
            self._front = getattr(transformers, family.extractor)(**_front_end(config, family, folder))
        self._network = Network(_Reading(model, family.output, {}), setup, prefers_bfloat16=True, at_once=4)

    def __call__(self, batch: Float32[np.ndarray, "n samples"]) -> Float32[np.ndarray, "n size"]:
        """One row per window."""
        longest = getattr(self._front, "nb_max_samples", batch.shape[1])  # CLAP would cut at random: the middle instead
        first = max(0, batch.shape[1] - longest) // 2
        batch = batch[:, first : first + longest]
        rows = [self._front(row, sampling_rate=self.rate_hz, return_tensors="np") for row in batch]
        inputs = np.concatenate([next(iter(row.values())) for row in rows]).astype(np.float32)
        return self._network(torch.from_numpy(inputs))


def _load(name: str, family: Family, setup: Setup) -> tuple[Any, str, Path | None]:
    """(model, which weights, local folder or None). Every weight must be there: transformers would invent the rest."""
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
            f"the weights of {where} are not here and cannot be fetched ({str(error).splitlines()[0][:150]}). "
            f"Get them on a machine with a network, `hf download {public} --local-dir FOLDER`, "
            f"and give --weights {stem}=FOLDER"
        ) from error
    missing = sorted(key for key in report["missing_keys"] if not key.endswith("position_ids"))
    if missing:
        raise InputError(
            f"{where}: {len(missing)} weights of {family.model} are missing, e.g. {', '.join(missing[:3])}"
        )
    return model, _which(where, folder, model), folder


def _which(where: str, folder: Path | None, model: Any) -> str:
    if folder is not None:
        files = sorted(folder.glob("*.safetensors"))
        return "; ".join(describe_weights(path) for path in files)
    return f"{where}@{getattr(model.config, '_commit_hash', None) or 'main'}"


def _normalization(folder: Path | None, family: Family) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation: the folder's own preprocessor_config.json, else the family's."""
    own = _preprocessor(folder)
    if "image_mean" in own and "image_std" in own:
        return tuple(own["image_mean"]), tuple(own["image_std"])
    return family.normalize


def _front_end(config: Any, family: Family, folder: Path | None) -> dict[str, Any]:
    """Settings of the audio front end: the folder's own, else the class's defaults, in the model's shape."""
    own = {key: value for key, value in _preprocessor(folder).items() if not key.endswith("_type")}
    if own:
        return own
    if family.extractor == "ClapFeatureExtractor":
        return {"truncation": "rand_trunc"}  # one spectrogram; the class's default makes four, for fusion
    return {"max_length": config.max_length, "num_mel_bins": config.num_mel_bins}


def _preprocessor(folder: Path | None) -> dict[str, Any]:
    path = folder / "preprocessor_config.json" if folder is not None else None
    if path is None or not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: expected the JSON of a processor, cannot read it ({error})") from error
