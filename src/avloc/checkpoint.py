"""A run folder's weights: one safetensors file that holds all a person needs to use the model, and nothing executable.

RUN/model.safetensors   weights; metadata: classes, feature sizes and backbones, the whole configuration
RUN/state.pt            what --resume needs beside them (read with weights_only)
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

import avloc
from avloc.atomic import settled, write_whole
from avloc.config import RunConfig
from avloc.errors import ConfigError, FormatError, InputError
from avloc.model import AudioVisualLocalizer
from avloc.model_tian import TianLocalizer
from avloc.model_wtalc import WTALC

__all__ = [
    "MODEL_FILE",
    "STATE_FILE",
    "Localizing",
    "ModelCard",
    "load_model",
    "load_state",
    "save_model",
    "save_state",
    "take_stages",
]

Localizing = AudioVisualLocalizer | WTALC | TianLocalizer
"""Whatever turns a Batch into a SnippetOutput: the paper's model and its rivals."""

MODEL_FILE = "model.safetensors"
STATE_FILE = "state.pt"
_SCHEMA = "1"


@dataclass(frozen=True)
class ModelCard:
    """What a model needs to know of itself.

    Args:
        config: the configuration it was trained with.
        classes: C names, in column order.
        audio_size, visual_size: d_u and d_v.
        backbones: {"audio": name, "visual": name} of the features it was trained on; a name may be absent.
        step: training steps behind these weights.
    """

    config: RunConfig
    classes: tuple[str, ...]
    audio_size: int
    visual_size: int
    backbones: Mapping[str, str]
    step: int = 0

    def build(self) -> Localizing:
        """The network that `model.method` names, freshly initialised."""
        model = self.config.model
        if model.method == "w-talc":
            return WTALC(self.visual_size, len(self.classes), dropout=model.dropout, normalize=model.normalize)
        if model.method == "tian":
            sizes = self.audio_size, self.visual_size, len(self.classes)
            return TianLocalizer(*sizes, grid_cells=model.grid_cells, normalize=model.normalize)
        fields = model.model_dump(exclude={"method", "grid_cells"})
        return AudioVisualLocalizer(self.audio_size, self.visual_size, len(self.classes), **fields)


def save_model(path: Path, card: ModelCard, weights: Mapping[str, torch.Tensor]) -> None:
    """Write weights and card, whole or not at all."""
    metadata = {
        "schema": _SCHEMA,
        "avloc": avloc.__version__,
        "config": card.config.model_dump_json(),
        "classes": json.dumps(card.classes),
        "audio_size": str(card.audio_size),
        "visual_size": str(card.visual_size),
        "backbones": json.dumps(dict(card.backbones)),
        "step": str(card.step),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    write_whole(path, settled(save(tensors, metadata)))


def load_model(run: Path) -> tuple[Localizing, ModelCard]:
    """Model and card of a run folder (or of a .safetensors file), on the CPU, in evaluation mode.

    Raises:
        InputError: there is no such run. FormatError: the file is damaged or not ours.
    """
    path = run if run.suffix == ".safetensors" else run / MODEL_FILE
    if not path.is_file():
        raise InputError(f"{run}: expected a run folder with {MODEL_FILE} in it; train one with `avloc train`")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise FormatError(f"{path}: expected safetensors weights: {error}") from error
    if metadata.get("schema") != _SCHEMA:
        raise FormatError(f"{path}: expected weights saved by avloc (schema {_SCHEMA}), got {metadata.get('schema')!r}")
    card = ModelCard(
        config=RunConfig.model_validate_json(metadata["config"]),
        classes=tuple(json.loads(metadata["classes"])),
        audio_size=int(metadata["audio_size"]),
        visual_size=int(metadata["visual_size"]),
        backbones=json.loads(metadata["backbones"]),
        step=int(metadata["step"]),
    )
    model = card.build()
    _load_weights(model, weights, path)
    return model.eval(), card


def _load_weights(model: nn.Module, weights: Mapping[str, torch.Tensor], path: Path) -> None:
    try:
        model.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise FormatError(f"{path}: the weights do not fit the configuration beside them: {error}") from error


def take_stages(model: nn.Module, card: ModelCard, run: Path, count: int) -> None:
    """Copy a run's input norms, embeddings and first `count` stages into `model`, and freeze them (Table 7).

    What comes after them, later stages and the classifier, stays as it was initialised and learns.

    Args:
        model: as `card.build` made it. run: a finished run on the same features and classes.

    Raises:
        ConfigError: the run has other features, other fusion settings, or fewer stages than that.
        InputError, FormatError: as `load_model`.
    """
    given, theirs = load_model(run)
    if not isinstance(model, AudioVisualLocalizer) or not isinstance(given, AudioVisualLocalizer):
        raise ConfigError("train.frozen_stages is for model.method=avloc: only it has stages of cross-attention")
    if given.fusion is None or model.fusion is None or min(given.fusion.num_stages, model.fusion.num_stages) < count:
        raise ConfigError(f"{run}: expected {count} stages to take, into a model of at least as many")
    same = "embed_dim audio_embed_dim visual_embed_dim skip share_weight leaky_slope correlation_scale normalize"
    a, b = theirs.config.model, card.config.model
    other = [f"model.{k} is {getattr(b, k)!r}, there {getattr(a, k)!r}" for k in same.split() if _differ(a, b, k)]
    if (theirs.audio_size, theirs.visual_size) != (card.audio_size, card.visual_size):
        other.append("the features have other sizes")
    if other:
        raise ConfigError(f"{run}: its stages do not fit this model: {'; '.join(other)}")
    model.norms.load_state_dict(given.norms.state_dict())
    model.embeds.load_state_dict(given.embeds.state_dict())
    model.embeds.requires_grad_(False)
    for stage in range(1, count + 1):
        model.fusion.weight(stage).data.copy_(given.fusion.weight(stage).data)
        model.fusion.weight(stage).requires_grad_(False)


def _differ(a: object, b: object, name: str) -> bool:
    return bool(getattr(a, name) != getattr(b, name))


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a training state of tensors, numbers, strings, lists and dicts, whole or not at all."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write_whole(path, buffer.getvalue())


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote; nothing in the file is executed."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise FormatError(f"{path}: expected the training state of a run: {error}") from error
    except Exception as error:  # torch raises pickle.UnpicklingError for anything that is not plain data
        raise FormatError(f"{path}: refused, it holds more than plain training state: {error}") from error
    return state
