"""RUN/model.safetensors: a model's weights and, as metadata, its `ModelCard` and a checksum. Nothing is executable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from avloc.config import MOST_CHANNELS, Normalization, RunConfig
from avloc.errors import FormatError, InputError, first_few
from avloc.model.base import Model
from avloc.model.build import build
from avloc.model.files import MODEL_FILE
from avloc.system.atomic import atomic_write, canonical_safetensors, check_safetensors
from avloc.system.text import json_text, nfc
from avloc.types import Short
from avloc.version import __version__

_SCHEMA = "1"
_MOST_CLASSES = 100_000
_MOST_HEADER, _MOST_FACT = 16 << 20, 4 << 20


@dataclass(frozen=True, repr=False)
class ModelCard(Short):
    """Everything besides the weights that is needed to rebuild and use a model.

    Args:
        config: the training configuration.
        classes: C names, in column order.
        audio_size, visual_size: d_u and d_v.
        backbones: {"audio": name, "visual": name} of the training features; a name may be absent.
        step: training steps so far.
        backbone_normalize: the scaling on the visual backbone's card, used for `model.visual_normalize=auto`.
        versions: {"audio": version, "visual": version} of those backbones; "1" where absent.

    Raises:
        ValueError: a field of another type, or out of range.
    """

    config: RunConfig
    classes: tuple[str, ...]
    audio_size: int
    visual_size: int
    backbones: Mapping[str, str]
    step: int = 0
    backbone_normalize: Normalization = "l2"
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = self.classes
        if not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
            raise ValueError("classes should be different names")
        if not 1 <= len(names) <= _MOST_CLASSES:
            raise ValueError(f"expected 1 to {_MOST_CLASSES} classes, got {len(names)}")
        for size in (self.audio_size, self.visual_size):
            if type(size) is not int or not 0 <= size <= MOST_CHANNELS:
                raise ValueError(f"expected features of 0 to {MOST_CHANNELS} channels, got {size!r:.40}")
        for what in (self.backbones, self.versions):
            known = isinstance(what, Mapping) and set(what) <= {"audio", "visual"}
            if not known or not all(isinstance(value, str) and 0 < len(value) < 300 for value in what.values()):
                raise ValueError(f"expected names of an audio and a visual backbone, got {what!r:.80}")
        if type(self.step) is not int or self.step < 0 or self.backbone_normalize not in get_args(Normalization):
            raise ValueError(f"step {self.step!r:.40}, backbone_normalize {self.backbone_normalize!r:.40}")

    @property
    def visual_normalize(self) -> Normalization:
        """Scaling of visual features, with "auto" resolved."""
        asked = self.config.model.visual_normalize
        return self.backbone_normalize if asked == "auto" else asked

    def build(self) -> Model:
        """A freshly initialised model."""
        config = self.config.model.model_copy(update={"visual_normalize": self.visual_normalize})
        return build(config, self.audio_size, self.visual_size, len(self.classes))


def save_model(path: Path, card: ModelCard, weights: Mapping[str, torch.Tensor]) -> None:
    """Write weights and card atomically."""
    metadata = {
        "schema": _SCHEMA,
        "avloc": __version__,
        "config": card.config.model_dump_json(),
        "classes": json_text(card.classes),
        "audio_size": str(card.audio_size),
        "visual_size": str(card.visual_size),
        "backbones": json_text(dict(card.backbones)),
        "step": str(card.step),
        "backbone_normalize": card.backbone_normalize,
        "versions": json_text(dict(card.versions)),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    metadata["sha256"] = _checksum(tensors, metadata)
    atomic_write(path, canonical_safetensors(save(tensors, metadata)))


def load_model(run: Path, checksum: bool = True) -> tuple[Model, ModelCard]:
    """Model and card of a run folder or .safetensors file, on the CPU, in evaluation mode.

    Names and shapes are compared with the card before a weight is read.

    Args:
        checksum: refuse a file whose checksum is wrong or missing. Files of versions that wrote none are read.

    Raises:
        InputError: there is no model. FormatError: the file is damaged, not written by avloc, or has NaN or infinity.
    """
    path = run if run.suffix == ".safetensors" else run / MODEL_FILE
    if not path.is_file():
        below = run / "run"
        advice = f"give {below}" if (below / MODEL_FILE).is_file() else "train one with `avloc train`"
        raise InputError(f"{run}: expected a run folder with {MODEL_FILE} in it; {advice}")
    check_safetensors(path, _MOST_HEADER)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("schema") != _SCHEMA:
                got = metadata.get("schema")
                raise FormatError(f"{path}: expected weights saved by avloc (schema {_SCHEMA}), got {got!r:.40}")
            stated = metadata.pop("sha256", None)
            names = list(file.keys())
            card = _described(path, metadata, {name: tuple(file.get_slice(name).get_shape()) for name in names})
            weights = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise FormatError(f"{path}: expected safetensors weights: {error}") from error
    if checksum:
        _check_sum(path, stated, metadata, weights)
    wrong = [name for name, value in weights.items() if value.is_floating_point() and not value.isfinite().all()]
    if wrong:
        raise FormatError(f"{path}: NaN or infinity in {first_few(wrong, 3)}; the model finds nothing, train it again")
    model = card.build()
    model.load_state_dict(dict(weights))
    return model.eval(), card


def _described(path: Path, metadata: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]) -> ModelCard:
    try:
        card = _card(metadata)
        _check_sizes(card, shapes)
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, ArithmeticError, RecursionError) as error:
        raise FormatError(f"{path}: its metadata cannot be read or does not match its weights: {error}") from error
    return card


def _check_sum(
    path: Path, stated: str | None, metadata: Mapping[str, str], weights: Mapping[str, torch.Tensor]
) -> None:
    if stated is None and "backbone_normalize" in metadata:  # earlier versions wrote neither
        raise FormatError(
            f"{path}: has no checksum, as avloc writes it: it was changed by another program. If you trust it, add "
            "--no-checksum (in Python: checksum=False)"
        )
    if stated not in (None, _checksum(weights, metadata)):
        raise FormatError(
            f"{path}: damaged, its checksum does not match its content; `avloc train ... --resume` on that run "
            "rewrites it"
        )


def _card(metadata: Mapping[str, str]) -> ModelCard:
    if long := [name for name, fact in metadata.items() if len(fact) > _MOST_FACT]:
        raise ValueError(f"{first_few(long, 3)} has more than {_MOST_FACT} characters")
    backbones = json.loads(metadata["backbones"])
    # files of earlier versions lack this key: `appearance` was the one backbone scaled otherwise than by l2
    normalize = metadata.get("backbone_normalize", "scale" if backbones.get("visual") == "appearance" else "l2")
    if normalize not in get_args(Normalization):
        raise ValueError(f"backbone_normalize {normalize!r}")
    return ModelCard(
        config=RunConfig.model_validate_json(metadata["config"]),
        classes=_names(json.loads(metadata["classes"])),
        audio_size=int(metadata["audio_size"]),
        visual_size=int(metadata["visual_size"]),
        backbones=backbones,
        step=int(metadata["step"]),
        backbone_normalize=cast(Normalization, normalize),
        versions=dict(json.loads(metadata.get("versions", "{}"))),
    )


def _names(classes: Any) -> tuple[str, ...]:
    if not isinstance(classes, list):
        raise ValueError(f"classes should be a list, is {type(classes).__name__}")
    return tuple(map(nfc, classes))


def _check_sizes(card: ModelCard, found: Mapping[str, tuple[int, ...]]) -> None:
    """Raises ValueError if names or shapes of the weights differ from the configured model's. Allocates no weights."""
    with torch.device("meta"):
        described = {name: tuple(value.shape) for name, value in card.build().state_dict().items()}
    for name in sorted(described.keys() | found.keys()):
        if described.get(name) != found.get(name):
            raise ValueError(f"{name} should be {described.get(name, 'absent')}, is {found.get(name, 'absent')}")


def is_whole(run: Path) -> bool:
    """Whether a run has an undamaged model."""
    try:
        load_model(run)
    except (InputError, FormatError):
        return False
    return True


def _checksum(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 of the metadata and of every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(json_text(dict(metadata), sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
