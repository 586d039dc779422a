"""Start from the weights of another run: `train.init_from`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avloc.config import RunConfig, with_overrides
from avloc.errors import ConfigError
from avloc.model.base import Model
from avloc.model.build import build
from avloc.model.checkpoint import ModelCard, load_model
from avloc.system.text import fingerprint
from avloc.types import FIRST_VERSION

WARM_STEPS = 50
"""Steps of a warm start. docs/decisions.md, Corrections, has the figures."""


def continued(run: Path, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """The configuration of a run, to train on from its weights with a short schedule.

    Args:
        overrides: as in `config.preset`; they win.

    Raises:
        InputError, FormatError: there is no such run. ConfigError: as `config.preset`.
    """
    _, card = load_model(run)
    own = card.config.train
    steps = min(WARM_STEPS, own.steps)
    schedule = {"train.steps": steps, "train.eval_every": max(1, steps // 4), "train.select_after": 0.5}
    start = {"train.init_from": str(run), "train.frozen_stages": 0}
    return with_overrides(card.config, {**schedule, **start, **(overrides or {})})


def digest_of(run: Path) -> str:
    """Digest of a run's weights and settings. Raises as `load_model`."""
    model, card = load_model(run)
    weights = {name: hashlib.sha256(w.numpy().tobytes()).hexdigest() for name, w in model.state_dict().items()}
    return fingerprint([weights, card.classes])


def take_weights(model: Model, card: ModelCard, run: Path) -> None:
    """Copy a run's weights and input norms into `model`; rows of classes that the run lacks stay as they are.

    Args:
        model: made by `card.build`. run: a finished run on the same features.

    Raises:
        ConfigError: features or settings of the model differ. InputError, FormatError: as `load_model`.
    """
    given, theirs = load_model(run)
    other = [f"{what} are {mine}, there {its}" for what, mine, its in _facts(card, theirs) if mine != its]
    weights, own = given.state_dict(), model.state_dict()
    by_class = _by_class(card)
    if not other and _shapes(weights, by_class) != _shapes(own, by_class):
        a, b = theirs.config.model.model_dump(), card.config.model.model_dump()
        other = [f"model.{key} is {b[key]!r}, there {a[key]!r}" for key in a if a[key] != b[key]] or ["weights differ"]
    if other:
        raise ConfigError(
            f"{run}: its weights do not fit: {'; '.join(other)}; use the run's features and settings (without --preset "
            "and --config they are taken from it)"
        )
    rows = [(k, theirs.classes.index(name)) for k, name in enumerate(card.classes) if name in theirs.classes]
    to, source = (torch.tensor([pair[i] for pair in rows], dtype=torch.long) for i in (0, 1))
    with torch.no_grad():
        for name, tensor in own.items():
            if name in by_class:
                first = len(tensor) - len(card.classes)  # rows before the classes: background
                tensor[:first] = weights[name][:first]
                tensor[first + to] = weights[name][first + source]
            else:
                tensor.copy_(weights[name])


def _facts(card: ModelCard, theirs: ModelCard) -> list[tuple[str, object, object]]:
    """(name, value, value there) of what the weights depend on besides the settings of the model."""
    facts: list[tuple[str, object, object]] = []
    for name in ("audio", "visual"):
        backbone, its = card.backbones.get(name, "absent"), theirs.backbones.get(name, "absent")
        version, there = (c.versions.get(name, FIRST_VERSION) for c in (card, theirs))
        facts.append((f"{name} features", f"{backbone} {version}", f"{its} {there}"))
        size, its_size = (getattr(c, f"{name}_size") for c in (card, theirs))
        facts.append((f"{name} channels", size, its_size))
    facts.append(("seconds per snippet", float(card.config.extract.step), float(theirs.config.extract.step)))
    return facts


def _by_class(card: ModelCard) -> set[str]:
    """Names of the weights whose rows are classes: those whose shape follows from the number of classes."""
    config, count = card.config.model, len(card.classes)
    with torch.device("meta"):
        a, b = (build(config, card.audio_size, card.visual_size, n).state_dict() for n in (count, count + 1))
    return {name for name in a if a[name].shape != b[name].shape}


def _shapes(weights: Mapping[str, Tensor], by_class: set[str]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(w.shape[1:] if name in by_class else w.shape) for name, w in weights.items()}
