"""A run folder's weights: one safetensors file that holds all a person needs to use the model, and nothing executable.

RUN/model.safetensors   weights; metadata: classes, feature sizes and backbones, the whole configuration, a checksum
RUN/state.pt            all that --resume needs: a line with a checksum, then what torch.save writes, read with
                        weights_only
RUN/state.previous.pt   the state before that one
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

import avloc
from avloc.atomic import settled, whole_file, write_whole
from avloc.config import RunConfig
from avloc.errors import ConfigError, FormatError, InputError
from avloc.model import AudioVisualLocalizer, Normalization
from avloc.model_tian import TianLocalizer
from avloc.model_wtalc import WTALC

__all__ = [
    "MODEL_FILE",
    "PREVIOUS_FILE",
    "STATE_FILE",
    "Localizing",
    "ModelCard",
    "drop_states",
    "has_state",
    "is_whole",
    "latest_state",
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
PREVIOUS_FILE = "state.previous.pt"
_SCHEMA = "1"
_STATE_LINE = b"avloc training state, sha256 "
_log = logging.getLogger("avloc.train")


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

    @property
    def visual_normalize(self) -> Normalization:
        """How visual features are scaled. "auto" is l2 for what a network says, whose length means little, and "scale"
        for `appearance`, which measures: its length is how much moves."""
        asked = self.config.model.visual_normalize
        if asked != "auto":
            return asked
        return "scale" if self.backbones.get("visual") == "appearance" else "l2"

    def build(self) -> Localizing:
        """The network that `model.method` names, freshly initialised."""
        model = self.config.model
        if model.method == "w-talc":
            return WTALC(self.visual_size, len(self.classes), dropout=model.dropout, normalize=self.visual_normalize)
        if model.method == "tian":
            sizes = self.audio_size, self.visual_size, len(self.classes)
            return TianLocalizer(
                *sizes,
                grid_cells=model.grid_cells,
                audio_normalize=model.audio_normalize,
                visual_normalize=self.visual_normalize,
            )
        fields = model.model_dump(exclude={"method", "grid_cells"}) | {"visual_normalize": self.visual_normalize}
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
    metadata["sha256"] = _checksum(tensors, metadata)
    write_whole(path, settled(save(tensors, metadata)))


def load_model(run: Path) -> tuple[Localizing, ModelCard]:
    """Model and card of a run folder (or of a .safetensors file), on the CPU, in evaluation mode.

    Raises:
        InputError: there is no such run. FormatError: the file is damaged or not ours.
    """
    path = run if run.suffix == ".safetensors" else run / MODEL_FILE
    if not path.is_file():
        below = run / "run"
        advice = f"give {below}" if (below / MODEL_FILE).is_file() else "train one with `avloc train`"
        raise InputError(f"{run}: expected a run folder with {MODEL_FILE} in it; {advice}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise FormatError(f"{path}: expected safetensors weights: {error}") from error
    if metadata.get("schema") != _SCHEMA:
        raise FormatError(f"{path}: expected weights saved by avloc (schema {_SCHEMA}), got {metadata.get('schema')!r}")
    if metadata.pop("sha256", None) not in (None, _checksum(weights, metadata)):  # earlier files have none
        raise FormatError(
            f"{path}: damaged, its checksum does not agree with its content; `avloc train ... --resume` on that run "
            "writes it anew"
        )
    try:
        card = _card(metadata)
        _check_sizes(card, weights)
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, ArithmeticError, RecursionError) as error:
        raise FormatError(
            f"{path}: what it says of itself cannot be read, or does not fit its weights: {error}"
        ) from error
    model = card.build()
    model.load_state_dict(dict(weights))
    return model.eval(), card


def _card(metadata: Mapping[str, str]) -> ModelCard:
    return ModelCard(
        config=RunConfig.model_validate_json(metadata["config"]),
        classes=tuple(json.loads(metadata["classes"])),
        audio_size=int(metadata["audio_size"]),
        visual_size=int(metadata["visual_size"]),
        backbones=json.loads(metadata["backbones"]),
        step=int(metadata["step"]),
    )


def _check_sizes(card: ModelCard, weights: Mapping[str, torch.Tensor]) -> None:
    """ValueError when the configuration describes another model than the weights are of; takes no memory for it."""
    with torch.device("meta"):
        described = {name: tuple(value.shape) for name, value in card.build().state_dict().items()}
    there = {name: tuple(value.shape) for name, value in weights.items()}
    other = sorted({name for name in described | there if described.get(name) != there.get(name)})
    if other:
        name = other[0]
        raise ValueError(f"{name} should be {described.get(name, 'absent')}, is {there.get(name, 'absent')}")


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
    same = "embed_dim audio_embed_dim visual_embed_dim skip share_weight leaky_slope correlation_scale "
    same += "audio_normalize visual_normalize"
    a, b = theirs.config.model, card.config.model
    other = [f"model.{k} is {getattr(b, k)!r}, there {getattr(a, k)!r}" for k in same.split() if _differ(a, b, k)]
    if (theirs.audio_size, theirs.visual_size) != (card.audio_size, card.visual_size):
        other.append("the features have other sizes")
    if b.share_weight and model.fusion.num_stages > count:
        other.append("model.share_weight leaves nothing for later stages to learn")
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


def save_state(run: Path, state: Mapping[str, Any]) -> None:
    """Write a training state of tensors, numbers, strings, lists and dicts, with its checksum; keep the one before."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    content = buffer.getbuffer()
    with whole_file(run / STATE_FILE, keep=run / PREVIOUS_FILE) as part, part.open("wb") as file:
        file.write(_STATE_LINE + hashlib.sha256(content).hexdigest().encode() + b"\n")
        file.write(content)


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote; nothing in the file is executed.

    Raises:
        FormatError: it is damaged, or something else.
    """
    try:
        line, _, content = path.read_bytes().partition(b"\n")
    except OSError as error:
        raise FormatError(f"{path}: expected the training state of a run, cannot read it: {error.strerror}") from error
    if line != _STATE_LINE + hashlib.sha256(content).hexdigest().encode():
        raise FormatError(f"{path}: expected the training state of a run, its checksum does not agree with its content")
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises pickle.UnpicklingError for anything that is not plain data
        raise FormatError(f"{path}: refused, it holds more than plain training state: {error}") from error
    return state


def has_state(run: Path) -> bool:
    """Whether there is something to resume: a state, or the one before it."""
    return (run / STATE_FILE).exists() or (run / PREVIOUS_FILE).exists()


def latest_state(run: Path) -> dict[str, Any]:
    """The newest state of a run that is whole; says so when that is not the last one written.

    Raises:
        InputError: there is none. FormatError: all that are there are damaged.
    """
    if not has_state(run):
        raise InputError(f"{run}: nothing to resume, no {STATE_FILE} in it; leave --resume out to start")
    damage = []
    if not (run / STATE_FILE).exists():
        damage.append(f"{run / STATE_FILE}: not there, perhaps the run was killed while it was being replaced")
    for name in (STATE_FILE, PREVIOUS_FILE)[len(damage) :]:
        try:
            state = load_state(run / name)
        except FormatError as error:
            damage.append(str(error))
            continue
        if damage:
            _log.warning("%s; going on from the checkpoint before it, step %d", damage[0], state["step"])
        return state
    raise FormatError(f"{'; '.join(damage)}; there is nothing to go on from: start anew with --overwrite")


def is_whole(run: Path) -> bool:
    """Whether a run's model is there and undamaged."""
    try:
        load_model(run)
    except (InputError, FormatError):
        return False
    return True


def drop_states(run: Path) -> None:
    """Remove what only --resume needs."""
    for name in (PREVIOUS_FILE, STATE_FILE):
        (run / name).unlink(missing_ok=True)


def _checksum(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 of all that a model's file says: its words, and every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
