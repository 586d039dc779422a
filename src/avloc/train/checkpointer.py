"""Save and restore a run: RUN/model.safetensors and RUN/state.pt."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from avloc.config import RunConfig, differences
from avloc.errors import ConfigError, InputError
from avloc.model.checkpoint import ModelCard, save_model
from avloc.model.files import MODEL_FILE
from avloc.train.learner import Learner
from avloc.train.prepare import require_same
from avloc.train.state import latest_state, save_state


class Checkpointer:
    """Saves the best weights and the training state. Only the first process calls `save`.

    Args:
        facts: `TrainingData.facts`, which must not change before a run is resumed.

    Attributes:
        step: the last saved step. best, best_step: score and step of the best weights.
        improved: the last step with a better score than all before.
    """

    def __init__(self, out: Path, card: ModelCard, learner: Learner, facts: Mapping[str, str]) -> None:
        self.out, self.card, self.learner, self.facts = out, card, learner, dict(facts)
        self.step, self.best, self.best_step, self.improved = 0, -math.inf, 0, 0
        self._kept: dict[str, Tensor] = {}  # also in the state, to rewrite a damaged model file

    def save(self, step: int, score: float | None) -> None:
        """Save the state, and the weights if their score is the best so far or None."""
        self.step, train = step, self.card.config.train
        if step >= train.select_after * train.steps and (score is None or score >= self.best):
            if score is None or score > self.best:
                self.improved = step
            self.best, self.best_step = (-math.inf if score is None else score), step
            weights = self.learner.eval_model.state_dict()
            self._kept = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
            self._save_kept()
        state = {
            "step": step,
            "best": float(self.best),
            "best_step": self.best_step,
            "improved": self.improved,
            "kept": self._kept,
            **self.learner.state_dict(),
            "config": self.card.config.model_dump_json(),
            "data": self.facts,
        }
        save_state(self.out, state)

    def restore(self, rewrite: bool) -> None:
        """Load the last checkpoint.

        Args:
            rewrite: also rewrite the file of the best weights, which may be missing or damaged.

        Raises:
            InputError: there is no state, or the data or the frozen stages have changed.
            ConfigError: options have changed. FormatError: the state is damaged.
        """
        state = latest_state(self.out)
        differing = differences(RunConfig.model_validate_json(state["config"]), self.card.config)
        if differing:
            raise ConfigError(f"{self.out} was trained with other settings, cannot resume: {'; '.join(differing)}")
        require_same(self.out, state.get("data", {}), self.facts)
        for name, weight in self.learner.module.named_parameters():
            if not weight.requires_grad and not torch.equal(weight.cpu(), state["model"][name]):
                init_from = self.card.config.train.init_from
                raise InputError(f"{self.out} began with other stages than {init_from} has now")
        self.learner.load_state_dict(state)
        self.step, self.best, self.best_step = state["step"], state["best"], state["best_step"]
        self.improved = state.get("improved", self.best_step)  # states of earlier versions lack it
        self._kept = state["kept"]
        if self._kept and rewrite:
            self._save_kept()

    @property
    def stalled(self) -> bool:
        """Whether the last `train.patience` validations brought no better score."""
        train = self.card.config.train
        return 0 < train.patience * train.eval_every <= self.step - self.improved and self.improved > 0

    def _save_kept(self) -> None:
        save_model(self.out / MODEL_FILE, replace(self.card, step=self.best_step), self._kept)
