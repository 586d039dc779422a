"""The network in training, its optimizer and its teacher."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from avloc.errors import ConfigError
from avloc.model.base import Model
from avloc.model.checkpoint import ModelCard
from avloc.model.network import InputNorm
from avloc.train.dataset import WeakDataset
from avloc.train.frozen import take_stages
from avloc.train.teacher import teacher_of
from avloc.train.warm import take_weights


@dataclass(frozen=True)
class Learner:
    """A network in training.

    Args:
        model: the network, wrapped by the engine.
        optimizer: Adam over the weights that are not frozen.
        teacher: the averaged network, which makes the pseudo-labels and is saved; None if `train.teacher_decay` is 0.
    """

    model: Any
    optimizer: Any
    teacher: AveragedModel | None

    @property
    def module(self) -> Model:
        """The network, unwrapped."""
        return cast(Model, self.model.module)

    @property
    def eval_model(self) -> Model:
        """The network that is validated and saved: the teacher, if any."""
        return self.module if self.teacher is None else cast(Model, self.teacher.module)

    def gradient_norm(self) -> Float[Tensor, ""]:
        gradients = [p.grad.norm() for p in self.module.parameters() if p.grad is not None]
        return torch.stack(gradients).norm()

    def update(self) -> None:
        """Step the optimizer and update the teacher."""
        self.optimizer.step()
        if self.teacher is not None:
            self.teacher.update_parameters(self.module)

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.module.state_dict(),
            "teacher": {} if self.teacher is None else self.teacher.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["model"])
        if self.teacher is not None:
            self.teacher.load_state_dict(state["teacher"])
        self.optimizer.load_state_dict(state["optimizer"])


def learner_of(fabric: Fabric, card: ModelCard, train: WeakDataset) -> Learner:
    """A freshly initialised network with the training set's statistics, or the weights or stages of `train.init_from`.

    Raises:
        ConfigError: the features lack a modality, or the weights of the other run do not fit.
    """
    config = card.config.train
    torch.manual_seed(config.seed)
    try:
        module = card.build()
    except ValueError as error:
        there = [name for name, size in (("audio", card.audio_size), ("visual", card.visual_size)) if size]
        advice = f"{there[0]} only: --set model.modality={there[0]}" if len(there) == 1 else " and ".join(there)
        raise ConfigError(f"{error}; the features have {advice}") from error
    _fit_norms(module, train)
    if config.init_from is not None and config.frozen_stages:
        take_stages(module, card, Path(config.init_from), config.frozen_stages)
    elif config.init_from is not None:
        take_weights(module, card, Path(config.init_from))
    learning = [p for p in module.parameters() if p.requires_grad]
    adam = torch.optim.Adam(learning, lr=config.learning_rate, weight_decay=config.weight_decay)
    model, optimizer = fabric.setup(module, adam)
    return Learner(model, optimizer, teacher_of(model.module, config.teacher_decay))


def _fit_norms(module: Model, train: WeakDataset) -> None:
    norms = {name: norm for name, norm in module.norms.items() if isinstance(norm, InputNorm) and norm.fitted}
    if not norms:
        return
    statistics = train.statistics()
    for name, norm in norms.items():
        if (moments := getattr(statistics, name)) is not None:
            norm.fit(torch.from_numpy(moments[0]), torch.from_numpy(moments[1]))
