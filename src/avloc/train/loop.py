"""One training loop: resumable at any validation, the same on one process or many (lightning-fabric)."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from lightning_fabric import Fabric
from torch import Tensor

from avloc.config import RunConfig, differences
from avloc.errors import ConfigError, InputError
from avloc.model import losses
from avloc.model.batch import Batch, SnippetOutput
from avloc.model.checkpoint import MODEL_FILE, Localizing, ModelCard, save_model
from avloc.model.network import InputNorm
from avloc.system.atomic import atomic_write
from avloc.train.checks import clear, require_finite, require_finite_weights, run_lock, silent_rows
from avloc.train.dataset import PairSampler, WeakDataset
from avloc.train.distributed import gather_rows
from avloc.train.frozen import take_stages
from avloc.train.metrics_log import MetricsLog, warnings_of
from avloc.train.prepare import TrainingData, prepare, require_same
from avloc.train.record import RunRecord, write_record
from avloc.train.state import latest_state, save_state
from avloc.train.teacher import guidance, teacher_of
from avloc.train.validate import Validation, validate
from avloc.types import Progress

__all__ = ["fit"]

_log = logging.getLogger("avloc.train")


def fit(
    features: Path,
    labels: Path,
    out: Path,
    config: RunConfig,
    resume: bool = False,
    progress: Progress | None = None,
) -> RunRecord:
    """Train a model on video-level labels and leave a run folder.

    Args:
        features: folder of feature files. labels: labels.csv. out: the run folder, made if need be.
        config: every choice.
        resume: go on from `out`'s last validation; the result is the same as if it had never stopped.
        progress: called with (step, steps, a few words) now and then.

    Returns:
        The record of the run, as also written to out/record.json.

    Raises:
        InputError, FormatError, ConfigError: in words for a person.
        TrainingError: the loss is no longer a number. StorageError: the disk is full or gone. What was saved stays.
    """
    data = prepare(features, labels, config.train, config.model.modality)
    fabric = _fabric(config, len(data.train))
    config = _as_extracted(config, data)
    card = ModelCard(config, data.train.classes, data.train.audio_size, data.train.visual_size, data.backbones)
    with run_lock(fabric, out):
        trainer = _Trainer(fabric, data, card, out)
        if resume:
            trainer.restore()
        elif fabric.is_global_zero:
            clear(out)
        if fabric.is_global_zero:
            for note in data.notes:
                _log.warning("%s", note)
            atomic_write(out / "config.yaml", config.to_yaml())
        return trainer.run(progress)


def _as_extracted(config: RunConfig, data: TrainingData) -> RunConfig:
    """The configuration with the features' own backbones, step and frame rate: later videos are extracted like them."""
    made: dict[str, Any] = {name: data.backbones.get(name) for name in ("visual", "audio")}
    made["fps"] = config.extract.fps if data.fps is None else data.fps
    if config.extract.step != data.step_s or config.extract.fps != made["fps"]:  # else in the same words
        made |= {"step_s": float(data.step_s), "frames_per_snippet": None}
    return config.model_copy(update={"extract": config.extract.model_copy(update=made)})


def _fabric(config: RunConfig, videos: int) -> Fabric:
    """The engine, as the launcher's environment says (torchrun, fabric run), else as the config does."""
    train = config.train
    given: dict[str, Any] = {"precision": train.precision, "accelerator": train.accelerator}
    if "LOCAL_WORLD_SIZE" in os.environ:
        world, local = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
        given |= {"devices": local, "num_nodes": world // local}
    else:
        given |= {"devices": train.devices or 1, "num_nodes": train.num_nodes}
    processes = given["devices"] * given["num_nodes"]
    size = min(train.batch_size, videos)
    if size % processes:  # said here, before there are so many to say it
        raise ConfigError(
            f"a batch of {size} videos cannot be split over {processes} processes evenly; set train.batch_size to a "
            f"multiple of {processes}, at most {videos}"
        )
    if processes > 1:
        given["strategy"] = "ddp"
    if not _log.isEnabledFor(logging.DEBUG):  # the engine's greetings are for whoever asked with -v
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(**given)
    if "LT_CLI_USED" not in os.environ:  # `fabric run` has started the processes already
        fabric.launch()
    return fabric


class _Trainer:
    """The state of one run: model, optimiser, step, and the best so far."""

    def __init__(self, fabric: Fabric, data: TrainingData, card: ModelCard, out: Path) -> None:
        self.fabric, self.data, self.card, self.out = fabric, data, card, out
        self.config, self.loss = card.config.train, card.config.loss
        self.step, self.best, self.best_step = 0, -np.inf, 0
        self.kept: dict[str, Tensor] = {}  # weights of the best step: a damaged MODEL_FILE is written anew from them
        self.sampler = PairSampler(
            data.train.labels, self.config.batch_size, self.config.pair_fraction, self.config.seed
        )
        torch.manual_seed(self.config.seed)
        module = _built(card)
        _fit_norms(module, data.train)
        if self.config.init_from is not None:
            take_stages(module, card, Path(self.config.init_from), self.config.frozen_stages)
        self.model, self.optimizer = fabric.setup(module, self._adam(module))
        self.teacher = teacher_of(self.module, self.config.teacher_decay)

    def _adam(self, module: torch.nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(
            [p for p in module.parameters() if p.requires_grad],
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
        )

    @property
    def module(self) -> Localizing:
        """The network without the engine's wrapping."""
        return self.model.module

    @property
    def eval_model(self) -> Localizing:
        """The network that is validated and kept: the teacher, where there is one."""
        return self.module if self.teacher is None else cast(Localizing, self.teacher.module)

    def run(self, progress: Progress | None) -> RunRecord:
        log = MetricsLog(self.out, self.step) if self.fabric.is_global_zero else None
        try:
            self._steps(log, progress)
        finally:
            if log is not None:
                log.close()
        self.fabric.barrier()
        return write_record(self.out, self.card, log.rows if log else [], self.best, self.best_step, self.data)

    def _steps(self, log: MetricsLog | None, progress: Progress | None) -> None:
        began, first = time.monotonic(), self.step
        while self.step < self.config.steps:
            terms = self._train_step(self.step)
            self.step += 1
            if self.step % self.config.eval_every == 0 or self.step == self.config.steps:
                self._pause(log, terms, (time.monotonic() - began) / (self.step - first))
            elif log is not None and (self.step % 10 == 0 or self.step == 1):
                log.write(self.step, terms)
            if progress is not None and self.fabric.is_global_zero:
                progress(self.step, self.config.steps, f"loss {terms['loss/total']:.3f}")

    def _train_step(self, step: int) -> dict[str, float]:
        indices = self.sampler.batch(step)
        per_rank = len(indices) // self.fabric.world_size
        mine = indices[self.fabric.global_rank * per_rank : (self.fabric.global_rank + 1) * per_rank]
        batch = self.data.train.batch(mine, self.config.snippets, (self.config.seed, 4, step)).to(self.fabric.device)
        self._seed(step)
        self.model.train()
        output = self.model(batch)
        teacher_probs = guidance(self.teacher, batch)
        terms, rate = losses.output_terms(output, batch.labels, batch.mask, self.loss, teacher_probs)
        terms["coactivity"] = self._coactivity(output, batch)
        total = losses.total_loss(terms, self._weights(step))
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(total)
        row = self._row(terms, total, output, batch, rate, _gradient_norm(self.module))
        names, rows = ([self.data.train.ids[i] for i in of] for of in (indices, mine))
        scaled = self.config.precision == "16-mixed"
        require_finite(row, step + 1, scaled, self.out, names, lambda: silent_rows(output, rows))
        if self.config.grad_clip:
            self.fabric.clip_gradients(self.model, self.optimizer, max_norm=self.config.grad_clip)
        self.optimizer.step()
        if self.teacher is not None:
            self.teacher.update_parameters(self.module)
        return row

    def _row(
        self,
        terms: Mapping[str, Tensor],
        total: Tensor,
        output: SnippetOutput,
        batch: Batch,
        rate: Tensor,
        norm: Tensor,
    ) -> dict[str, float]:
        values = {f"loss/{name}": term for name, term in terms.items()}
        values |= {
            "loss/total": total,
            "train/pseudo_rate": rate,
            "train/reliability": losses.video_mean(output.reliability, batch.mask),
            "train/gradient_norm": norm,
        }
        stacked = torch.stack([value.detach().float() for value in values.values()])
        mean = cast(Tensor, self.fabric.all_reduce(stacked, reduce_op="mean"))
        return dict(zip(values, mean.tolist(), strict=True))

    def _seed(self, step: int) -> None:
        """Dropout is a function of (seed, step, process): nothing random needs saving, and a resumed run is exact."""
        words = np.random.SeedSequence([self.config.seed, 5, step, self.fabric.global_rank]).generate_state(2)
        torch.manual_seed(int(words[0]) << 31 ^ int(words[1]))

    def _coactivity(self, output: SnippetOutput, batch: Batch) -> Tensor:
        """L_cas over the pairs of the whole batch, wherever its videos are."""
        high, low, where = losses.coactivity_descriptors(
            output.embedding, output.action_logits, batch.labels, batch.mask
        )
        if self.fabric.world_size > 1:
            where = where + torch.tensor([self.fabric.global_rank * len(batch), 0], device=where.device)
            high, low, where = (gather_rows(self.fabric, rows) for rows in (high, low, where))
        return losses.coactivity_loss(high, low, where, self.loss.coactivity_margin)

    def _weights(self, step: int) -> dict[str, float]:
        """Weights of Eq. 10 at a step: β and γ ramp in over the warm-up; the soft-max head has no L_cont (§4.3)."""
        warm = self.loss.warmup * self.config.steps
        ramp = min(1.0, step / warm) if warm else 1.0
        return {
            "mil": 1.0,
            "coactivity": self.loss.coactivity_weight,
            "continuity": ramp * self.loss.continuity_weight * self.card.config.model.open_max,
            "pseudo": ramp * self.loss.pseudo_weight,
        }

    def _pause(self, log: MetricsLog | None, terms: dict[str, float], seconds_per_step: float) -> None:
        """Validate, keep the best, save the state. Only the first process works; the others wait."""
        for network in dict.fromkeys((self.module, self.eval_model)):  # without a teacher they are one
            require_finite_weights(network, self.out)
        if log is not None:
            found = validate(self.eval_model, self.data, self.loss, self.fabric.device)
            log.write(self.step, {**terms, **found.values, "train/step_s": seconds_per_step})
            if self.step >= self.config.steps / 4:
                for sentence in warnings_of(found.values):
                    _log.warning("step %d: %s", self.step, sentence)
            self._keep(found)
            log.flush()
            save_state(self.out, self._state())
        self.fabric.barrier()

    def _keep(self, found: Validation) -> None:
        """Save the weights that validation likes best; without validation videos, the last ones."""
        if self.step < self.config.select_after * self.config.steps:
            return
        score = found.score(self.config.selection)
        if score is None or score >= self.best:
            self.best, self.best_step = (-np.inf if score is None else score), self.step
            self.kept = {name: tensor.detach().cpu().clone() for name, tensor in self.eval_model.state_dict().items()}
            self._save_kept()

    def _save_kept(self) -> None:
        save_model(self.out / MODEL_FILE, ModelCard(**{**vars(self.card), "step": self.best_step}), self.kept)

    def _state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "best": float(self.best),
            "best_step": self.best_step,
            "kept": self.kept,
            "model": self.module.state_dict(),
            "teacher": {} if self.teacher is None else self.teacher.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "config": self.card.config.model_dump_json(),
            "data": self.data.facts,
        }

    def restore(self) -> None:
        """Take up a run where its last validation left it."""
        state = latest_state(self.out)
        saved = RunConfig.model_validate_json(state["config"])
        differing = differences(saved, self.card.config)
        if differing:
            raise ConfigError(f"{self.out} was trained with other settings, cannot resume: {'; '.join(differing)}")
        require_same(self.out, state.get("data", {}), self.data.facts)
        for name, weight in self.module.named_parameters():
            if not weight.requires_grad and not torch.equal(weight.cpu(), state["model"][name]):
                raise InputError(f"{self.out} began with other stages than {self.config.init_from} has now")
        self.module.load_state_dict(state["model"])
        if self.teacher is not None:
            self.teacher.load_state_dict(state["teacher"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best, self.best_step = state["step"], state["best"], state["best_step"]
        self.kept = state["kept"]
        if self.kept and self.fabric.is_global_zero:
            self._save_kept()


def _built(card: ModelCard) -> Localizing:
    try:
        return card.build()
    except ValueError as error:
        there = [name for name, size in (("audio", card.audio_size), ("visual", card.visual_size)) if size]
        raise ConfigError(f"{error}; the features have {' and '.join(there)}: --set model.modality=...") from error


def _fit_norms(module: Localizing, train: WeakDataset) -> None:
    norms = {name: norm for name, norm in module.norms.items() if isinstance(norm, InputNorm) and norm.fitted}
    if not norms:
        return
    statistics = train.statistics()
    for name, norm in norms.items():
        if (moments := getattr(statistics, name)) is not None:
            norm.fit(torch.from_numpy(moments[0]), torch.from_numpy(moments[1]))


def _gradient_norm(module: torch.nn.Module) -> Float[Tensor, ""]:
    gradients = [p.grad.norm() for p in module.parameters() if p.grad is not None]
    return torch.stack(gradients).norm()
